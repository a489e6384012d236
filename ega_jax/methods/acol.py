"""Adversarial Complementary Learning (ACoL): a second head learns where the first does not look.

Zhang et al., "Adversarial Complementary Learning for Weakly Supervised Object Localization", CVPR
2018. Head A draws its class maps. Where that of the true class, scaled to [0, 1], reaches the
threshold, the features are erased, and head B has to recognise the class by the rest:

    loss = CE(A) + CE(B)        map = max(min-max of A's map, min-max of B's map)

No gradient flows through the erased region's outline. Classes are A's. On VGG16 the features are
smoothed by a 3x3 average before both heads, as in the authors' code.

Paper: at test the region of the predicted class is erased. Here: the same; the field's evaluation
code takes the true class there, which no user has. The trunk keeps its own pools: in that code
VGG16 has 3x3 ones for ACoL, and one more, of stride 1, behind conv5_3.
"""

import dataclasses
import functools
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from ega_jax.methods.base import Batch, Method, View
from ega_jax.models.network import Ending, Features, Mode, Network, last
from ega_jax.ops import class_maps, losses

_SMOOTHED = ("vgg16",)


@dataclasses.dataclass(frozen=True)
class ACoL(Method):
    """ACoL.

    Attributes:
      threshold: of the first head's map in [0, 1], from which on features are erased.
    """

    one_map = False

    threshold: float

    def ending(self, network: str) -> Ending:
        """Returns both heads."""
        smooth = network in _SMOOTHED
        return functools.partial(twin_heads, threshold=self.threshold, smooth=smooth)

    def loss(
        self, logits: jax.Array, out: Mapping[str, jax.Array], batch: Batch, key: jax.Array
    ) -> dict[str, jax.Array]:
        """Adds the second head's cross entropy."""
        second = losses.cross_entropy(out["logits_b"], batch["label"])
        return super().loss(logits, out, batch, key) | {"ce_b": second}

    def read(self, view: View, classes: jax.Array) -> jax.Array:
        """Takes the higher of both maps, each scaled to [0, 1], at every cell."""
        maps = (class_maps.select(view.out[name], classes) for name in ("cams", "cams_b"))
        return jnp.maximum(*map(class_maps.min_max, maps))


def twin_heads(
    network: Network,
    features: Features,
    labels: jax.Array | None,
    mode: Mode,
    *,
    threshold: float,
    smooth: bool,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Ends a network in two heads, the second over what the first does not look at.

    Returns:
      A's logits `[B, C]`; `cams` and `cams_b` `[B, h, w, C]`, and `logits_b` `[B, C]`.
    """
    x = last(features)
    if smooth:
        x = nn.avg_pool(x, (3, 3), padding=((1, 1), (1, 1)))
    logits, out = network.head("head", mode)(x)
    erased = erase(x, out["cams"], logits.argmax(-1) if labels is None else labels, threshold)
    logits_b, out_b = network.head("head_b", mode)(erased)
    return logits, out | {"cams_b": out_b["cams"], "logits_b": logits_b}


def erase(x: jax.Array, cams: jax.Array, labels: jax.Array, threshold: float) -> jax.Array:
    """Sets features to 0 where the map of a class, scaled to [0, 1], reaches a threshold.

    Args:
      x: features `[B, h, w, F]`.
      cams: class maps `[B, h, w, C]`; no gradient flows to them.
      labels: `[B]` int.
      threshold: in [0, 1].
    """
    attention = class_maps.min_max(class_maps.select(jax.lax.stop_gradient(cams), labels))
    return jnp.where((attention < threshold)[..., None], x, 0)
