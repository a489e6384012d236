"""The optimizer against PyTorch's formula, worked out by hand; schedules at their corners."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ega_jax.training import optimizers
from tests.helpers import tiny


def descend(tx, params, gradients):
    """Returns the parameters after each update."""
    state, history = tx.init(params), []
    for gradient in gradients:
        updates, state = tx.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        history.append(params)
    return history


def one_leaf(value, name="kernel", layer="conv1_1"):
    return {layer: {"conv": {name: jnp.float32(value)}}}


def values(history):
    return [float(jax.tree.leaves(params)[0]) for params in history]


def test_two_steps_by_hand():
    """g += wd * p; buffer = momentum * buffer + g; p -= lr * (g + momentum * buffer)."""
    tx = tiny.optimizer(0.1, weight_decay=0.01)
    history = descend(tx, one_leaf(1.0), [one_leaf(0.5), one_leaf(-0.2)])
    # g = .5 + .01 = .51; buffer = .51; p = 1 - .1 (.51 + .459)
    # g = -.2 + .009031 = -.190969; buffer = .459 - .190969; p = .9031 - .1 (-.190969 + .2412279)
    np.testing.assert_allclose(values(history), [0.9031, 0.89807411], rtol=1e-6)


def test_head_learns_faster():
    tx = tiny.optimizer(0.1, weight_decay=0.01, head_multiplier=10.0)
    params = one_leaf(1.0) | one_leaf(2.0, layer="head")
    gradients = [one_leaf(g) | one_leaf(g, layer="head") for g in (0.5, -0.2)]
    history = descend(tx, params, gradients)
    trunk = [p["conv1_1"]["conv"]["kernel"] for p in history]
    head = [p["head"]["conv"]["kernel"] for p in history]
    np.testing.assert_allclose(trunk, [0.9031, 0.89807411], rtol=1e-6)
    # As a rate of 1: p = 2 - (.52 + .468); g = -.2 + .01012; buffer = .468 - .18988 = .27812;
    # p = 1.012 - (-.18988 + .250308)
    np.testing.assert_allclose(head, [1.012, 0.951572], rtol=1e-6)


def test_head_of_several_modules():
    """ResNet's last stage learns as fast as its classifier, the others do not."""
    modules = ("conv1", "layer3_0", "layer4_0", "layer4_2", "head")
    params = {k: v for name in modules for k, v in one_leaf(1.0, layer=name).items()}
    zeros = jax.tree.map(jnp.zeros_like, params)
    tx = tiny.optimizer(
        0.1,
        momentum=0.0,
        weight_decay=0.1,
        head_multiplier=10.0,
        head_modules=("layer4", "head"),
    )
    (after,) = descend(tx, params, [zeros])
    moved = {name: float(1 - after[name]["conv"]["kernel"]) for name in modules}
    slow, fast = 0.01, 0.1
    expected = {"conv1": slow, "layer3_0": slow, "layer4_0": fast, "layer4_2": fast, "head": fast}
    assert moved == pytest.approx(expected, rel=1e-4)


def test_rate_applies_after_the_momentum():
    """As in PyTorch: a new rate scales the whole buffer, not the newest gradient alone."""
    schedule = optax.piecewise_constant_schedule(1.0, {1: 0.1})
    tx = optimizers.build(
        optimizers.nesterov(0.5),
        schedule,
        weight_decay=0.0,
        decay_norm_and_bias=True,
        head_multiplier=1.0,
        clip_norm=None,
    )
    history = descend(tx, one_leaf(0.0), [one_leaf(1.0), one_leaf(1.0)])
    # buffers 1, 1.5; updates 1 + .5, .1 (1 + .75)
    np.testing.assert_allclose(values(history), [-1.5, -1.675], rtol=1e-6)


def test_adam_by_hand():
    """Bias-corrected moments; the head's factor and the decay as for SGD."""
    tx = optimizers.build(
        optimizers.adam(),
        optax.constant_schedule(0.1),
        weight_decay=0.5,
        decay_norm_and_bias=True,
        head_multiplier=10.0,
        clip_norm=None,
    )
    params = one_leaf(2.0) | one_leaf(2.0, layer="head")
    zero, one = one_leaf(0.0) | one_leaf(0.0, layer="head"), one_leaf(-3.0)
    (after,) = descend(tx, params, [zero])
    # The gradient is the decay, 1; the first step of Adam is the sign of it.
    assert float(after["conv1_1"]["conv"]["kernel"]) == pytest.approx(1.9, rel=1e-5)
    assert float(after["head"]["conv"]["kernel"]) == pytest.approx(1.0, rel=1e-5)
    history = descend(tx, one_leaf(2.0), [one_leaf(0.0), one])
    # Gradients 1 and -3 + .95 = -2.05; moments (.09 - .205) / .19, (.000999 + .0042025) / .001999
    second = 1.9 + 0.1 * (0.115 / 0.19) / math.sqrt(0.0052015 / 0.001999)
    assert values(history) == pytest.approx([1.9, second], rel=1e-5)


def test_polynomial_schedule():
    schedule = optimizers.polynomial(2.0, total_steps=12, warmup_steps=2, power=0.9)
    rates = [float(schedule(step)) for step in (0, 1, 2, 7, 12)]
    assert rates == pytest.approx([1.0, 2.0, 2.0, 2 * 0.5**0.9, 0.0])


