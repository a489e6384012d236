"""NL-CCAM: non-local blocks behind the pools of the trunk, and maps combined as in `ccam.py`.

Yang et al., WACV 2020 (see `ccam.py`); non-local blocks after Wang et al., CVPR 2018. A block lets
every cell look at all others:

    y = x + BN(mix(softmax(q(x) k(x)^T) v(x)))

with 1x1 convolutions q and k to C / 8 channels, v and mix to C. The scale and bias of its batch
norm begin at 0, so that a new block is the identity and leaves a pretrained trunk as it was.

Paper: VGG16 with LeakyReLU, blocks behind pools 2 to 4 and conv5_3, classifier directly on them.
Here: the trunk's own activations, which published weights were trained with; with adversarial
images an auxiliary batch norm, also where the trunk has no batch norm. Behind corresponding stages
of ResNet-50, GoogLeNet, Inception v3 and EfficientNet-Lite0, for which the paper defines nothing.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ega_jax.methods.ccam import CCAM
from ega_jax.models.network import Insert, Mode, Network
from ega_jax.models.norm import DualBatchNorm

STAGES = {
    "vgg16": ("pool2", "pool3", "pool4", "conv5_3"),
    "googlenet": ("inception3b", "inception4b", "inception4e"),
    "inception_v3": ("Mixed_5d", "Mixed_6b", "Mixed_6e"),
    "resnet50": ("layer2_3", "layer3_5", "layer4_2"),
    "efficientnet_lite0": ("block4", "block10", "block15"),
}
_NARROWER = 8  # q and k have this many times fewer channels than x


@dataclasses.dataclass(frozen=True)
class NLCCAM(CCAM):
    """NL-CCAM."""

    trained_as = None
    networks = tuple(STAGES)

    def inserts(self, network: str) -> Mapping[str, Insert]:
        """Returns a block for each of `STAGES`."""
        return dict.fromkeys(STAGES[network], _block)


def _block(network: Network, name: str, x: jax.Array, mode: Mode) -> jax.Array:
    """Puts a block behind a stage; see `network.Insert`."""
    return NonLocal(**network.common, name=name)(x, **mode)


class NonLocal(nn.Module):
    """The block. Attributes: with an auxiliary batch norm (`dual`); `dtype` of the computation."""

    dual: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, aux: bool = False) -> jax.Array:
        """Maps `[B, h, w, C]` to the same shape."""
        batch, height, width, channels = x.shape

        def project(name: str, features: int, x: jax.Array) -> jax.Array:
            return nn.Conv(features, (1, 1), dtype=self.dtype, name=name)(x)

        q, k, v = (
            project(name, features, x).reshape(batch, height * width, features)
            for name, features in (
                ("query", max(1, channels // _NARROWER)),
                ("key", max(1, channels // _NARROWER)),
                ("value", channels),
            )
        )
        scores = jnp.einsum("bqc,bkc->bqk", q, k, preferred_element_type=jnp.float32)
        attention = jax.nn.softmax(scores).astype(self.dtype)
        mixed = project("mix", channels, (attention @ v).reshape(x.shape))
        norm = DualBatchNorm(
            dual=self.dual, dtype=self.dtype, scale_init=nn.initializers.zeros, name="bn"
        )
        return x + norm(mixed, train=train, aux=aux)
