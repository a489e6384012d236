"""Inception v3 as the field uses it under the name GoogLeNet: up to Mixed_6e, at a finer stride.

Szegedy et al., CVPR 2016; strides and cut of SPG (Zhang et al., ECCV 2018), which the field's
evaluation code took over.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from ega_jax.models.blocks import ConvBlock, max_pool, scale
from ega_jax.models.network import Block, Network, Stage

Chain = tuple[tuple, ...]  # of convolutions: name, channels, kernel, and strides if not 1


def _five(pooled: int) -> dict[str, Chain]:
    """Branches of Mixed_5b, 5c and 5d."""
    return {
        "1x1": (("branch1x1", 64, 1),),
        "5x5": (("branch5x5_1", 48, 1), ("branch5x5_2", 64, 5)),
        "3x3": (("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)),
        "avg": (("branch_pool", pooled, 1),),
    }


def _six(narrow: int) -> dict[str, Chain]:
    """Branches of Mixed_6b to 6e, with factorized 7x7 convolutions."""
    across, down = (1, 7), (7, 1)
    return {
        "1x1": (("branch1x1", 192, 1),),
        "7x7": (
            ("branch7x7_1", narrow, 1),
            ("branch7x7_2", narrow, across),
            ("branch7x7_3", 192, down),
        ),
        "7x7dbl": (
            ("branch7x7dbl_1", narrow, 1),
            ("branch7x7dbl_2", narrow, down),
            ("branch7x7dbl_3", narrow, across),
            ("branch7x7dbl_4", narrow, down),
            ("branch7x7dbl_5", 192, across),
        ),
        "avg": (("branch_pool", 192, 1),),
    }


# Mixed_6a has stride 2 and no padding in torchvision; here stride 1, so its maps keep their size.
MIXED = {
    "Mixed_5b": _five(32),
    "Mixed_5c": _five(64),
    "Mixed_5d": _five(64),
    "Mixed_6a": {
        "3x3": (("branch3x3", 384, 3),),
        "3x3dbl": (("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)),
        "max": (),
    },
    "Mixed_6b": _six(128),
    "Mixed_6c": _six(160),
    "Mixed_6d": _six(160),
    "Mixed_6e": _six(192),
}


class Mixed(nn.Module):
    """Branches side by side, each a chain of convolutions; `avg` and `max` pool 3x3 first."""

    branches: dict[str, Chain]
    width: float
    block: Block

    @nn.compact
    def __call__(self, x: jax.Array, **mode: bool) -> jax.Array:
        """Maps `[B, h, w, C]` to `[B, h, w, C']`."""
        outputs = []
        for kind, chain in self.branches.items():
            y = x
            if kind == "avg":  # zeros beyond the border count, as in torchvision
                y = nn.avg_pool(x, (3, 3), padding=((1, 1), (1, 1)))
            elif kind == "max":
                y = max_pool(x, 3, 1, padding=1)
            for name, channels, kernel in chain:
                y = self.block(scale(channels, self.width), kernel, name=name)(y, **mode)
            outputs.append(y)
        return jnp.concatenate(outputs, axis=-1)


class InceptionV3(Network):
    """Inception v3: stride 8 gives 28x28 maps at 224, 16 adds a pool after Mixed_5d (14x14).

    Stages: `Conv2d_1a_3x3` to `Conv2d_4a_3x3`, `maxpool2`, `Mixed_5b` to `Mixed_6e`; before
    `Mixed_6a` also `maxpool3`, that pool's output, which is `Mixed_5d` at stride 8. The field feeds
    it images scaled by ImageNet's statistics, though its weights expect [-1, 1], which is
    `input_scaling="signed"`.
    """

    batch_norms = (True,)
    cut = ("AuxLogits.", "Mixed_7a.", "Mixed_7b.", "Mixed_7c.", "fc.", "SPG_A")
    file_head = {  # of the field's evaluation code
        "conv6_1": "SPG_A3_1b.0",
        "conv6_2": "SPG_A3_2b.0",
        "classifier": "SPG_A4",
    }

    def trunk(self, x: jax.Array, stage: Stage, common: dict, mode: dict) -> None:
        """Passes the features of every stage through `stage`."""
        block = functools.partial(
            ConvBlock, batch_norm=True, use_bias=False, epsilon=1e-3, **common
        )

        def conv(name, x, channels, kernel, **kwargs):
            module = block(scale(channels, self.width), kernel, name=name, **kwargs)
            return stage(name, module(x, **mode))

        x = conv("Conv2d_1a_3x3", x, 32, 3, strides=2)  # torchvision: no padding
        x = conv("Conv2d_2a_3x3", x, 32, 3, padding=0)
        x = conv("Conv2d_2b_3x3", x, 64, 3)
        x = max_pool(x, 3, 2, padding=1, ceil_mode=True)
        x = conv("Conv2d_3b_1x1", x, 80, 1)
        x = conv("Conv2d_4a_3x3", x, 192, 3, padding=0)
        x = stage("maxpool2", max_pool(x, 3, 2, padding=1, ceil_mode=True))
        for name, branches in MIXED.items():
            if name == "Mixed_6a":
                pooled = self.feature_stride == 16
                x = stage("maxpool3", max_pool(x, 3, 2, ceil_mode=True) if pooled else x)
            x = stage(name, Mixed(branches, self.width, block, name=name)(x, **mode))

    def file_name(self, module: tuple[str, ...]) -> str:
        """Returns torchvision's name of a module, which is ours."""
        return ".".join(module)

    def file_scalings(self) -> tuple[str, ...]:
        """Returns the field's, and that of torchvision's `transform_input`."""
        return ("imagenet", "signed")
