"""CutMix: a box of one training image is replaced by that of another, and the labels are mixed.

Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features",
ICCV 2019. With lambda ~ Beta(beta, beta), a box of sides sqrt(1 - lambda) of the image's, around a
uniform point, is cut out of the other image; lambda becomes the share of pixels that stay:

    loss = lambda * CE(label) + (1 - lambda) * CE(label of the other image)

Paper: one lambda and one box for a batch, and the other image by a random permutation of it. Here:
the other image is the one before in the batch, whose order is random already: on many devices only
one image of each has to travel.
"""

import dataclasses

import jax
import jax.numpy as jnp

from ega_jax.methods.base import Batch, Method
from ega_jax.ops import losses


@dataclasses.dataclass(frozen=True)
class CutMix(Method):
    """CutMix.

    Attributes:
      beta: of the distribution of lambda; 1: uniform.
      probability: that a batch is mixed.
    """

    beta: float
    probability: float

    def augment(self, batch: Batch, key: jax.Array) -> Batch:
        """Mixes a batch; adds `other_label` `[B]` and `share`, a scalar, the weight of `label`."""
        box_key, apply_key = jax.random.split(key)
        size = batch["image"].shape[1]
        inside = random_box(box_key, size, beta=self.beta)
        inside &= jax.random.uniform(apply_key) < self.probability
        others = jnp.roll(batch["image"], 1, axis=0)
        return {
            **batch,
            "image": jnp.where(inside[None, :, :, None], others, batch["image"]),
            "other_label": jnp.roll(batch["label"], 1),
            "share": 1 - inside.mean(),
        }

    def classify(self, logits: jax.Array, batch: Batch) -> jax.Array:
        """Computes the cross entropies of both labels, weighted."""
        own = losses.cross_entropy(logits, batch["label"])
        other = losses.cross_entropy(logits, batch["other_label"])
        return batch["share"] * own + (1 - batch["share"]) * other


def random_box(key: jax.Array, size: int, *, beta: float) -> jax.Array:
    """Draws the box that is replaced.

    Args:
      key: for its size and place.
      size: side S of the images.
      beta: as of `CutMix`.

    Returns:
      `[S, S]` bool, True inside; the box is clipped at the border.
    """
    size_key, place_key = jax.random.split(key)
    share = jax.random.beta(size_key, beta, beta)
    side = (size * jnp.sqrt(1 - share)).astype(jnp.int32)
    centre = jax.random.randint(place_key, (2,), 0, size)
    low = jnp.clip(centre - side // 2, 0, size)
    high = jnp.clip(centre + side // 2, 0, size)
    pixels = jnp.arange(size)
    rows, columns = ((pixels >= low[i]) & (pixels < high[i]) for i in (0, 1))
    return rows[:, None] & columns[None, :]
