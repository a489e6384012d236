"""VGG16-GAP: the VGG16 trunk up to conv5_3 with a fully convolutional head.

Simonyan and Zisserman, ICLR 2015; cut and strides as in the field's WSOL code (Zhou et al., 2016).
"""

import jax

from ega_jax.models.blocks import ConvBlock, max_pool, scale
from ega_jax.models.network import Network, Stage

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels, convolutions


class VGG16(Network):
    """VGG16 without pool5: stride 16 keeps pools 1-4 (14x14 at 224), 8 drops pool4 (28x28).

    H and W of the images are multiples of the stride. Stages: `conv1_2` to `conv5_3`, and `pool1`
    to `pool4`, of which the last is `conv4_3` at stride 8.
    """

    whole_strides = True
    cut = ("classifier.", "conv6.", "fc.")
    file_head = {"conv6_1": "conv6", "classifier": "fc"}  # of the field's evaluation code

    def trunk(self, x: jax.Array, stage: Stage, common: dict, mode: dict) -> None:
        """Passes the features of every stage through `stage`."""
        for number, (channels, count) in enumerate(STAGES, start=1):
            for i in range(1, count + 1):
                x = ConvBlock(
                    scale(channels, self.width),
                    batch_norm=self.batch_norm,
                    name=f"conv{number}_{i}",
                    **common,
                )(x, **mode)
            x = stage(f"conv{number}_{count}", x)
            if number <= 4:
                pooled = number < 4 or self.feature_stride == 16
                x = stage(f"pool{number}", max_pool(x, 2, 2) if pooled else x)

    def file_name(self, module: tuple[str, ...]) -> str:
        """Returns torchvision's name of a module: `features.` and its place in the sequence."""
        stage, i = map(int, module[0].removeprefix("conv").split("_"))
        before = sum(count for _, count in STAGES[: stage - 1])
        pools = stage - 1
        layers = 3 if self.batch_norm else 2  # convolution, batch norm, ReLU
        place = layers * (before + i - 1) + pools + (module[1] == "bn")
        return f"features.{place}"
