"""A batch in parts against the whole batch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ega_jax.aot import hlo
from ega_jax.ops.attack import Attack
from ega_jax.runtime.sharding import Placement
from ega_jax.training import steps
from ega_jax.training.accumulate import in_parts
from ega_jax.training.objective import Objective
from tests.helpers import tiny

OBJECTIVE = Objective(Attack(epsilon=2, step_size=1, num_steps=1), tiny.entropy(1.0, 0.1))
TX = tiny.optimizer()


def gradients(model, num_parts, batch, key=0):
    variables = tiny.variables(model)
    params = variables.pop("params")
    objective = functools.partial(OBJECTIVE.loss_and_grads, model, params)
    return jax.jit(in_parts(objective, num_parts))(variables, batch, jax.random.key(key))


@pytest.mark.slow
@pytest.mark.parametrize("num_parts", [2, 8])
def test_without_batch_norm_nothing_changes(num_parts):
    model = tiny.TinyNet(batch_norm=False)
    batch = tiny.batch(dtype=np.float32)
    batch["mask"][[0, 2, 4, 5]] = False  # some parts have fewer images that count, or none
    grads, sums, _ = gradients(model, 1, batch)
    in_parts_grads, in_parts_sums, _ = gradients(model, num_parts, batch)
    assert in_parts_sums["count"] == 4
    tiny.assert_trees_close(in_parts_grads, grads)
    tiny.assert_trees_close(in_parts_sums, sums)


@pytest.mark.slow
def test_a_batch_without_images_that_count():
    batch = tiny.batch(dtype=np.float32)
    batch["mask"][:] = False
    grads, sums, _ = gradients(tiny.TinyNet(batch_norm=False), 2, batch)
    assert all(np.all(g == 0) for g in jax.tree.leaves(grads))
    assert all(value == 0 for value in sums.values())


@pytest.mark.slow
def test_parts_follow_each_other():
    """Images 0, 2, 4, 6, then 1, 3, 5, 7, each with a key of its own; statistics move twice."""
    model = tiny.TinyNet(dual=True, dropout=0.5)
    batch, key = tiny.batch(dtype=np.float32), jax.random.key(3)
    state = tiny.variables(model)
    params = state.pop("params")
    total, counted = jax.tree.map(jnp.zeros_like, params), 0.0
    one = jax.jit(functools.partial(OBJECTIVE.loss_and_grads, model, params))
    for i in range(2):
        part = {name: values[i::2] for name, values in batch.items()}
        grads, sums, state = one(state, part, jax.random.fold_in(key, i))
        total = jax.tree.map(lambda t, g: t + g / 2, total, grads)
        counted += sums["loss"]
    grads, sums, model_state = gradients(model, 2, batch, key=3)
    tiny.assert_trees_close(grads, total)
    tiny.assert_trees_close(model_state, state)
    np.testing.assert_allclose(sums["loss"], counted, rtol=1e-5)


@pytest.mark.slow
def test_one_device_equals_four_and_no_image_moves():
    model = tiny.TinyNet(dual=True, dropout=0.2)

    def run(num_devices):
        placement = Placement(jax.devices()[:num_devices])
        step = jax.jit(
            functools.partial(
                steps.train_step, model=model, tx=TX, ega=OBJECTIVE, seed=0, accumulate=2
            ),
            in_shardings=(placement.replicated, placement.by_example),
            out_shardings=placement.replicated,
        )
        state = placement.replicate(tiny.train_state(model, TX))
        batch = placement.put_batch(tiny.batch())
        compiled = step.lower(state, batch).compile()
        return compiled(state, batch), hlo.collectives(compiled.as_text())

    (one, sums), none = run(1)
    (four, sums_of_four), collectives = run(4)
    assert none == {} and collectives.keys() == {"all-reduce"}
    tiny.assert_trees_close(sums_of_four, sums, rtol=1e-5, atol=1e-5)
    tiny.assert_trees_close(four.params, one.params, rtol=1e-5, atol=1e-5)
    tiny.assert_trees_close(four.model_state, one.model_state, rtol=1e-5, atol=1e-5)
