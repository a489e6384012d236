"""What all networks have in common: scaled images, a trunk of their own, the convolutional head."""

from collections.abc import Callable
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from ega_jax.models.blocks import scale
from ega_jax.models.heads import ConvHead
from ega_jax.models.inputs import scale_input


class Network(nn.Module):
    """A trunk with a head; subclasses are trunks.

    Attributes:
      num_classes: channels of the class maps.
      width: factor on every channel count; 1 is the published network.
      feature_stride: pixels from one cell of the class maps to the next.
      batch_norm: batch norm in the trunk.
      dual: with an auxiliary batch norm for adversarial images, wherever there is one.
      head_convs: 3x3 convolutions in the head: 2 in the paper, 1 in the field's VGG16, 0 in its
        ResNet-50.
      head_batch_norm: batch norm in the head too, where the trunk has it.
      dropout: rate in the head.
      input_scaling: what the weights expect, see `inputs.SCALINGS`.
      dtype: of the computation (`bfloat16` on accelerators); parameters stay float32.
    """

    num_classes: int
    width: float = 1.0
    feature_stride: int = 16
    batch_norm: bool = True
    dual: bool = False
    head_convs: int = 2
    head_batch_norm: bool = True
    dropout: float = 0.0
    input_scaling: str = "imagenet"
    dtype: Any = jnp.float32

    # What exists of the network.
    feature_strides: ClassVar[tuple[int, ...]] = (8, 16)
    batch_norms: ClassVar[tuple[bool, ...]] = (True, False)
    smallest_image: ClassVar[int] = 32  # side in pixels that is supported
    whole_strides: ClassVar[bool] = False  # the side must be a multiple of the stride
    # Of weight files:
    cut: ClassVar[tuple[str, ...]] = ()  # how names begin that need not be read
    file_classifier: ClassVar[str | None] = None  # name of the classifier, if it is ours too

    @nn.compact
    def __call__(
        self, images: jax.Array, *, train: bool, aux: bool = False
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Classifies images and draws the class maps on the way.

        Args:
          images: `[B, H, W, 3]` float, RGB in [0, 1].
          train: batch statistics and dropout, instead of running statistics.
          aux: take the auxiliary batch norm branch.

        Returns:
          Logits `[B, num_classes]` float32, and a dict of named intermediates: `cams`, the class
          maps `[B, h, w, num_classes]` float32, and the trunk's features, named as its stages.
        """
        common = {"dual": self.dual, "dtype": self.dtype}
        mode = {"train": train, "aux": aux}
        x = scale_input(images, self.input_scaling).astype(self.dtype)
        features = self.trunk(x, common, mode)
        logits, cams = ConvHead(
            self.num_classes,
            convs=self.head_convs,
            features=scale(1024, self.width),
            batch_norm=self.batch_norm and self.head_batch_norm,
            dropout=self.dropout,
            name="head",
            **common,
        )(list(features.values())[-1], **mode)
        return logits, {**features, "cams": cams}

    def trunk(self, x: jax.Array, common: dict, mode: dict) -> dict[str, jax.Array]:
        """Maps scaled images to the features of every stage, the head's input last.

        Args:
          x: `[B, H, W, 3]` in the scaling of the weights.
          common: attributes of all blocks.
          mode: `train` and `aux` of this pass.
        """
        raise NotImplementedError

    def file_name(self, module: tuple[str, ...]) -> str:
        """Returns a weight file's name of a trunk's module, `("conv1_1", "conv")` say."""
        raise NotImplementedError

    def file_scalings(self) -> tuple[str, ...]:
        """Returns the input scalings that published weights are used with, the usual one first."""
        return ("imagenet",)


Block = Callable[..., nn.Module]  # `ConvBlock` with what is common to a network's blocks
