"""What a forward pass keeps: the same gradients, fewer bytes, and which convolutions run again."""

import functools
import re

import jax
import jax.numpy as jnp
import pytest

from ega_jax.ops.attack import Attack
from ega_jax.ops.remat import POLICIES, remat
from ega_jax.training.objective import Objective
from tests.helpers import tiny
from tests.helpers.platforms import lowered

METHOD = tiny.method("adl", drop_rate=0.5)  # draws on the way
MODEL = tiny.network(METHOD, dual=True, dropout=0.2)


def gradients(policy):
    """Gradients of EGA's objective: the function, and arguments for it."""
    attack = Attack(epsilon=2, step_size=1, num_steps=1)
    ega = Objective(
        attack, tiny.entropy(1.0, 0.1), attack_bn_mode="train", method=METHOD, remat=policy
    )
    model_state = tiny.variables(MODEL)
    arguments = (
        model_state.pop("params"),
        model_state,
        tiny.batch(dtype="float32"),
        jax.random.key(0),
    )
    return functools.partial(ega.loss_and_grads, MODEL), arguments


@functools.cache
def computed(policy):
    """What the gradients come to."""
    function, arguments = gradients(policy)
    return jax.jit(function)(*arguments)


@pytest.mark.slow
@pytest.mark.parametrize("policy", [policy for policy in POLICIES if policy != "none"])
def test_the_same_gradients(policy):
    grads, sums, model_state = computed("none")
    again, again_sums, again_state = computed(policy)
    tiny.assert_trees_close(again, grads, rtol=1e-4, atol=1e-6)
    tiny.assert_trees_close(again_sums, sums, rtol=1e-5)
    tiny.assert_trees_close(again_state, model_state)


@pytest.mark.slow
def test_which_convolutions_run_again():
    count = {
        policy: len(re.findall(r"stablehlo\.convolution", lowered(*gradients(policy), "tpu")))
        for policy in POLICIES
    }
    assert count["elementwise"] == count["none"]
    # In each of three passes all but the classifier, whose result no backward pass wants.
    assert count["stages"] == count["none"] + 3 * 7


def test_what_is_kept():
    """Bytes that the backward pass gets from the forward pass, without the parameters."""
    variables = tiny.variables(MODEL)
    images = tiny.batch(dtype="float32")["image"]

    def forward(variables, images):
        rngs = {"dropout": jax.random.key(0)}
        return MODEL.apply(variables, images, train=True, mutable=["batch_stats"], rngs=rngs)[0][0]

    def kept(policy):
        back = jax.eval_shape(
            lambda v, x: jax.vjp(remat(forward, policy), v, x)[1], variables, images
        )
        return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(back))

    assert kept("stages") < kept("elementwise") < 0.5 * kept("none")


def test_unknown_policy():
    with pytest.raises(KeyError):
        remat(jnp.sin, "all")
