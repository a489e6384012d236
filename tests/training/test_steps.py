"""The compiled steps: determinism, sharding, cost, and what evaluation reads off."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ega_jax.methods.cam import CAM
from ega_jax.models.norm import AUX, MAIN
from ega_jax.models.vgg import VGG16
from ega_jax.ops.attack import Attack
from ega_jax.runtime.sharding import Placement
from ega_jax.training import steps
from ega_jax.training.objective import Objective, rising
from tests.helpers import tiny
from tests.helpers.platforms import plain_operations

ATTACK = Attack(epsilon=2, step_size=1, num_steps=2, random_start=True)
OBJECTIVE = Objective(ATTACK, tiny.entropy(1.0, 0.1), ce_weight=1.0)
SHARE = rising(2, 10)  # of the weights of the entropies: 0.1 at step 2, all from step 11 on
MODEL = tiny.TinyNet(dual=True, dropout=0.2)
TX = tiny.optimizer(clip_norm=1.0)


@functools.cache
def compiled_step(num_devices=1):
    """The step as the training loop compiles it; the seed is an argument to save compilations."""
    placement = Placement(jax.devices()[:num_devices])

    def step(state, batch, seed):
        settings = {"model": MODEL, "tx": TX, "ega": OBJECTIVE, "entropy_share": SHARE}
        return steps.train_step(state, batch, seed=seed, **settings)

    return placement, jax.jit(
        step,
        in_shardings=(placement.replicated, placement.by_example, placement.replicated),
        out_shardings=placement.replicated,
        donate_argnums=0,
    )


def train(num_steps, *, num_devices=1, seed=0, start=0):
    """Runs a few steps; returns the last state and every step's sums."""
    placement, step = compiled_step(num_devices)
    state = tiny.train_state(MODEL, TX).replace(step=jnp.int32(start))
    state, history = placement.replicate(state), []
    for i in range(num_steps):
        state, sums = step(state, placement.put_batch(tiny.batch(i)), seed)
        history.append(sums)
    return state, history


@pytest.mark.slow
def test_one_step_is_the_gradient_through_the_optimizer():
    old, batch = tiny.train_state(MODEL, TX), tiny.batch(0)
    new, (sums,) = train(1, seed=4, start=7)
    key = jax.random.fold_in(jax.random.key(4), 7)
    floats = {**batch, "image": batch["image"].astype(np.float32) / 255}
    grads, expected_sums, model_state = jax.jit(functools.partial(OBJECTIVE.loss_and_grads, MODEL))(
        old.params, old.model_state, floats, key, 0.6
    )
    updates, opt_state = TX.update(grads, old.opt_state, old.params)
    tiny.assert_trees_close(new.params, optax.apply_updates(old.params, updates))
    tiny.assert_trees_close(new.opt_state, opt_state)
    tiny.assert_trees_close(new.model_state, model_state)
    norm = np.sqrt(sum(np.sum(np.square(g)) for g in jax.tree.leaves(grads)))
    tiny.assert_trees_close(sums, expected_sums | {"grad_norm": norm})
    assert norm > 1.0  # of the gradient itself, before the clipping
    assert new.step == 8 and new.step.dtype == jnp.int32


def test_as_float():
    floats = steps.as_float(jnp.array([0, 1, 51, 255], jnp.uint8))
    assert floats.dtype == jnp.float32
    np.testing.assert_allclose(floats, [0.0, 1 / 255, 0.2, 1.0], rtol=1e-7)
    assert floats[3] == 1.0  # exactly: the attack clips there


def test_init_state():
    state = jax.eval_shape(
        functools.partial(steps.init_state, model=MODEL, tx=TX, image_size=16), jax.random.key(0)
    )
    assert set(state.model_state) == {MAIN, AUX}
    assert set(state.params) == {"conv1_1", "head"}
    assert state.step.shape == () and state.step.dtype == jnp.int32
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves((state.params, state.model_state)))


