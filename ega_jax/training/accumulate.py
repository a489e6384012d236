"""Gradient accumulation: a batch in parts, one after the other, in the memory of one part.

The update is that of the whole batch, but for what images of a batch do to each other: batch norm
in training sees a part at a time (and its running statistics move once for each), CutMix mixes
within a part.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Sums = dict[str, jax.Array]
# Model state, batch and key in; gradients averaged over the batch, sums and model state out.
LossAndGrads = Callable[[dict, dict[str, jax.Array], jax.Array], tuple[Any, Sums, dict]]


def in_parts(objective: LossAndGrads, num_parts: int) -> LossAndGrads:
    """Returns an objective that goes through its batch in `num_parts` equal parts.

    Part i has the images i, i + num_parts, ...: where a batch lies split over devices, none of it
    has to move.

    Args:
      objective: as `Objective.loss_and_grads`; its sums hold `count`, the images that count.
      num_parts: divides the batch size; 1 leaves the objective as it is.
    """
    if num_parts == 1:
        return objective

    def accumulated(
        model_state: dict, batch: dict[str, jax.Array], key: jax.Array
    ) -> tuple[Any, Sums, dict]:
        parts = jax.tree.map(lambda x: x.reshape(-1, num_parts, *x.shape[1:]).swapaxes(0, 1), batch)

        def add_part(carry: tuple, number_and_part: tuple) -> tuple[tuple, None]:
            total, sums, model_state = carry
            number, part = number_and_part
            grads, more, model_state = objective(model_state, part, jax.random.fold_in(key, number))
            total = jax.tree.map(lambda t, g: t + g * more["count"], total, grads)
            return (total, jax.tree.map(jnp.add, sums, more), model_state), None

        first = jax.tree.map(lambda x: x[0], parts)
        shapes = jax.eval_shape(objective, model_state, first, key)
        total, sums = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes[:2])
        (total, sums, model_state), _ = jax.lax.scan(
            add_part, (total, sums, model_state), (jnp.arange(num_parts), parts)
        )
        count = jnp.maximum(sums["count"], 1)
        return jax.tree.map(lambda t: t / count, total), sums, model_state

    return accumulated
