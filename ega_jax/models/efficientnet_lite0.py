"""EfficientNet-Lite0: inverted bottlenecks without squeeze-and-excitation, for small hardware.

Tan and Le, ICML 2019 (EfficientNet-B0); the Lite variant of its authors has ReLU6 for swish and a
stem and a top of fixed width. Paddings are TensorFlow's, as its weights were trained with them.
"""

import functools

import flax.linen as nn
import jax

from ega_jax.models.blocks import ConvBlock, scale
from ega_jax.models.network import Block, Network, Stage

# Tab. 1 there: blocks, channels, side of the depthwise kernel, stride of the first, expansion.
ROWS = (
    (1, 16, 3, 1, 1),
    (2, 24, 3, 2, 6),
    (2, 40, 5, 2, 6),
    (3, 80, 3, 2, 6),
    (3, 112, 5, 1, 6),
    (4, 192, 5, 2, 6),
    (1, 320, 3, 1, 6),
)
_BATCH_NORMS = {"expand": 0, "depthwise": 1, "project": 2}  # their numbers in files, in a block


class InvertedBottleneck(nn.Module):
    """A 1x1 convolution to more channels, a depthwise one, and a linear 1x1 one to fewer.

    Attributes:
      features: channels of the output.
      kernel_size: side of the depthwise kernel.
      strides: of the depthwise convolution.
      expansion: of the input's channels in between; with 1 there is no first convolution.
      shortcut: whether the input is added.
      block: makes a convolution with all that is common.
    """

    features: int
    kernel_size: int
    strides: int
    expansion: int
    shortcut: bool
    block: Block

    @nn.compact
    def __call__(self, x: jax.Array, **mode: bool) -> jax.Array:
        """Maps `[B, h, w, C]` to `[B, h', w', features]`."""
        channels = self.expansion * x.shape[-1]
        y = x
        if self.expansion > 1:
            y = self.block(channels, 1, name="expand")(y, **mode)
        y = self.block(
            channels, self.kernel_size, strides=self.strides, groups=channels, name="depthwise"
        )(y, **mode)
        y = self.block(self.features, 1, activation=None, name="project")(y, **mode)
        return x + y if self.shortcut else y


class EfficientNetLite0(Network):
    """EfficientNet-Lite0: stride 32 is the published one, 7x7 maps at 224; 16 and 8 are finer.

    A finer map comes, as in the field's ResNet-50, of strides that are left out: that of `block11`,
    and of `block5` too at 8. Stages: `stem`, `block0` to `block15`, `top`, of which only the first
    and the last end in an activation. With `head_convs=0` the head is the network's own.
    """

    feature_strides = (8, 16, 32)
    batch_norms = (True,)
    cut = ("_fc.",)
    file_head = {"classifier": "_fc"}

    def trunk(self, x: jax.Array, stage: Stage, common: dict, mode: dict) -> None:
        """Passes the features of every block through `stage`."""
        block: Block = functools.partial(
            ConvBlock,
            padding="SAME",
            use_bias=False,
            batch_norm=True,
            epsilon=1e-3,
            activation=nn.relu6,
            **common,
        )
        x = stage("stem", block(scale(32, self.width), 3, strides=2, name="stem")(x, **mode))
        reached, number = 2, 0  # the stride so far, and the block's place
        for count, channels, kernel_size, strides, expansion in ROWS:
            for i in range(count):
                strides = strides if i == 0 and reached < self.feature_stride else 1
                reached *= strides
                name = f"block{number}"
                bottleneck = InvertedBottleneck(
                    scale(channels, self.width),
                    kernel_size,
                    strides,
                    expansion,
                    i > 0,
                    block,
                    name=name,
                )
                x = stage(name, bottleneck(x, **mode))
                number += 1
        stage("top", block(scale(1280, self.width), 1, name="top")(x, **mode))

    def file_name(self, module: tuple[str, ...]) -> str:
        """Returns a module's name in the PyTorch port's file: `_blocks.3._expand_conv`, say."""
        *blocks, name, kind = module
        if not blocks:
            convolution, norm = {"stem": ("_conv_stem", "_bn0"), "top": ("_conv_head", "_bn1")}[
                name
            ]
        else:
            convolution, norm = f"_{name}_conv", f"_bn{_BATCH_NORMS[name]}"
        prefix = "".join(f"_blocks.{block.removeprefix('block')}." for block in blocks)
        return prefix + (norm if kind == "bn" else convolution)

    def file_scalings(self) -> tuple[str, ...]:
        """Returns the one that its weights were trained with."""
        return ("lite",)
