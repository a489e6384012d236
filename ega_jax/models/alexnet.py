"""AlexNet-GAP, the `AlexNet+` of the CAM release: no pool5 stride, two more convolutions, no fc6-8.

Krizhevsky et al., 2012, with its groups and local response normalization; Zhou et al., CVPR 2016.
"""

import jax

from ega_jax.models.blocks import ConvBlock, local_response_norm, max_pool, scale
from ega_jax.models.network import Network, Stage

# Channels, kernel, groups; all but the first keep the size of their map.
CONVS = {
    "conv1": (96, 11, 1),
    "conv2": (256, 5, 2),
    "conv3": (384, 3, 1),
    "conv4": (384, 3, 2),
    "conv5": (384, 3, 2),
    "conv6": (512, 3, 2),
    "conv7": (512, 3, 2),
}


class AlexNet(Network):
    """AlexNet-GAP: 11x11 maps at 227 pixels, stride 16. No batch norm.

    Stages: `conv1` to `conv7`. With `head_convs=0` it is the published network. torchvision's
    AlexNet is another one (Krizhevsky's of 2014, no groups); its weights do not fit.
    """

    feature_strides = (16,)
    batch_norms = (False,)
    smallest_image = 67
    cut = ("fc.",)
    file_head = {"classifier": "fc"}

    def trunk(self, x: jax.Array, stage: Stage, common: dict, mode: dict) -> None:
        """Passes the features of every convolution through `stage`."""
        for name, (channels, kernel, groups) in CONVS.items():
            first = name == "conv1"
            conv = ConvBlock(
                # Two groups in the next layer need an even number of channels here.
                scale(channels, self.width, groups=2),
                kernel,
                strides=4 if first else 1,
                padding=0 if first else None,
                groups=groups,
                name=name,
                **common,
            )
            x = stage(name, conv(x, **mode))
            if name in ("conv1", "conv2"):
                x = local_response_norm(max_pool(x, 3, 2, ceil_mode=True))
            elif name == "conv5":
                x = max_pool(x, 3, 1)

    def file_name(self, module: tuple[str, ...]) -> str:
        """Returns the name of a module in the CAM release, which is ours."""
        return module[0]

    def file_scalings(self) -> tuple[str, ...]:
        """Returns that of the CAM release, made with Caffe."""
        return ("caffe",)
