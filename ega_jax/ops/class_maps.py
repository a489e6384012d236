"""Class activation maps on the device: choosing a class's map and scaling it."""

import jax
import jax.numpy as jnp

# Below this span a map counts as constant. Not 0: the derivative holds 1 / span**2, which overflows
# float32 for spans under 1e-19 and turned a gradient into NaN.
_SMALLEST_SPAN = 1e-12


def select(cams: jax.Array, labels: jax.Array) -> jax.Array:
    """Picks one class's map per image, CAM_c of Eq. 3.

    Args:
      cams: class maps `[B, h, w, C]`.
      labels: `[B]` or `[B, K]` int, the classes wanted.

    Returns:
      `[B, h, w]`, or `[B, h, w, K]` if several classes are wanted.
    """
    index = labels.reshape(labels.shape[0], 1, 1, -1)
    chosen = jnp.take_along_axis(cams, index, axis=-1)
    return chosen if labels.ndim == 2 else chosen[..., 0]


def min_max(maps: jax.Array) -> jax.Array:
    """Scales each map `[B, h, w]` to [0, 1]; a constant map becomes 0. Differentiable."""
    low = maps.min(axis=(1, 2), keepdims=True)
    span = maps.max(axis=(1, 2), keepdims=True) - low
    return (maps - low) / jnp.where(span > _SMALLEST_SPAN, span, 1.0)
