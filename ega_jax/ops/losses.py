"""Loss terms of EGA: cross entropy and the Shannon entropy of class activation maps.

Every function returns one float32 value per example; masking and averaging are the step's business.
"""

import jax
import jax.numpy as jnp
import optax

from ega_jax.ops import class_maps

PROBABILITIES = ("minmax", "class_softmax", "spatial_softmax", "sigmoid")
REDUCTIONS = ("sum", "mean")

# Below this probability a pixel's -p log p counts as 0. The bound keeps the derivative -log p - 1
# finite where p reaches 0, as it does in every image under the `minmax` reading.
_SMALLEST = 1e-7


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Computes softmax cross entropy, L(theta, x, y) of Eq. 4.

    Args:
      logits: `[B, C]`.
      labels: `[B]` int, in [0, C).

    Returns:
      `[B]` float32, in nats.
    """
    return optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), labels)


def cam_entropy(
    cams: jax.Array, labels: jax.Array, *, probability: str, reduction: str
) -> jax.Array:
    """Computes the Shannon entropy of class activation maps, L_ent(CAM) of Eq. 7.

    Paper: -sum over (h, w) of P log P, where "P represents the probability of the pixel"; how a CAM
    becomes a probability is not said. Here: one of four readings, all differentiable.

    * `minmax`: the map of the true class, scaled to [0, 1] per image. This is what the authors'
      released code computes (there in base 2 and without a gradient).
    * `class_softmax`: softmax over the classes at each pixel, as ADVENT (Vu et al., CVPR 2019),
      which the paper cites, does for segmentation; the terms of all classes are added up.
    * `spatial_softmax`: softmax of the true class's map over its pixels, so that each image has one
      distribution.
    * `sigmoid`: logistic function of the true class's map at each pixel.

    Args:
      cams: class maps `[B, h, w, C]`.
      labels: `[B]` int, the true classes.
      probability: one of `PROBABILITIES`.
      reduction: `sum` over the pixels, as Eq. 7 is written, or `mean`, which makes the weight
        independent of the map's size.

    Returns:
      `[B]` float32, in nats, not negative.

    Raises:
      ValueError: an unknown reading or reduction.
    """
    cams = cams.astype(jnp.float32)
    if probability == "minmax":
        p = class_maps.min_max(class_maps.select(cams, labels))
    elif probability == "class_softmax":
        p = jax.nn.softmax(cams, axis=-1)
    elif probability == "spatial_softmax":
        p = jax.nn.softmax(class_maps.select(cams, labels), axis=(1, 2))
    elif probability == "sigmoid":
        p = jax.nn.sigmoid(class_maps.select(cams, labels))
    else:
        raise ValueError(f"unknown probability {probability!r}; choose one of {PROBABILITIES}")
    if reduction not in REDUCTIONS:
        raise ValueError(f"unknown reduction {reduction!r}; choose one of {REDUCTIONS}")
    counts = p > _SMALLEST
    entropy = jnp.where(counts, -p * jnp.log(jnp.where(counts, p, 1.0)), 0.0)
    total = entropy.sum(axis=tuple(range(1, entropy.ndim)))
    pixels = cams.shape[1] * cams.shape[2]
    return total / pixels if reduction == "mean" else total
