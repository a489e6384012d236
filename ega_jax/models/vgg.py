"""VGG16-GAP: the VGG16 trunk up to conv5_3 with a fully convolutional head.

Simonyan and Zisserman, ICLR 2015; cut and strides as in the field's WSOL code (Zhou et al., 2016).
"""

import jax

from ega_jax.models.blocks import ConvBlock, max_pool, scale
from ega_jax.models.network import Network

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels, convolutions


class VGG16(Network):
    """VGG16 without pool5: stride 16 keeps pools 1-4 (14x14 at 224), 8 drops pool4 (28x28).

    H and W of the images are multiples of the stride. Features: `conv1_2` to `conv5_3`, each stage
    before its pool.
    """

    whole_strides = True
    cut = ("classifier.",)

    def trunk(self, x: jax.Array, common: dict, mode: dict) -> dict[str, jax.Array]:
        """Maps scaled images to the features of every stage."""
        features = {}
        for stage, (channels, count) in enumerate(STAGES, start=1):
            for i in range(1, count + 1):
                x = ConvBlock(
                    scale(channels, self.width),
                    batch_norm=self.batch_norm,
                    name=f"conv{stage}_{i}",
                    **common,
                )(x, **mode)
            features[f"conv{stage}_{count}"] = x
            if stage <= (4 if self.feature_stride == 16 else 3):
                x = max_pool(x, 2, 2)
        return features

    def file_name(self, module: tuple[str, ...]) -> str:
        """Returns torchvision's name of a module: `features.` and its place in the sequence."""
        stage, i = map(int, module[0].removeprefix("conv").split("_"))
        before = sum(count for _, count in STAGES[: stage - 1])
        pools = stage - 1
        layers = 3 if self.batch_norm else 2  # convolution, batch norm, ReLU
        place = layers * (before + i - 1) + pools + (module[1] == "bn")
        return f"features.{place}"
