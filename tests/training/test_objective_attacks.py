"""The attacks of the objective: on what, from where, through which branch, how far."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ega_jax.models.norm import MAIN
from ega_jax.ops import losses
from ega_jax.ops.attack import Attack
from ega_jax.training.objective import Objective
from tests.helpers import tiny
from tests.helpers.equation_8 import (
    PAPER,
    assert_is_equation_8,
    attack_plainly,
    float_batch,
    mean_cross_entropy,
    run,
)


@pytest.mark.slow
def test_targeted():
    """Among two classes the other one is the target."""
    ega = dataclasses.replace(PAPER, attack=Attack(2, 1, 3, descend=True), targeted=True)
    model, batch = tiny.TinyNet(num_classes=2, dual=True), float_batch()
    batch["label"] %= 2
    variables = tiny.variables(model)
    adversarial = attack_plainly(ega, model, variables, batch, 1 - batch["label"])
    assert_is_equation_8(ega, model, batch, adversarial)


@pytest.mark.slow
def test_fast_takes_the_gradient_of_the_clean_pass():
    """One step from the image up the whole clean objective, through the main branch."""
    ega = dataclasses.replace(PAPER, fast=True)
    model, batch = tiny.TinyNet(dual=True), float_batch(padded=1)
    variables = tiny.variables(model)

    @jax.grad
    def gradient(images):
        (logits, out), _ = model.apply(variables, images, train=True, mutable=[MAIN])
        entropy = losses.cam_entropy(
            out["cams"], batch["label"], probability="minmax", reduction="mean"
        )
        mean_entropy = jnp.sum(jnp.where(batch["mask"], entropy, 0)) / batch["mask"].sum()
        return mean_cross_entropy(logits, batch["label"], batch["mask"]) + mean_entropy

    stepped = batch["image"] + np.float32(1 / 255) * np.sign(gradient(batch["image"]))
    assert_is_equation_8(ega, model, batch, np.clip(stepped, 0, 1))


@pytest.mark.slow
def test_perturbation_is_the_radius():
    model, batch = tiny.TinyNet(dual=True), float_batch(padded=2)
    _, sums, _ = run(PAPER, model, batch)
    np.testing.assert_allclose(sums["perturbation"] / sums["count"], 1.0, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("source", ["dropout", "random start", "random target"])
def test_the_key_decides(source):
    model, ega = tiny.TinyNet(batch_norm=False), PAPER
    if source == "dropout":
        model, ega = tiny.TinyNet(batch_norm=False, dropout=0.5), Objective()
    elif source == "random start":
        ega = dataclasses.replace(ega, attack=Attack(4, 1, 1, random_start=True))
    else:
        ega = dataclasses.replace(ega, attack=Attack(4, 1, 1, descend=True), targeted=True)
    batch = float_batch()
    first, again, other = (
        run(ega, model, batch, jax.random.key(seed))[1]["loss"] for seed in (0, 0, 1)
    )
    assert first == again != other


@pytest.mark.slow
def test_attack_on_scaled_images():
    """The released code's ball: around (x - mean) / std, in units of std, cut to [0, 1] there."""
    mean, std = np.float32([0.5, 0.4, 0.3]), np.float32([0.2, 0.25, 0.3])
    scaling = (tuple(mean.tolist()), tuple(std.tolist()))
    ega = Objective(attack=Attack(0.5 * 255, 0.1 * 255, 2), attack_scaling=scaling)
    model, batch = tiny.TinyNet(dual=True), float_batch()
    variables = tiny.variables(model)
    scaled = (batch["image"] - mean) / std

    @jax.jit
    @jax.grad
    def gradient(x):
        logits, _ = model.apply(variables, x * std + mean, train=False, aux=True)
        return mean_cross_entropy(logits, batch["label"], batch["mask"])

    x = scaled
    for _ in range(2):
        x = x + np.float32(0.1) * np.sign(gradient(x))
        x = np.clip(np.clip(x, scaled - np.float32(0.5), scaled + np.float32(0.5)), 0, 1)
    assert_is_equation_8(ega, model, batch, x * std + mean)
    dark = scaled < -0.6  # out of the ball, at the mean: the cut comes last
    assert dark.any() and not np.any(x[dark])


@pytest.mark.slow
def test_random_start_on_scaled_images():
    """As far as the ball reaches, in standard deviations, and no farther."""
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
    attack = Attack(0.25 * 255, 1.0, 0, random_start=True)
    batch = float_batch()
    batch["image"] = np.broadcast_to(np.float32(mean) + 0.5 * np.float32(std), (8, 16, 16, 3))
    _, sums, _ = run(
        Objective(attack=attack, attack_scaling=(mean, std)), tiny.TinyNet(dual=True), batch
    )
    farthest = 0.25 * 0.3 * 255  # where the deviation is the largest
    assert 0.95 * farthest < sums["perturbation"] / sums["count"] <= farthest * 1.001


def test_an_attack_needs_the_auxiliary_branch():
    with pytest.raises(ValueError, match="dual=True"):
        run(PAPER, tiny.TinyNet(dual=False), float_batch())
