"""What all networks have in common: scaled images, a trunk of their own, the convolutional head."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from ega_jax.models.blocks import scale
from ega_jax.models.heads import ConvHead
from ega_jax.models.inputs import scale_input
from ega_jax.ops.remat import STAGE

Features = Mapping[str, jax.Array]  # of a trunk's stages, the last one last
Mode = dict[str, bool]  # `train` and `aux` of a pass
# A trunk passes the features of every stage through it: name and features in, features out.
Stage = Callable[[str, jax.Array], jax.Array]
# What a method puts behind a stage: the network, a name for its module, features and mode in,
# features of the same shape out.
Insert = Callable[["Network", str, jax.Array, Mode], jax.Array]
# How a network ends: itself, all features, labels or None, and mode in; logits and maps out.
Ending = Callable[
    ["Network", Features, jax.Array | None, Mode], tuple[jax.Array, dict[str, jax.Array]]
]


def last(features: Features) -> jax.Array:
    """Returns the output of a trunk."""
    return list(features.values())[-1]


def single(
    network: "Network", features: Features, labels: jax.Array | None, mode: Mode
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Ends a network in one head over the output of its trunk.

    Args:
      network: inside its `__call__`.
      features: `[B, h, w, F]` by stage.
      labels: `[B]` int, the true classes, or None; not needed here.
      mode: of this pass.

    Returns:
      Logits `[B, C]` and maps by name, `cams` `[B, h, w, C]` among them.
    """
    del labels
    return network.head("head", mode)(last(features))


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
      inserts: what a method puts behind stages, by their names.
      ending: how it ends, in the head or the heads of a method.
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
    inserts: Mapping[str, Insert] = dataclasses.field(default_factory=dict)
    ending: Ending = single

    # What exists of the network.
    feature_strides: ClassVar[tuple[int, ...]] = (8, 16)
    batch_norms: ClassVar[tuple[bool, ...]] = (True, False)
    smallest_image: ClassVar[int] = 32  # side in pixels that is supported
    whole_strides: ClassVar[bool] = False  # the side must be a multiple of the stride
    # Of weight files:
    cut: ClassVar[tuple[str, ...]] = ()  # how names begin that need not be read
    # Names there of the modules of the head, if one of its forms is in files: ours -> theirs, with
    # as many convolutions, and no batch norm behind them.
    file_head: ClassVar[Mapping[str, str]] = {}

    @nn.compact
    def __call__(
        self,
        images: jax.Array,
        *,
        train: bool,
        aux: bool = False,
        labels: jax.Array | None = None,
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Classifies images and draws the class maps on the way.

        Args:
          images: `[B, H, W, 3]` float, RGB in [0, 1].
          train: batch statistics and dropout, instead of running statistics.
          aux: take the auxiliary batch norm branch.
          labels: `[B]` int, the true classes, for methods that train with them in the network.

        Returns:
          Logits `[B, num_classes]` float32, and a dict of named intermediates: `cams`, the class
          maps `[B, h, w, num_classes]` float32, the method's other maps, and the trunk's features,
          named as its stages.
        """
        mode = {"train": train, "aux": aux}
        features: dict[str, jax.Array] = {}

        def stage(name: str, x: jax.Array) -> jax.Array:
            if name in self.inserts:
                x = self.inserts[name](self, f"insert_{name}", x, mode)
            features[name] = checkpoint_name(x, STAGE)
            return features[name]

        x = scale_input(images, self.input_scaling).astype(self.dtype)
        self.trunk(x, stage, self.common, mode)
        if missing := self.inserts.keys() - features.keys():
            raise ValueError(
                f"{type(self).__name__} has no stage {', '.join(sorted(missing))}; there are "
                f"{', '.join(features)}"
            )
        logits, maps = self.ending(self, features, labels, mode)
        return logits, {**features, **maps}

    @property
    def common(self) -> dict[str, Any]:
        """Attributes that all blocks of the network have."""
        return {"dual": self.dual, "dtype": self.dtype}

    @property
    def head_features(self) -> int:
        """Channels of the head's 3x3 convolutions."""
        return scale(1024, self.width)

    def head(self, name: str, mode: Mode, **attributes: Any) -> Callable:
        """Makes a head with this network's settings, ready to be called with features.

        Args:
          name: of the module; what begins with `head` learns at the head's rate.
          mode: of this pass.
          **attributes: of `ConvHead`, where they differ from the network's.
        """
        settings = {
            "num_classes": self.num_classes,
            "convs": self.head_convs,
            "features": self.head_features,
            "batch_norm": self.batch_norm and self.head_batch_norm,
            "dropout": self.dropout,
            **self.common,
        }
        head: Callable = ConvHead(**settings | attributes, name=name)
        return functools.partial(head, **mode)

    def trunk(self, x: jax.Array, stage: Stage, common: dict, mode: Mode) -> None:
        """Passes the features of every stage through `stage`, the head's input last.

        Args:
          x: `[B, H, W, 3]` in the scaling of the weights.
          stage: notes features by their name, and gives back what goes on from there.
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
