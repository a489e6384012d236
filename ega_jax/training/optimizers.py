"""Learning-rate schedules, SGD and Adam with parameter groups, after the field's training code."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import optax

Schedule = Callable[[Any], Any]


def step_decay(
    base: float, *, total_steps: int, warmup_steps: int, boundaries: Sequence[int], factor: float
) -> Schedule:
    """Multiplies the rate by `factor` at each step of `boundaries`, after a linear warm-up."""
    # Boundaries may coincide, where epochs are shorter than a step; each of them counts.
    scales = {int(b): factor ** boundaries.count(b) for b in boundaries}
    decay = optax.piecewise_constant_schedule(base, scales)
    return _warm_up(base, warmup_steps, lambda step: decay(step + warmup_steps))


def cosine(base: float, *, total_steps: int, warmup_steps: int) -> Schedule:
    """Lowers the rate to 0 along half a cosine, after a linear warm-up."""
    decay = optax.cosine_decay_schedule(base, max(total_steps - warmup_steps, 1))
    return _warm_up(base, warmup_steps, decay)


def polynomial(base: float, *, total_steps: int, warmup_steps: int, power: float) -> Schedule:
    """Lowers the rate to 0 as a power of the share of steps left, after a linear warm-up."""
    decay = optax.polynomial_schedule(base, 0.0, power, max(total_steps - warmup_steps, 1))
    return _warm_up(base, warmup_steps, decay)


def constant(base: float, *, total_steps: int, warmup_steps: int) -> Schedule:
    """Keeps the rate, after a linear warm-up."""
    return _warm_up(base, warmup_steps, optax.constant_schedule(base))


def _warm_up(base: float, steps: int, after: Schedule) -> Schedule:
    """Joins a linear rise over `steps` steps and `after`.

    The rise begins one step above 0, at which the first batch would teach nothing.
    """
    if not steps:
        return after
    rise = optax.linear_schedule(base / steps, base, steps - 1)
    return optax.join_schedules([rise, after], [steps])


def build(
    rule: optax.GradientTransformation,
    schedule: Schedule,
    *,
    weight_decay: float,
    decay_norm_and_bias: bool,
    head_multiplier: float,
    head_modules: Sequence[str] = ("head",),
    clip_norm: float | None,
) -> optax.GradientTransformation:
    """Builds an optimizer around a rule, in PyTorch's order.

    Weight decay joins the gradient before the rule; learning rates apply after it.

    Args:
      rule: `nesterov` or `adam`.
      schedule: step -> learning rate of the trunk.
      weight_decay: L2 coefficient.
      decay_norm_and_bias: decay biases and batch norm scales too, as PyTorch does by default.
      head_multiplier: factor on the learning rate of the head.
      head_modules: the head is all parameters under modules whose names begin with one of these.
      clip_norm: bound on the gradient's global norm, before weight decay; None for no bound.
    """
    parts = []
    if clip_norm is not None:
        parts.append(optax.clip_by_global_norm(clip_norm))
    if weight_decay:
        mask = None if decay_norm_and_bias else _is_kernel
        parts.append(optax.add_decayed_weights(weight_decay, mask))
    parts.append(rule)
    if head_multiplier != 1:
        parts.append(optax.masked(optax.scale(head_multiplier), _is_in(tuple(head_modules))))
    parts.append(optax.scale_by_learning_rate(schedule))
    return optax.chain(*parts)


def nesterov(momentum: float) -> optax.GradientTransformation:
    """Returns the rule of PyTorch's `SGD(momentum, nesterov=True)`."""
    return optax.trace(momentum, nesterov=True)


def adam() -> optax.GradientTransformation:
    """Returns the rule of PyTorch's `Adam()`."""
    return optax.scale_by_adam()


def _is_kernel(params: Any) -> Any:
    """Marks the leaves that are neither a bias nor a batch norm's scale."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: path[-1].key not in ("bias", "scale"), params
    )


def _is_in(modules: tuple[str, ...]) -> Callable[[Any], Any]:
    """Makes a function that marks the leaves under modules whose names begin with one of these."""
    return functools.partial(
        jax.tree_util.tree_map_with_path, lambda path, _: path[0].key.startswith(modules)
    )