@pytest.mark.slow
def test_deterministic_from_seed_and_step():
    first, history = train(3)
    again, repeated = train(3)
    tiny.assert_trees_equal(again, first)
    tiny.assert_trees_equal(repeated, history)
    assert first.step == 3
    _, other_step = train(1, start=5)
    assert other_step[0]["loss"] != history[0]["loss"]  # other dropout, other random start
    _, other_seed = train(1, seed=1)
    assert other_seed[0]["loss"] != history[0]["loss"]


def test_one_compilation_and_a_donated_state():
    placement, step = compiled_step()
    state = placement.replicate(tiny.train_state(MODEL, TX))
    for i in range(3):
        old = state
        state, _ = step(state, placement.put_batch(tiny.batch(i)), i)
        assert all(x.is_deleted() for x in jax.tree.leaves(old))
    assert step._cache_size() == 1


@pytest.mark.slow
def test_one_device_equals_four():
    one, history = train(4, num_devices=1)
    four, history_of_four = train(4, num_devices=4)
    for sums, sums_of_four in zip(history, history_of_four, strict=True):
        tiny.assert_trees_close(sums_of_four, sums, rtol=1e-5, atol=1e-5)
    tiny.assert_trees_close(four.model_state, one.model_state, rtol=1e-5, atol=1e-5)
    tiny.assert_trees_close(four.params, one.params, rtol=1e-5, atol=1e-5)
    tiny.assert_trees_close(four.opt_state, one.opt_state, rtol=1e-5, atol=1e-5)
    kernel = four.params["head"]["classifier"]["kernel"]
    assert len(kernel.sharding.device_set) == 4 and kernel.sharding.is_fully_replicated


@pytest.mark.parametrize(("at", "share"), [(1, 0.0), (7, 0.6), (12, 1.0)])
def test_padding_is_left_out_of_the_sums(at, share):
    """Whatever share of the weights the entropies have at a step."""
    placement, step = compiled_step()
    batch = tiny.batch()
    batch["mask"][:3] = False
    state = placement.replicate(tiny.train_state(MODEL, TX).replace(step=jnp.int32(at)))
    _, sums = step(state, placement.put_batch(batch), 0)
    assert sums["count"] == 5
    assert sums["correct_clean"] <= 5 and sums["correct_adv"] <= 5
    np.testing.assert_allclose(sums["loss"], sums["loss_clean"] + sums["loss_adv"], rtol=1e-6)
    np.testing.assert_allclose(
        sums["loss_adv"], sums["ce_adv"] + share * 0.1 * sums["entropy_adv"], rtol=1e-5
    )


def test_learns():
    """The objective falls on a batch that is seen again and again."""
    placement, step = compiled_step()
    state = placement.replicate(tiny.train_state(MODEL, TX))
    losses = []
    for _ in range(40):
        state, sums = step(state, placement.put_batch(tiny.batch()), 0)
        losses.append(float(sums["loss"]))
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])


