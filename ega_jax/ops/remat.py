"""Rematerialization: what a forward pass keeps for its backward pass, and what is computed again.

Memory, and traffic with it, against operations. Results are the same but for rounding.
"""

from collections.abc import Callable
from typing import Any

import jax

STAGE = "stage"  # what networks name the features behind each of their stages

_EXPENSIVE = {
    "convolution",
    "conv_general_dilated",
    "dot_general",
    "reduce_max",
    "reduce_sum",
    "reduce_window",
    "reduce_window_max",
    "reduce_window_sum",
}


def _expensive(primitive: Any, *_: Any, **__: Any) -> bool:
    return primitive.name in _EXPENSIVE


# Which intermediates are kept; None: all that the backward pass uses.
POLICIES: dict[str, Callable[..., bool] | None] = {
    "none": None,
    # Products and sums, of which batch norms' statistics are made. What lies between two
    # convolutions, normalizing and ReLU, is computed again while it is read.
    "elementwise": _expensive,
    # Features behind stages; every convolution runs once more in the backward pass.
    "stages": jax.checkpoint_policies.save_only_these_names(STAGE),
}


def remat(forward: Callable, policy: str) -> Callable:
    """Returns `forward` with a backward pass that computes again what `policy` does not keep.

    Args:
      forward: pure function of arrays.
      policy: a key of `POLICIES`.
    """
    keep = POLICIES[policy]
    return forward if keep is None else jax.checkpoint(forward, policy=keep)
