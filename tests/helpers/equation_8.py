"""The objective on the tiny network, and Eq. 8 written down naively to compare it with."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ega_jax.models.norm import AUX, MAIN
from ega_jax.ops import losses
from ega_jax.ops.attack import Attack
from ega_jax.training.objective import Objective
from tests.helpers import tiny

KEY = jax.random.key(3)
ONE_STEP = Attack(epsilon=1, step_size=1, num_steps=1)
PAPER = Objective(attack=ONE_STEP, entropy=tiny.entropy(1.0, 0.01), ce_weight=1.0)


@functools.cache
def compiled(ega, model):
    return jax.jit(functools.partial(ega.loss_and_grads, model))


def run(ega, model, batch, key=KEY, share=None):
    """Returns gradients, sums and new state for the tiny network's parameters."""
    state = tiny.variables(model)
    return compiled(ega, model)(state.pop("params"), state, batch, key, share)


def float_batch(size=tiny.BATCH, padded=0):
    batch = tiny.batch(size=size, dtype=np.float32)
    batch["mask"][size - padded :] = False
    return batch


def mean_cross_entropy(logits, labels, mask):
    """The mean over the images that are no padding, by the definition of the softmax."""
    p = jnp.exp(logits) / jnp.exp(logits).sum(axis=-1, keepdims=True)
    return -jnp.sum(jnp.where(mask, jnp.log(p[jnp.arange(len(labels)), labels]), 0)) / mask.sum()


def attack_plainly(ega, model, variables, batch, labels, mean_loss=mean_cross_entropy):
    """Runs the attack of an objective as a Python loop over the auxiliary branch."""
    train = ega.attack_bn_mode == "train"
    clean, radius = batch["image"], np.float32(ega.attack.epsilon / 255)
    direction = -1 if ega.attack.descend else 1

    def loss(images):
        (logits, _), _ = model.apply(variables, images, train=train, aux=True, mutable=[AUX])
        return mean_loss(logits, labels, batch["mask"])

    gradient = jax.grad(loss)
    x = clean
    for _ in range(ega.attack.num_steps):
        x = x + direction * np.float32(ega.attack.step_size / 255) * np.sign(gradient(x))
        x = np.clip(np.clip(x, clean - radius, clean + radius), 0, 1)
    return x


def equation_8(ega, model, variables, batch, adversarial, mean_loss=mean_cross_entropy):
    """Returns Eq. 8's value, its gradient as a whole, and both branches' new statistics."""
    statistics = {k: v for k, v in variables.items() if k != "params"}

    def entropy(out):
        values = losses.cam_entropy(
            out["cams"],
            batch["label"],
            probability=ega.entropy.probability,
            reduction=ega.entropy.reduction,
        )
        return jnp.sum(jnp.where(batch["mask"], values, 0)) / batch["mask"].sum()

    def loss(params):
        apply = functools.partial(model.apply, {"params": params, **statistics}, train=True)
        (clean_logits, clean), main = apply(batch["image"], mutable=[MAIN])
        (adv_logits, adv), aux = apply(adversarial, aux=True, mutable=[AUX])
        value = mean_loss(clean_logits, batch["label"], batch["mask"])
        value += mean_loss(adv_logits, batch["label"], batch["mask"])
        value *= ega.ce_weight
        if ega.entropy is not None:
            value += ega.entropy.lambda_clean * entropy(clean)
            value += ega.entropy.lambda_adv * entropy(adv)
        return value, {**main, **aux}

    (value, state), grads = jax.value_and_grad(loss, has_aux=True)(variables["params"])
    return value, grads, state


def assert_is_equation_8(ega, model, batch, adversarial):
    grads, sums, state = run(ega, model, batch)
    value, expected_grads, expected_state = equation_8(
        ega, model, tiny.variables(model), batch, adversarial
    )
    np.testing.assert_allclose(sums["loss"] / sums["count"], value, rtol=1e-5)
    tiny.assert_trees_close(grads, expected_grads, rtol=1e-4, atol=1e-5)
    tiny.assert_trees_close(state, expected_state, rtol=1e-5)
    moved = np.abs(adversarial - batch["image"]).max(axis=(1, 2, 3)) * 255
    np.testing.assert_allclose(sums["perturbation"], moved[batch["mask"]].sum(), rtol=1e-4)
    return grads, sums, state
