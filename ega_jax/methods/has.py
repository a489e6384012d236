"""Hide-and-Seek (HaS): random patches of the training images are hidden.

Singh and Lee, "Hide-and-Seek: Forcing a Network to be Meticulous for Weakly-supervised Object and
Action Localization", ICCV 2017. An image is divided into squares of `grid_size` pixels; each is
painted over in the mean colour with probability `drop_rate`, so that the network cannot always find
the most discriminative part. Test images are whole.

Paper: the grid is drawn for every image from 16, 32, 44, 56 and none, at 224 pixels, and the rate
is 0.5. Here: the same; `grid_sizes` of one size is what the field's evaluation code does.
"""

import dataclasses

import jax
import jax.numpy as jnp

from ega_jax.methods.base import Batch, Method


@dataclasses.dataclass(frozen=True)
class HaS(Method):
    """Hide-and-Seek.

    Attributes:
      grid_sizes: sides of a square, in pixels; one is drawn for each image. 0: nothing is hidden.
      drop_rate: probability that a square is hidden.
      fill: RGB in [0, 1] of what is hidden: what the network scales to 0.
    """

    grid_sizes: tuple[int, ...]
    drop_rate: float
    fill: tuple[float, float, float]

    def augment(self, batch: Batch, key: jax.Array) -> Batch:
        """Hides squares of every image."""
        images = batch["image"]
        hidden = hidden_squares(
            key, len(images), images.shape[1], grid_sizes=self.grid_sizes, drop_rate=self.drop_rate
        )
        fill = jnp.asarray(self.fill, images.dtype)
        return {**batch, "image": jnp.where(hidden[..., None], fill, images)}


def hidden_squares(
    key: jax.Array, batch_size: int, size: int, *, grid_sizes: tuple[int, ...], drop_rate: float
) -> jax.Array:
    """Draws which pixels are hidden.

    Args:
      key: for grids and squares.
      batch_size: number of images B.
      size: side S of the images; the last squares of a row are cut off where they stick out.
      grid_sizes: as of `HaS`.
      drop_rate: as of `HaS`.

    Returns:
      `[B, S, S]` bool.
    """
    grid_key, drop_key = jax.random.split(key)
    choice = jax.random.randint(grid_key, (batch_size,), 0, len(grid_sizes))
    grid = jnp.asarray(grid_sizes)[choice]
    most = -(-size // min((g for g in grid_sizes if g), default=size))  # squares along a side
    drop = jax.random.uniform(drop_key, (batch_size, most, most)) < drop_rate
    square = jnp.arange(size) // jnp.maximum(grid, 1)[:, None]  # of each pixel, along a side
    square = jnp.minimum(square, most - 1)  # meaningless where nothing is hidden
    hidden = jax.vmap(lambda d, s: d[s[:, None], s[None, :]])(drop, square)
    return hidden & (grid > 0)[:, None, None]
