"""GoogLeNet-GAP: Inception v1 up to inception4e with a fully convolutional head.

Szegedy et al., CVPR 2015; cut as in the CAM release (Zhou et al., CVPR 2016).
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from ega_jax.models.blocks import ConvBlock, local_response_norm, max_pool, scale
from ega_jax.models.network import Block, Network, Stage

# Channels of 1x1; 3x3 reduction and 3x3; 5x5 reduction and 5x5; pool projection (Tab. 1).
INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
}


class Inception(nn.Module):
    """Four branches side by side.

    Attributes:
      channels: a row of `INCEPTIONS`, scaled.
      large: side of the third branch's kernel.
      block: makes a convolution with all that is common.
    """

    channels: tuple[int, ...]
    large: int
    block: Block

    @nn.compact
    def __call__(self, x: jax.Array, **mode: bool) -> jax.Array:
        """Maps `[B, h, w, C]` to `[B, h, w, C']`."""
        ones, reduce3, threes, reduce5, fives, pooled = self.channels
        return jnp.concatenate(
            [
                self.block(ones, 1, name="branch1")(x, **mode),
                self.block(threes, 3, name="branch2_1")(
                    self.block(reduce3, 1, name="branch2_0")(x, **mode), **mode
                ),
                self.block(fives, self.large, name="branch3_1")(
                    self.block(reduce5, 1, name="branch3_0")(x, **mode), **mode
                ),
                self.block(pooled, 1, name="branch4_1")(max_pool(x, 3, 1, padding=1), **mode),
            ],
            axis=-1,
        )


class GoogLeNet(Network):
    """Inception v1: stride 16 is the published one (14x14 at 224), 8 drops maxpool3 (28x28).

    With batch norm it is torchvision's network: no biases, and 3x3 kernels where the paper has 5x5.
    Without, it is the original: biases, 5x5, local response normalization. Stages: `conv1` to
    `conv3`, `inception3a` to `inception4e`.
    """

    cut = ("aux1.", "aux2.", "inception5a.", "inception5b.", "fc.")

    def trunk(self, x: jax.Array, stage: Stage, common: dict, mode: dict) -> None:
        """Passes the features of every stage through `stage`."""
        plain = not self.batch_norm
        block = functools.partial(
            ConvBlock, batch_norm=self.batch_norm, use_bias=plain, epsilon=1e-3, **common
        )
        pool = functools.partial(max_pool, window=3, strides=2, ceil_mode=True)
        norm = local_response_norm if plain else lambda x: x

        def conv(name, x, channels, *args, **kwargs):
            module = block(scale(channels, self.width), *args, name=name, **kwargs)
            return stage(name, module(x, **mode))

        x = norm(pool(conv("conv1", x, 64, 7, strides=2)))
        x = pool(norm(conv("conv3", conv("conv2", x, 64, 1), 192, 3)))
        for name, channels in INCEPTIONS.items():
            if name == "4a" and self.feature_stride == 16:
                x = pool(x)
            channels = tuple(scale(c, self.width) for c in channels)
            name = f"inception{name}"
            x = stage(name, Inception(channels, 5 if plain else 3, block, name=name)(x, **mode))

    def file_name(self, module: tuple[str, ...]) -> str:
        """Returns torchvision's name of a module: `branch2_0` is `branch2.0` there."""
        return ".".join(module).replace("_", ".")

    def file_scalings(self) -> tuple[str, ...]:
        """Returns that of torchvision's `transform_input`, or of Caffe's original."""
        return ("signed",) if self.batch_norm else ("caffe",)
