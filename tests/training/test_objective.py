"""The objective of EGA against Eq. 8 written down naively, term by term."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ega_jax.models.norm import AUX, MAIN
from ega_jax.ops.attack import Attack
from ega_jax.training.objective import Objective, rising
from tests.helpers import tiny
from tests.helpers.equation_8 import (
    KEY,
    ONE_STEP,
    PAPER,
    assert_is_equation_8,
    attack_plainly,
    equation_8,
    float_batch,
    mean_cross_entropy,
    run,
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "attack": Attack(2, 1, 3),
            "attack_bn_mode": "train",
            "entropy": tiny.entropy(1.0, 0.01, "class_softmax"),
        },
        {"entropy": tiny.entropy(1.0, 0.5, "spatial_softmax", "sum")},
        {"attack": Attack(4, 2, 0), "entropy": tiny.entropy(1.0, 0.01, "sigmoid", "sum")},
    ],
    ids=["paper", "train-mode attack", "spatial_softmax", "no attack steps"],
)
def test_equals_equation_8(changes):
    ega = dataclasses.replace(PAPER, **changes)
    model, batch = tiny.TinyNet(dual=True), float_batch(padded=2)
    variables = tiny.variables(model)
    adversarial = attack_plainly(ega, model, variables, batch, batch["label"])
    # The expected state comes from one clean and one adversarial pass: that it is equal also says
    # that main saw the clean images only, aux the adversarial ones only, and the attack left none.
    _, _, state = assert_is_equation_8(ega, model, batch, adversarial)
    for collection in (MAIN, AUX):
        assert not np.array_equal(
            jax.tree.leaves(state[collection])[0], jax.tree.leaves(variables[collection])[0]
        )


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_share_of_the_entropies(share):
    """It is what both weights are multiplied by; the terms themselves are told of all the same."""
    model, batch = tiny.TinyNet(dual=True), float_batch(padded=1)
    grads, sums, state = run(PAPER, model, batch, share=jnp.float32(share))
    whole = run(PAPER, model, batch)[1]
    scaled = dataclasses.replace(PAPER, entropy=tiny.entropy(share, 0.01 * share))
    expected_grads, expected, expected_state = run(scaled, model, batch)
    tiny.assert_trees_close(grads, expected_grads, rtol=1e-5, atol=1e-6)
    tiny.assert_trees_close(state, expected_state, rtol=1e-6)
    np.testing.assert_allclose(sums["loss"], expected["loss"], rtol=1e-6)
    for name in ("entropy_clean", "entropy_adv"):
        np.testing.assert_allclose(sums[name], whole[name], rtol=1e-6)


@pytest.mark.parametrize(
    ("start", "rise", "expected"),
    [
        (2, 4, [0, 0, 0.25, 0.5, 0.75, 1, 1]),
        (0, 2, [0.5, 1, 1, 1, 1, 1, 1]),
        (3, 0, [0, 0, 0, 1, 1, 1, 1]),
        (3, 1, [0, 0, 0, 1, 1, 1, 1]),
    ],
)
def test_entropies_that_set_in_late(start, rise, expected):
    np.testing.assert_array_equal(rising(start, rise)(jnp.arange(7)), expected)


def test_cam_row_is_plain_cross_entropy():
    model, batch = tiny.TinyNet(), float_batch(padded=2)
    variables = tiny.variables(model)
    grads, sums, state = run(Objective(), model, batch)

    def loss(params):
        (logits, _), update = model.apply(
            {**variables, "params": params}, batch["image"], train=True, mutable=[MAIN]
        )
        return mean_cross_entropy(logits, batch["label"], batch["mask"]), (logits, update)

    (value, (logits, update)), expected = jax.jit(jax.value_and_grad(loss, has_aux=True))(
        variables["params"]
    )
    tiny.assert_trees_close(grads, expected)
    tiny.assert_trees_close(state, update)
    assert set(sums) == {"count", "ce_clean", "correct_clean", "loss_clean", "loss"}
    assert sums["count"] == 6
    np.testing.assert_allclose(sums["loss"], 6 * value, rtol=1e-5)
    np.testing.assert_array_equal(sums["ce_clean"], sums["loss"])
    correct = (logits.argmax(axis=-1) == batch["label"])[batch["mask"]].sum()
    assert sums["correct_clean"] == correct


@pytest.mark.parametrize(
    ("ega", "present"),
    [
        (Objective(entropy=tiny.entropy(clean=1.0)), {"entropy_clean"}),
        (Objective(attack=ONE_STEP), set()),
        (Objective(ONE_STEP, tiny.entropy(clean=1.0)), {"entropy_clean"}),
        (Objective(ONE_STEP, tiny.entropy(adv=1.0)), {"entropy_adv"}),
        (PAPER, {"entropy_clean", "entropy_adv"}),
        (Objective(entropy=tiny.entropy(adv=1.0)), set()),  # there is no adversarial pass
    ],
)
def test_only_weighted_entropies_are_there(ega, present):
    model = tiny.TinyNet(dual=True)
    variables = tiny.variables(model)
    params = variables.pop("params")
    shape = functools.partial(ega.loss_and_grads, model)
    grads, sums, state = jax.eval_shape(shape, params, variables, float_batch(), KEY)
    assert {name for name in sums if name.startswith("entropy")} == present
    assert ("ce_adv" in sums) == ("perturbation" in sums) == (ega.attack is not None)
    assert all(s.shape == () for s in sums.values())
    # The state keeps its structure, so that one compiled step serves the whole run.
    same = jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype), state, variables)
    assert all(jax.tree.leaves(same))
    assert jax.tree.structure(grads) == jax.tree.structure(params)


@pytest.mark.slow
@pytest.mark.parametrize(("probability", "fast"), [("minmax", False), ("class_softmax", True)])
def test_padding_changes_nothing(probability, fast):
    """Without batch norm, where padding does enter the statistics of a training batch."""
    attack = ONE_STEP if fast else Attack(2, 1, 3)
    ega = Objective(attack, tiny.entropy(1.0, 0.3, probability), fast=fast)
    model = tiny.TinyNet(batch_norm=False)
    padded = float_batch(padded=3)
    padded["image"][-3:] = 0.25
    short = {name: value[:-3] for name, value in padded.items()}
    grads, sums, state = run(ega, model, padded)
    expected_grads, expected_sums, _ = run(ega, model, short)
    assert state == {}
    assert sums["count"] == 5
    tiny.assert_trees_close(grads, expected_grads, rtol=1e-4)
    tiny.assert_trees_close(sums, expected_sums)


def test_nothing_but_padding():
    batch = float_batch(padded=tiny.BATCH)
    grads, sums, _ = run(
        Objective(ONE_STEP, tiny.entropy(1.0, 0.3)), tiny.TinyNet(batch_norm=False), batch
    )
    assert all(np.all(g == 0) for g in jax.tree.leaves(grads))
    assert all(value == 0 for value in sums.values())


@pytest.mark.slow
def test_over_another_method():
    """Eq. 8 of CutMix's mixed loss, which the attack raises too, and of its images' entropy."""
    ega = dataclasses.replace(PAPER, method=tiny.method("cutmix"))
    model, batch = tiny.TinyNet(dual=True), float_batch(padded=1)
    grads, sums, state = run(ega, model, batch)
    mixed = jax.jit(tiny.method("cutmix").augment)(batch, jax.random.split(KEY, 5)[4])
    mixed = {name: np.asarray(value) for name, value in mixed.items()}
    assert 0 < mixed["share"] < 1

    def mixed_loss(logits, _, mask):
        own, other = (mean_cross_entropy(logits, mixed[k], mask) for k in ("label", "other_label"))
        return mixed["share"] * own + (1 - mixed["share"]) * other

    variables = tiny.variables(model)
    adversarial = attack_plainly(ega, model, variables, mixed, None, mixed_loss)
    value, expected, expected_state = equation_8(
        ega, model, variables, mixed, adversarial, mixed_loss
    )
    np.testing.assert_allclose(sums["loss"] / sums["count"], value, rtol=1e-5)
    tiny.assert_trees_close(grads, expected, rtol=1e-4, atol=1e-5)
    tiny.assert_trees_close(state, expected_state, rtol=1e-5)


@pytest.mark.slow
def test_weight_of_the_losses():
    """It halves what the method adds in both passes, not the entropy."""
    model, batch = tiny.TinyNet(dual=True), float_batch(padded=2)
    _, whole, _ = run(PAPER, model, batch)
    _, half, _ = run(dataclasses.replace(PAPER, ce_weight=0.5), model, batch)
    for name, factor in (("clean", 1.0), ("adv", 0.01)):
        np.testing.assert_allclose(half[f"ce_{name}"], whole[f"ce_{name}"], rtol=1e-5)
        expected = 0.5 * whole[f"ce_{name}"] + factor * whole[f"entropy_{name}"]
        np.testing.assert_allclose(half[f"loss_{name}"], expected, rtol=1e-5)
    np.testing.assert_allclose(half["loss"], half["loss_clean"] + half["loss_adv"], rtol=1e-6)
    alone = dataclasses.replace(PAPER, attack=None, ce_weight=0.5)  # no second one to halve it for
    _, sums, _ = run(alone, model, batch)
    expected = sums["ce_clean"] + sums["entropy_clean"]
    np.testing.assert_allclose(sums["loss_clean"], expected, rtol=1e-5)


@pytest.mark.slow
def test_classes_without_an_object_have_no_entropy_terms():
    batch = float_batch()
    batch["label"] = np.arange(tiny.BATCH, dtype=np.int32) % tiny.CLASSES
    model = tiny.TinyNet(dual=True)
    ega = dataclasses.replace(PAPER, background=(1, 3))
    _, whole, _ = run(PAPER, model, batch)
    _, without, _ = run(ega, model, batch)
    for term in ("entropy_clean", "entropy_adv"):
        assert 0 < without[term] < whole[term]
    assert without["loss_clean"] < whole["loss_clean"]
    assert without["ce_clean"] == pytest.approx(whole["ce_clean"])  # classified as the others
    # Of such images alone nothing is left of the entropy, and the gradient is that without it.
    batch["label"][:] = 3
    grads, sums, _ = run(ega, model, batch)
    plain, _, _ = run(Objective(attack=ONE_STEP, ce_weight=1.0), model, batch)
    assert sums["entropy_clean"] == sums["entropy_adv"] == 0
    tiny.assert_trees_close(grads, plain)


@pytest.mark.slow
def test_without_such_classes_the_program_does_not_look_for_them(monkeypatch):
    model, batch = tiny.TinyNet(dual=True), float_batch()
    state = tiny.variables(model)

    def program(ega):
        lowered = jax.jit(functools.partial(ega.loss_and_grads, model)).lower(
            state["params"], {k: v for k, v in state.items() if k != "params"}, batch, KEY
        )
        return lowered.as_text()

    plain = program(PAPER)
    assert program(dataclasses.replace(PAPER, background=(1,))) != plain
    monkeypatch.setattr(jnp, "isin", None)
    assert program(PAPER) == plain
