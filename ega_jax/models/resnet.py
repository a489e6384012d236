"""ResNet-50 with the field's strides.

He et al., CVPR 2016, in torchvision's form (the stride is in the 3x3 convolution); layer4, and for
28x28 maps layer3 too, without a stride, as in the field's WSOL code.
"""

import functools

import flax.linen as nn
import jax

from ega_jax.models.blocks import ConvBlock, max_pool, scale
from ega_jax.models.network import Block, Network, Stage

BLOCKS = (3, 4, 6, 3)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut."""

    features: int
    strides: int
    project: bool
    block: Block

    @nn.compact
    def __call__(self, x: jax.Array, **mode: bool) -> jax.Array:
        """Maps `[B, h, w, C]` to `[B, h', w', 4 * features]`."""
        y = self.block(self.features, 1, name="conv1")(x, **mode)
        y = self.block(self.features, 3, strides=self.strides, name="conv2")(y, **mode)
        y = self.block(4 * self.features, 1, activation=None, name="conv3")(y, **mode)
        if self.project:
            project = self.block(
                4 * self.features, 1, strides=self.strides, activation=None, name="downsample"
            )
            x = project(x, **mode)
        return nn.relu(x + y)


class ResNet50(Network):
    """ResNet-50: stride 16 gives 14x14 maps at 224, 8 gives 28x28, 32 is torchvision's 7x7.

    Stages: `conv1`, `layer1_0` to `layer4_2`. With `head_convs=0` the head is ResNet's own.
    """

    feature_strides = (8, 16, 32)
    batch_norms = (True,)
    cut = ("fc.",)
    file_head = {"classifier": "fc"}

    def trunk(self, x: jax.Array, stage: Stage, common: dict, mode: dict) -> None:
        """Passes the features of every stage through `stage`."""
        block: Block = functools.partial(ConvBlock, batch_norm=True, use_bias=False, **common)
        x = block(scale(64, self.width), 7, strides=2, name="conv1")(x, **mode)
        x = max_pool(stage("conv1", x), 3, 2, padding=1)
        strides = {2: 2, 3: 2 if self.feature_stride >= 16 else 1}
        strides[4] = 2 if self.feature_stride == 32 else 1
        for layer, count in enumerate(BLOCKS, start=1):
            for i in range(count):
                name = f"layer{layer}_{i}"
                bottleneck = Bottleneck(
                    scale(64 * 2 ** (layer - 1), self.width),
                    strides.get(layer, 1) if i == 0 else 1,
                    i == 0,
                    block,
                    name=name,
                )
                x = stage(name, bottleneck(x, **mode))

    def file_name(self, module: tuple[str, ...]) -> str:
        """Returns torchvision's name of a module: block `layer1_0` is `layer1.0` there."""
        *blocks, conv, kind = module
        if conv == "downsample":
            conv = "downsample.1" if kind == "bn" else "downsample.0"
        elif kind == "bn":
            conv = conv.replace("conv", "bn")
        return ".".join([*blocks, conv]).replace("_", ".")
