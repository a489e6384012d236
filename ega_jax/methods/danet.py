"""DANet: three heads on three stages learn class, parent and root of a hierarchy, and differ.

Xue et al., "DANet: Divergent Activation for Weakly Supervised Object Localization", ICCV 2019. Each
head draws K maps of every label of its level; the label's class map is their mean. A low stage
tells roots apart (the order of a bird), a middle one parents (its family), the highest classes:

    loss = (CE(root) + CE(parent) + CE(class)) / 2 + alpha * L_cos

where L_cos, the divergent activation term, is the mean cosine between the maps that the true
labels have at all three levels, so that they light up different parts. Half of the 3 K maps are
drawn again at every step, and the same for all images. At test the maps of all levels are added,
each the mean of the K after a ReLU: the class that is ranked i-th with the i-th parent and root.

Paper: Inception v3 and VGG16 on CUB, of 37 families and 11 orders. Here: on corresponding stages of
ResNet-50, GoogLeNet and EfficientNet-Lite0, and on any data with a hierarchy, that of CUB as birds
are grouped today, 37 and 13; maps of Inception v3 at the trunk's own strides; ranks beyond the last
parent or root take the last.
"""

import dataclasses
import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from ega_jax.methods.base import Batch, Method, View
from ega_jax.models.network import Ending, Features, Mode, Network
from ega_jax.ops import class_maps, losses

LEVELS = ("root", "parent", "child")
STAGES = {  # of each level, and the width of its head relative to that of the network's own
    "vgg16": (("pool3", 1 / 2), ("pool4", 1), ("conv5_3", 1)),
    "googlenet": (("inception3b", 1 / 4), ("inception4b", 3 / 8), ("inception4e", 1)),
    "inception_v3": (("maxpool2", 1 / 4), ("Mixed_5d", 3 / 8), ("Mixed_6e", 1)),
    "resnet50": (("layer2_3", 1 / 2), ("layer3_5", 1), ("layer4_2", 1)),
    "efficientnet_lite0": (("block4", 1 / 4), ("block10", 1 / 2), ("top", 1)),
}
_SMALLEST = 1e-8  # added to a map's square sum; the authors add it to the product of two