@pytest.fixture(scope="module")
def flops():
    """Counts the floating-point operations of a whole training step, relative to CAM's."""

    @functools.cache
    def count(ega):
        model = VGG16(10, width=0.125, feature_stride=8, dual=ega.attack is not None)
        tx = tiny.optimizer()
        state = jax.eval_shape(
            functools.partial(steps.init_state, model=model, tx=tx, image_size=64),
            jax.random.key(0),
        )
        batch = {
            "image": jax.ShapeDtypeStruct((8, 64, 64, 3), jnp.uint8),
            "label": jax.ShapeDtypeStruct((8,), jnp.int32),
            "mask": jax.ShapeDtypeStruct((8,), jnp.bool_),
        }
        step = functools.partial(steps.train_step, model=model, tx=tx, ega=ega, seed=0)
        # Compiled, so that what XLA finds to be needless is not counted.
        with plain_operations():
            return jax.jit(step).lower(state, batch).compile().cost_analysis()["flops"]

    return lambda ega: count(ega) / count(Objective())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ega", "low", "high"),
    [
        # In units of a forward pass: CAM 1 + 2; the attack 1 + 1 more, as only the images'
        # gradient is wanted; the adversarial pass 1 + 2.
        pytest.param(Objective(Attack(1, 1, 1), tiny.entropy(1.0, 0.01)), 2.5, 2.75, id="ega"),
        pytest.param(
            Objective(Attack(1, 1, 1), tiny.entropy(1.0, 0.01), fast=True), 1.9, 2.05, id="fast"
        ),
        pytest.param(Objective(entropy=tiny.entropy(clean=1.0)), 1.0, 1.001, id="entropy"),
        pytest.param(
            Objective(Attack(1, 1, 0), tiny.entropy(1.0, 0.01)), 1.9, 2.0, id="no attack steps"
        ),
    ],
)
def test_cost_relative_to_cam(flops, ega, low, high):
    assert low <= flops(ega) <= high


@pytest.fixture(scope="module")
def trained():
    """A network with an auxiliary branch, and what evaluation needs of it."""
    variables = tiny.variables(MODEL)
    return {"params": variables["params"], MAIN: variables[MAIN]}


def logits_and_cams(variables, images):
    logits, out = MODEL.apply(variables, jnp.asarray(images, jnp.float32) / 255, train=False)
    return np.asarray(logits), np.asarray(out["cams"])


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)


def test_eval_step(trained):
    batch = tiny.batch()
    result = jax.jit(functools.partial(steps.eval_step, model=MODEL, reader=CAM().read))(
        trained, {"image": batch["image"], "label": batch["label"]}
    )
    logits, cams = logits_and_cams(trained, batch["image"])
    np.testing.assert_allclose(result["probabilities"], softmax(logits), rtol=1e-5)
    expected = np.stack([cams[i, :, :, label] for i, label in enumerate(batch["label"])])
    assert result["cams"].shape == (tiny.BATCH, 8, 8)
    np.testing.assert_allclose(result["cams"], expected, rtol=1e-4, atol=1e-5)


def test_crops_step_averages_softmax_scores(trained):
    noise = [tiny.batch(seed)["image"][:3] for seed in range(4)]
    crops = np.stack([image // (1 + 3 * i) for i, image in enumerate(noise)], axis=1)
    result = jax.jit(functools.partial(steps.crops_step, model=MODEL))(trained, {"image": crops})
    scores = [softmax(logits_and_cams(trained, crops[:, i])[0]) for i in range(4)]
    np.testing.assert_allclose(result["probabilities"], np.mean(scores, axis=0), rtol=1e-5)
    # The mean of scores is not the score of the mean.
    pooled = softmax(np.mean([logits_and_cams(trained, crops[:, i])[0] for i in range(4)], axis=0))
    assert np.abs(pooled - result["probabilities"]).max() > 1e-4


@pytest.mark.parametrize("top_k", [1, 3])
def test_predict_step(trained, top_k):
    images = tiny.batch()["image"]
    step = functools.partial(steps.predict_step, model=MODEL, reader=CAM().read, top_k=top_k)
    result = jax.jit(step)(trained, {"image": images})
    logits, cams = logits_and_cams(trained, images)
    order = np.argsort(-logits, axis=-1)[:, :top_k]
    np.testing.assert_array_equal(result["classes"], order)
    scores = np.take_along_axis(softmax(logits), order, axis=-1)
    np.testing.assert_allclose(result["scores"], scores, rtol=1e-5)
    assert result["cams"].shape == (tiny.BATCH, 8, 8, top_k)
    expected = np.stack([cams[i][..., classes] for i, classes in enumerate(order)])
    np.testing.assert_allclose(result["cams"], expected, rtol=1e-4, atol=1e-5)