@pytest.mark.parametrize("everything", [True, False])
def test_decay_mask(everything):
    params = {
        "conv1_1": {
            "conv": {"kernel": jnp.ones(2), "bias": jnp.ones(2)},
            "bn": {"main": {"scale": jnp.ones(2), "bias": jnp.ones(2)}},
        },
    }
    tx = tiny.optimizer(1.0, momentum=0.0, weight_decay=0.1, decay_norm_and_bias=everything)
    (after,) = descend(tx, params, [jax.tree.map(jnp.zeros_like, params)])
    decayed = jax.tree.map(lambda p: bool(np.all(p < 1)), after)
    assert decayed["conv1_1"]["conv"] == {"kernel": True, "bias": everything}
    assert decayed["conv1_1"]["bn"]["main"] == {"scale": everything, "bias": everything}
    np.testing.assert_allclose(after["conv1_1"]["conv"]["kernel"], 0.9, rtol=1e-6)


def test_decay_mask_of_a_real_network():
    params = tiny.variables(tiny.TinyNet(dual=True))["params"]
    tx = tiny.optimizer(1.0, momentum=0.0, weight_decay=0.1, decay_norm_and_bias=False)
    (after,) = descend(tx, params, [jax.tree.map(jnp.zeros_like, params)])
    changed = {
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, same in jax.tree_util.tree_leaves_with_path(
            jax.tree.map(np.array_equal, params, after)
        )
        if not same
    }
    assert changed == {
        "conv1_1/conv/kernel",
        "head/conv6_1/conv/kernel",
        "head/conv6_2/conv/kernel",
        "head/classifier/kernel",
    }


def test_clipping_comes_before_weight_decay():
    params = {"a": {"kernel": jnp.float32(10.0)}, "b": {"kernel": jnp.float32(0.0)}}
    tx = tiny.optimizer(1.0, momentum=0.0, weight_decay=0.1, clip_norm=1.0)
    long, short = ({"a": {"kernel": 3.0 * s}, "b": {"kernel": 4.0 * s}} for s in (1.0, 0.1))
    (clipped,) = descend(tx, params, [jax.tree.map(jnp.float32, long)])
    np.testing.assert_allclose(clipped["a"]["kernel"], 10 - (0.6 + 1.0), rtol=1e-6)
    np.testing.assert_allclose(clipped["b"]["kernel"], -0.8, rtol=1e-6)
    (left,) = descend(tx, params, [jax.tree.map(jnp.float32, short)])
    np.testing.assert_allclose(left["b"]["kernel"], -0.4, rtol=1e-6)


def rates(schedule, steps):
    return [float(schedule(jnp.int32(step))) for step in steps]


def test_step_decay():
    schedule = optimizers.step_decay(
        0.5, total_steps=40, warmup_steps=0, boundaries=(10, 20), factor=0.1
    )
    expected = [0.5, 0.5, 0.05, 0.05, 0.005, 0.005]
    np.testing.assert_allclose(rates(schedule, [0, 9, 10, 19, 20, 100]), expected, rtol=1e-5)


def test_step_decay_after_a_warm_up():
    """Boundaries count from the start of the run, not from the end of the warm-up."""
    schedule = optimizers.step_decay(
        0.5, total_steps=40, warmup_steps=5, boundaries=(10, 20), factor=0.1
    )
    steps = [0, 1, 4, 5, 9, 10, 19, 20]
    expected = [0.1, 0.2, 0.5, 0.5, 0.5, 0.05, 0.05, 0.005]
    np.testing.assert_allclose(rates(schedule, steps), expected, rtol=1e-5)


def test_boundaries_that_coincide():
    """Two falls at one step, as a tiny data set rounds them, are two falls."""
    schedule = optimizers.step_decay(
        1.0, total_steps=9, warmup_steps=0, boundaries=(3, 3), factor=0.1
    )
    np.testing.assert_allclose(rates(schedule, [2, 3]), [1.0, 0.01], rtol=1e-5)


@pytest.mark.parametrize("warmup", [0, 5])
def test_cosine(warmup):
    schedule = optimizers.cosine(0.5, total_steps=25, warmup_steps=warmup)
    middle = warmup + (25 - warmup) / 2
    np.testing.assert_allclose(
        [float(schedule(step)) for step in (warmup, middle, 25, 30)],
        [0.5, 0.25, 0.0, 0.0],
        atol=1e-7,
    )
    if warmup:
        np.testing.assert_allclose(rates(schedule, [0, 1, 4]), [0.1, 0.2, 0.5], rtol=1e-5)
    falling = rates(schedule, range(warmup, 26))
    assert np.all(np.diff(falling) < 0)


def test_warm_up_longer_than_the_run():
    schedule = optimizers.cosine(1.0, total_steps=5, warmup_steps=10)
    np.testing.assert_allclose(rates(schedule, [0, 4]), [0.1, 0.5], rtol=1e-5)


@pytest.mark.parametrize("warmup", [0, 4])
def test_constant(warmup):
    schedule = optimizers.constant(0.2, total_steps=10, warmup_steps=warmup)
    np.testing.assert_allclose(rates(schedule, [warmup, 9, 1000]), 0.2, rtol=1e-6)
    if warmup:
        np.testing.assert_allclose(rates(schedule, [0, 2]), [0.05, 0.15], rtol=1e-6)
