"""The attack alone, on losses whose answer is known."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ega_jax.ops.attack import Attack, paper_num_steps, pgd
from ega_jax.ops.losses import cross_entropy
from tests.helpers import tiny

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def images():
    """Noise with both ends of the range in it."""
    images = np.random.default_rng(0).uniform(size=(3, 8, 8, 3)).astype(np.float32)
    images[0, 0], images[0, 1] = 0.0, 1.0
    return jnp.asarray(images)


@pytest.fixture(scope="module")
def wavy():
    """A loss with many local maxima, so that steps go to and fro."""
    weights = jnp.asarray(np.random.default_rng(1).normal(size=(3, 8, 8, 3)), jnp.float32)
    return lambda x: jnp.sum(weights * jnp.sin(300.0 * x))


@pytest.fixture(scope="module")
def network():
    """Cross entropy of a small network under labels that may be chosen."""
    model = tiny.TinyNet()
    variables = tiny.variables(model)

    @jax.jit
    def loss(images, labels):
        logits, _ = model.apply(variables, images, train=False)
        return jnp.sum(cross_entropy(logits, labels))

    return loss


@pytest.mark.parametrize(
    ("epsilon", "steps"), [(0, 1), (0.5, 1), (1, 1), (2, 3), (2.5, 4), (3, 4), (4, 5)]
)
def test_paper_num_steps(epsilon, steps):
    assert paper_num_steps(epsilon) == steps


@pytest.mark.parametrize(
    ("epsilon", "step_size", "num_steps", "moved"),
    [(1, 1, 1, 1), (4, 1, 1, 1), (2, 3, 1, 2), (2, 1, 3, 2), (4, 1.5, 2, 3), (0, 1, 2, 0)],
)
@pytest.mark.parametrize("descend", [False, True])
def test_linear_loss(epsilon, step_size, num_steps, moved, descend):
    """The gradient is the weight: every value moves by `moved` grey levels to its sign's side."""
    images = jnp.array([0.5, 0.5, 0.5, 0.0, 1.0, 0.999]).reshape(1, 2, 1, 3)
    weights = jnp.array([7.0, -0.01, 0.0, -3.0, 2.0, 1e-6]).reshape(1, 2, 1, 3)
    attack = Attack(epsilon, step_size, num_steps, descend=descend)
    result = pgd(lambda x: jnp.sum(x * weights), images, attack, KEY).ravel()
    by = (-moved if descend else moved) / 255
    expected = np.clip([0.5 + by, 0.5 - by, 0.5, 0.0 - by, 1.0 + by, 0.999 + by], 0.0, 1.0)
    np.testing.assert_allclose(result, expected, atol=1e-7)


@pytest.mark.parametrize(
    ("epsilon", "step_size", "num_steps", "random_start"),
    [(1, 1, 1, False), (4, 1, 5, False), (2, 5, 3, False), (2, 1, 3, True), (255, 100, 2, True)],
)
def test_stays_in_its_ball_and_in_range(images, wavy, epsilon, step_size, num_steps, random_start):
    attack = Attack(epsilon, step_size, num_steps, random_start=random_start)
    result = pgd(wavy, images, attack, KEY)
    assert result.shape == images.shape and result.dtype == images.dtype
    assert result.min() >= 0 and result.max() <= 1
    radius = epsilon / 255
    assert np.all((result >= images - radius) & (result <= images + radius))
    assert np.any(result != images)


def test_several_steps_against_a_plain_loop(images, wavy):
    attack = Attack(epsilon=3, step_size=1, num_steps=5, random_start=True)
    key = jax.random.key(7)
    clean = np.asarray(images)
    start = pgd(wavy, images, Attack(3, 1, 0, random_start=True), key)
    x, radius = np.asarray(start), np.float32(3 / 255)
    for _ in range(5):
        x = x + np.float32(1 / 255) * np.sign(jax.grad(wavy)(x))
        x = np.clip(np.clip(x, clean - radius, clean + radius), 0, 1)
    np.testing.assert_allclose(pgd(wavy, images, attack, key), x, atol=1e-7)


@pytest.mark.parametrize("attack", [Attack(4, 1, 0), Attack(4, 1, 0, descend=True)])
def test_zero_steps_are_the_image(images, wavy, attack):
    np.testing.assert_array_equal(pgd(wavy, images, attack, KEY), images)


def test_random_start(images, wavy):
    attack = Attack(epsilon=4, step_size=1, num_steps=0, random_start=True)
    starts = [pgd(wavy, images, attack, jax.random.key(seed)) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(starts[0], starts[1])
    assert np.mean(starts[0] != starts[2]) > 0.9
    noise = np.asarray(starts[0] - images)[1:] * 255  # the first image's ends are clipped
    assert noise.min() < -3.8 and noise.max() > 3.8  # the whole ball
    assert abs(noise.mean()) < 0.5
    # Without a random start the key is no input.
    plain = Attack(epsilon=4, step_size=1, num_steps=2)
    results = [pgd(wavy, images, plain, jax.random.key(seed)) for seed in (0, 1)]
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("epsilon", [1, 2, 4])
def test_raises_the_loss_of_a_network(network, epsilon):
    batch = tiny.batch(dtype=np.float32)
    labels = batch["label"]
    attack = Attack(epsilon, 1, paper_num_steps(epsilon))
    attacked = pgd(lambda x: network(x, labels), batch["image"], attack, KEY)
    before, after = network(batch["image"], labels), network(attacked, labels)
    # To first order the loss rises by epsilon times the gradient's sum of magnitudes.
    gradient = jax.grad(network)(batch["image"], labels)
    rise = epsilon / 255 * np.abs(gradient).sum()
    assert rise > 0.01
    np.testing.assert_allclose(after - before, rise, rtol=0.4)


def test_targeted_lowers_the_loss_of_the_target(network):
    batch = tiny.batch(dtype=np.float32)
    target = (batch["label"] + 1) % tiny.CLASSES
    attack = Attack(4, 1, 5, descend=True)
    attacked = pgd(lambda x: network(x, target), batch["image"], attack, KEY)
    assert network(attacked, target) < network(batch["image"], target) - 0.01


@pytest.mark.parametrize("random_start", [False, True])
def test_no_gradient_flows_through(images, wavy, random_start):
    attack = Attack(2, 1, 3, random_start=random_start)

    def outer(images, scale):
        return jnp.sum(pgd(lambda x: scale * wavy(x), images, attack, KEY) ** 2)

    for gradient in jax.grad(outer, argnums=(0, 1))(images, 2.0):
        assert np.all(gradient == 0)


def test_compiles_once(images, wavy):
    attack = Attack(2, 1, 3, random_start=True)
    compiled = jax.jit(functools.partial(pgd, wavy, attack=attack))
    for seed, factor in itertools.product((0, 1), (0.5, 1.0)):
        compiled(images * factor, key=jax.random.key(seed))
    assert compiled._cache_size() == 1
    np.testing.assert_allclose(compiled(images, key=KEY), pgd(wavy, images, attack, KEY), atol=1e-7)
