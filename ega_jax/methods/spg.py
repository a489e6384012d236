"""Self-produced Guidance (SPG): sure pixels of the class map teach branches on lower stages.

Zhang et al., "Self-produced Guidance for Weakly-supervised Object Localization", ECCV 2018. Beside
the head there are three branches that draw one map each, whatever the class: B1 and B2 on two
stages of the trunk, with a last part in common, and C on what the classifier reads. All are
enlarged to the image and taught by seeds, the pixels that another map is sure of:

    attention = min-max of the class map    B2 <- seeds(attention)
    p = sigmoid(B2)                         B1 <- seeds(p)
    q = (sigmoid(B1) + sigmoid(B2)) / 2     C  <- seeds(q)

    seeds(m) = 1 where m > high, 0 where m < low, ignored elsewhere
    loss = CE + BCE(B2) + BCE(B1) + BCE(C), each the mean over the pixels not ignored

No gradient flows through seeds. Only the class map is read at test.

Paper and the field's evaluation code have these stages for VGG16, Inception v3 and ResNet-50. Here:
corresponding ones for GoogLeNet and EfficientNet-Lite0; a mean for every image instead of one over
the batch, so that an image weighs the same whatever it is beside; the pixels are those of the
training crop; branches of half the head's width, which is that code's 512 but for B1 and B2 of
ResNet-50 (1024 there), and a head as wide on VGG16 as elsewhere (512 there).
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from ega_jax.methods.base import Batch, Method
from ega_jax.models.blocks import ConvBlock
from ega_jax.models.network import Ending, Features, Mode, Network, last
from ega_jax.ops import class_maps

STAGES = {  # of B1 and B2
    "vgg16": ("pool4", "conv5_3"),
    "googlenet": ("inception3b", "inception4d"),
    "inception_v3": ("maxpool3", "Mixed_6d"),
    "resnet50": ("layer3_0", "layer3_5"),
    "efficientnet_lite0": ("block5", "block10"),
}

# The field's code: if fewer than 30 of 224 x 224 pixels are above `high`, those above 0.7 of the
# map's maximum are the object.
_FEWEST = 30 / 224**2
_INSTEAD = 0.7


@dataclasses.dataclass(frozen=True)
class SPG(Method):
    """SPG. Attributes: high and low bound of the seeds for B2, B1 and C."""

    networks = tuple(STAGES)

    thresholds_b2: tuple[float, float]
    thresholds_b1: tuple[float, float]
    thresholds_c: tuple[float, float]

    def ending(self, network: str) -> Ending:
        """Returns the head with its branches."""
        return functools.partial(guided_head, branches=STAGES[network])

    def loss(
        self, logits: jax.Array, out: Mapping[str, jax.Array], batch: Batch, key: jax.Array
    ) -> dict[str, jax.Array]:
        """Adds the branches' cross entropies."""
        height, width = batch["image"].shape[1:3]

        def enlarged(maps: jax.Array) -> jax.Array:
            return jax.image.resize(maps, (len(maps), height, width), "bilinear")

        b1, b2, c = (enlarged(out[name]) for name in ("b1", "b2", "c"))
        attention = class_maps.min_max(enlarged(class_maps.select(out["cams"], batch["label"])))
        fused = (jax.nn.sigmoid(b1) + jax.nn.sigmoid(b2)) / 2
        return super().loss(logits, out, batch, key) | {
            "seeds_b2": seeded_bce(b2, attention, *self.thresholds_b2),
            "seeds_b1": seeded_bce(b1, jax.nn.sigmoid(b2), *self.thresholds_b1),
            "seeds_c": seeded_bce(c, fused, *self.thresholds_c),
        }


def guided_head(
    network: Network,
    features: Features,
    labels: jax.Array | None,
    mode: Mode,
    *,
    branches: tuple[str, str],
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Ends a network in one head and three branches that draw a map each.

    Returns:
      Logits `[B, C]`; `cams` `[B, h, w, C]`, and `b1`, `b2`, `c` `[B, h', w']`, of which the last
      may be of another size than the first two.
    """
    del labels
    logits, out = network.head("head", mode)(last(features))
    small = {"num_classes": 1, "convs": 1, "batch_norm": False, "dropout": 0.0}
    half: dict[str, Any] = {"features": max(1, network.head_features // 2)}
    common_part = network.head("head_b", mode, **small, **half)
    for name, stage in zip(("b1", "b2"), branches, strict=True):
        own_part = ConvBlock(**half, **network.common, name=f"head_{name}")
        _, branch = common_part(own_part(features[stage], **mode))
        out = out | {name: branch["cams"][..., 0]}
    _, branch = network.head("head_c", mode, **small, **half)(out["classified"])
    return logits, out | {"c": branch["cams"][..., 0]}


def seeded_bce(logits: jax.Array, guide: jax.Array, high: float, low: float) -> jax.Array:
    """Computes the binary cross entropy with the seeds of a map.

    Args:
      logits: `[B, H, W]`.
      guide: `[B, H, W]` in [0, 1]; no gradient flows to it.
      high: above it a pixel is of the object; lower if hardly any is.
      low: below it a pixel is background, whatever `high` says.

    Returns:
      `[B]` float32, means over the pixels that are either; 0 if none is.
    """
    targets, counts = seeds(jax.lax.stop_gradient(guide), high, low)
    terms = optax.sigmoid_binary_cross_entropy(logits.astype(jnp.float32), targets)
    return (terms * counts).sum(axis=(1, 2)) / jnp.maximum(counts.sum(axis=(1, 2)), 1)


def seeds(guide: jax.Array, high: float, low: float) -> tuple[jax.Array, jax.Array]:
    """Returns target and weight, 0 or 1, of every pixel `[B, H, W]`; see `seeded_bce`."""
    over = guide > high
    few = over.mean(axis=(1, 2), keepdims=True) < _FEWEST
    over = jnp.where(few, guide > _INSTEAD * guide.max(axis=(1, 2), keepdims=True), over)
    under = guide < low
    target = over & ~under
    return target.astype(jnp.float32), (target | under).astype(jnp.float32)
