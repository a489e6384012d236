"""Backprop: the gradient of a class's score with respect to the image.

Simonyan et al., "Deep Inside Convolutional Networks: Visualising Image Classification Models and
Saliency Maps", ICLR workshop 2014. The network is trained as CAM's; the map of class c is

    max over colours of |d logit_c / d image|

Paper: boxes by GraphCut, seeded by the highest and lowest values of the map. Here: the mean of the
map over squares as large as a cell of the class maps, cut at a threshold like every other map.
"""

import dataclasses

import jax
import jax.numpy as jnp

from ega_jax.methods.base import Forward, Method, View


@dataclasses.dataclass(frozen=True)
class Backprop(Method):
    """Backprop."""

    trained_as = "cam"

    def read(self, view: View, classes: jax.Array) -> jax.Array:
        """Takes one gradient for each of the classes."""
        size = view.out["cams"].shape[1:3]

        def of(classes: jax.Array) -> jax.Array:
            return cell_means(saliency(view.forward, view.images, classes), size)

        return jnp.stack([of(of_rank) for of_rank in classes.T], axis=-1)


def saliency(forward: Forward, images: jax.Array, classes: jax.Array) -> jax.Array:
    """Computes saliency maps.

    Args:
      forward: images to logits, and more.
      images: `[B, H, W, 3]` float.
      classes: `[B]` int.

    Returns:
      `[B, H, W]`, not negative.
    """

    def score(images: jax.Array) -> jax.Array:
        logits, _ = forward(images)
        return jnp.take_along_axis(logits, classes[:, None], axis=1).sum()

    return jnp.abs(jax.grad(score)(images)).max(axis=-1)


def cell_means(maps: jax.Array, size: tuple[int, ...]) -> jax.Array:
    """Averages maps `[B, H, W]` over the cells of a coarser grid, `size` cells high and wide."""

    def shares(pixels: int, cells: int) -> jax.Array:
        """`[cells, pixels]`: which share of a cell is that pixel."""
        edges = jnp.arange(cells + 1) * pixels / cells
        low = jnp.maximum(edges[:-1, None], jnp.arange(pixels))
        high = jnp.minimum(edges[1:, None], jnp.arange(pixels) + 1)
        return jnp.maximum(high - low, 0) * cells / pixels

    rows, columns = (shares(p, c) for p, c in zip(maps.shape[1:], size, strict=True))
    return jnp.einsum("bij,hi,wj->bhw", maps, rows, columns)
