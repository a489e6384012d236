"""VGG16-GAP: the VGG16 trunk up to conv5_3 with a fully convolutional head.

Simonyan and Zisserman, ICLR 2015; cut and strides as in the field's WSOL code (Zhou et al., 2016).
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ega_jax.models.blocks import ConvBlock
from ega_jax.models.heads import ConvHead

# Statistics of ImageNet in RGB, images in [0, 1].
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels, convolutions


class VGG16(nn.Module):
    """VGG16-GAP at any width and input size.

    Attributes:
      num_classes: channels of the class maps.
      width: factor on every channel count; 1 is the published network.
      feature_stride: 16 keeps pools 1-4 (a 14x14 map at 224), 8 drops pool4 (28x28).
      batch_norm: batch norm after every 3x3 convolution, trunk and head, or nowhere.
      dual: with an auxiliary batch norm for adversarial images.
      dropout: rate in the head.
      dtype: of the computation (`bfloat16` on accelerators); parameters stay float32.
    """

    num_classes: int
    width: float = 1.0
    feature_stride: int = 16
    batch_norm: bool = True
    dual: bool = False
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, images: jax.Array, *, train: bool, aux: bool = False
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Classifies images and draws the class maps on the way.

        Args:
          images: `[B, H, W, 3]` float, RGB in [0, 1]; H and W multiples of `feature_stride`.
          train: batch statistics and dropout, instead of running statistics.
          aux: take the auxiliary batch norm branch.

        Returns:
          Logits `[B, num_classes]` float32, and a dict of named intermediates: `cams`, the class
          maps `[B, h, w, num_classes]` float32, and `conv5_3`, the trunk's features.
        """
        common = {"batch_norm": self.batch_norm, "dual": self.dual, "dtype": self.dtype}
        mode = {"train": train, "aux": aux}
        x = ((images - jnp.array(MEAN)) / jnp.array(STD)).astype(self.dtype)
        for stage, (channels, count) in enumerate(STAGES, start=1):
            for i in range(1, count + 1):
                features = max(1, round(channels * self.width))
                x = ConvBlock(features, name=f"conv{stage}_{i}", **common)(x, **mode)
            if stage <= (4 if self.feature_stride == 16 else 3):
                x = nn.max_pool(x, (2, 2), strides=(2, 2))
        logits, cams = ConvHead(
            self.num_classes,
            features=max(1, round(1024 * self.width)),
            dropout=self.dropout,
            name="head",
            **common,
        )(x, **mode)
        return logits, {"conv5_3": x, "cams": cams}