@dataclasses.dataclass(frozen=True)
class DANet(Method):
    """DANet.

    Attributes:
      parents: of each class its parent, from 0.
      roots: of each class its root, from 0.
      num_maps: K, maps of a label.
      alpha: weight of the divergent activation term.
    """

    one_map = False
    networks = tuple(STAGES)

    parents: tuple[int, ...]
    roots: tuple[int, ...]
    num_maps: int
    alpha: float

    def ending(self, network: str) -> Ending:
        """Returns the three heads."""
        labels = (max(self.roots) + 1, max(self.parents) + 1, len(self.parents))
        levels = zip(LEVELS, STAGES[network], labels, strict=True)
        return functools.partial(hierarchical_heads, levels=tuple(levels), num_maps=self.num_maps)

    def loss(
        self, logits: jax.Array, out: Mapping[str, jax.Array], batch: Batch, key: jax.Array
    ) -> dict[str, jax.Array]:
        """Computes the three cross entropies and the divergent activation term."""
        label = batch["label"]
        labels = dict(zip(LEVELS, (*self._ancestors(label), label), strict=True))
        terms = {
            "ce": losses.cross_entropy(logits, label) / 2,
            "ce_parent": losses.cross_entropy(out["logits_parent"], labels["parent"]) / 2,
            "ce_root": losses.cross_entropy(out["logits_root"], labels["root"]) / 2,
        }
        size = max(out[f"maps_{level}"].shape[1] for level in LEVELS)
        maps = [enlarge(_of_label(out[f"maps_{level}"], labels[level]), size) for level in LEVELS]
        maps = jnp.concatenate(maps, axis=-1)
        total = maps.shape[-1]
        drawn = jax.random.permutation(key, total)[: total // 2]
        return terms | {"cosine": self.alpha * mean_cosine(maps[..., drawn])}

    def read(self, view: View, classes: jax.Array) -> jax.Array:
        """Adds the maps of all three levels, by rank."""
        out = view.out
        logits = {**{level: out[f"logits_{level}"] for level in LEVELS[:2]}, "child": view.logits}
        ranks = jnp.argsort(jnp.argsort(-view.logits, axis=-1), axis=-1)
        rank = jnp.take_along_axis(ranks, classes, axis=1)
        size = max(out[f"maps_{level}"].shape[1] for level in LEVELS)
        total = jnp.zeros(())
        for level in LEVELS:
            order = jnp.argsort(-logits[level], axis=-1)
            label = jnp.take_along_axis(order, jnp.minimum(rank, order.shape[1] - 1), axis=1)
            means = jax.nn.relu(out[f"maps_{level}"]).mean(axis=-1)
            total = total + enlarge(class_maps.select(means, label), size)
        return total

    def _ancestors(self, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jnp.asarray(self.roots)[labels], jnp.asarray(self.parents)[labels]


def hierarchical_heads(
    network: Network,
    features: Features,
    labels: jax.Array | None,
    mode: Mode,
    *,
    levels: tuple[tuple[str, tuple[str, float], int], ...],
    num_maps: int,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Ends a network in one head for each level: its name, stage and width, number of labels.

    Returns:
      The child's logits `[B, C]`; `cams` `[B, h, w, C]`, for each level `maps_<level>`
      `[B, h', w', labels, K]` and for root and parent `logits_<level>`.
    """
    del labels
    result = {}
    for level, (stage, width), count in levels:
        name = "head" if level == "child" else f"head_{level}"
        width = max(1, round(width * network.head_features))
        head = network.head(name, mode, num_classes=count * num_maps, features=width)
        logits, out = head(features[stage])
        maps = out["cams"].reshape(*out["cams"].shape[:3], count, num_maps)
        result[f"maps_{level}"] = maps
        result[f"logits_{level}"] = logits.reshape(-1, count, num_maps).mean(axis=-1)
    return result.pop("logits_child"), result | {"cams": maps.mean(axis=-1)}


def _of_label(maps: jax.Array, labels: jax.Array) -> jax.Array:
    """Picks the K maps `[B, h, w, K]` of a label of each image."""
    return jnp.take_along_axis(maps, labels[:, None, None, None, None], axis=3)[..., 0, :]


def enlarge(maps: jax.Array, size: int) -> jax.Array:
    """Resizes maps `[B, h, w, K]` to `[B, size, size, K]`, linearly, corner cells onto corners."""

    def weights(cells: int) -> jax.Array:
        """`[size, cells]`."""
        places = jnp.linspace(0, cells - 1, size)
        return jnp.maximum(0, 1 - jnp.abs(places[:, None] - jnp.arange(cells)))

    rows, columns = map(weights, maps.shape[1:3])
    return jnp.einsum("bijk,hi,wj->bhwk", maps, rows, columns)


def mean_cosine(maps: jax.Array) -> jax.Array:
    """Computes the mean cosine between the m maps of an image.

    Args:
      maps: `[B, h, w, m]`.

    Returns:
      `[B]`, the absolute value of the mean over all pairs.
    """
    flat = maps.reshape(len(maps), -1, maps.shape[-1])
    squares = jnp.square(flat).sum(axis=1, keepdims=True)
    unit = flat / jnp.sqrt(squares + _SMALLEST)
    # All pairs at once: the square of the sum, less the squares, is twice the sum over pairs.
    pairs = (jnp.square(unit.sum(axis=2)).sum(axis=1) - jnp.square(unit).sum(axis=(1, 2))) / 2
    count = maps.shape[-1]
    return jnp.abs(pairs) / (count * (count - 1) / 2)
