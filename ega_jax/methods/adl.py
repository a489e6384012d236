"""Attention-based Dropout Layer (ADL): behind some stages the most salient region is dropped.

Choe and Shim, "Attention-based Dropout Layer for Weakly Supervised Object Localization", CVPR 2019.
The mean of the features over their channels is an attention map. In training, features behind a
stage are multiplied by one of two maps, drawn for each layer and batch:

    with probability `drop_rate`   drop mask: 0 where attention >= threshold * its maximum, else 1
    otherwise                      importance map: sigmoid(attention)

Where the mask drops, no gradient flows; through the importance map it does. In evaluation the layer
is the identity, and there are no parameters.

Paper and the field's evaluation code put the layers behind the stages listed here for VGG16,
Inception v3 and ResNet-50. Here: behind the corresponding ones of GoogLeNet and EfficientNet-Lite0,
whose blocks end without an activation, so that attention can be negative there; Inception v3 has
its third layer in the head there, before the classifier, and here behind Mixed_6b.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ega_jax.methods.base import Method
from ega_jax.models.network import Insert, Mode, Network

STAGES = {
    "vgg16": ("pool3", "conv4_3", "conv5_3"),
    "googlenet": ("inception3b", "inception4b", "inception4e"),
    "inception_v3": ("Mixed_5d", "Mixed_6b", "Mixed_6e"),
    "resnet50": ("layer3_0", "layer4_0", "layer4_2"),
    "efficientnet_lite0": ("block5", "block11", "top"),
}


@dataclasses.dataclass(frozen=True)
class ADL(Method):
    """ADL.

    Attributes:
      drop_rate: probability of the drop mask.
      threshold: share of the attention's maximum, per image; what is above it is dropped.
    """

    networks = tuple(STAGES)

    drop_rate: float
    threshold: float

    def inserts(self, network: str) -> Mapping[str, Insert]:
        """Returns a layer for each of `STAGES`."""
        layer = functools.partial(_layer, drop_rate=self.drop_rate, threshold=self.threshold)
        return dict.fromkeys(STAGES[network], layer)


def _layer(network: Network, name: str, x: jax.Array, mode: Mode, **settings: Any) -> jax.Array:
    """Puts the layer behind a stage; see `network.Insert`."""
    del network
    return AttentionDropout(**settings, name=name)(x, train=mode["train"])


class AttentionDropout(nn.Module):
    """The layer; draws from the stream `dropout`. Attributes as of `ADL`."""

    drop_rate: float
    threshold: float

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Weights features `[B, h, w, C]`, in training only."""
        if not train:
            return x
        drop = jax.random.uniform(self.make_rng("dropout")) < self.drop_rate
        mask, importance = drop_mask(x, self.threshold), importance_map(x)
        return x * jnp.where(drop, mask, importance).astype(x.dtype)


def drop_mask(x: jax.Array, threshold: float) -> jax.Array:
    """Returns `[B, h, w, 1]`, 0 where the attention reaches a share of its maximum, else 1."""
    attention = x.mean(axis=-1, keepdims=True)
    bound = threshold * attention.max(axis=(1, 2), keepdims=True)
    return (attention < bound).astype(x.dtype)


def importance_map(x: jax.Array) -> jax.Array:
    """Returns `[B, h, w, 1]`, the attention's logistic function."""
    return jax.nn.sigmoid(x.mean(axis=-1, keepdims=True))
