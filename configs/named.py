"""Data sets that TFDS downloads by name: what the recipes for them have in common.

Not settings of any paper. EfficientNet-Lite0 is trained as in `configs/photos.py`; VGG16-BN and
ResNet-50 have the network, batches and rates of `configs/protocol.py` and the schedule of
`configs/photos.py`: 8 epochs of a cosine after one of warm-up.

Their own test images are the test split. They have no validation images, so that every tenth
training image of a class is held out (`ega_jax/data/tfds/annotations.py`).
"""

import pathlib

import ml_collections

from configs import photos, protocol, rows

DATA = {"pets": ("oxford_iiit_pet", 37), "cub": ("caltech_birds2011", 200)}  # and classes
_HIERARCHIES = {"cub": pathlib.Path(__file__).parent / "hierarchies" / "cub.csv"}


def recipe(data: str, model: str, changes: str) -> ml_collections.ConfigDict:
    """Returns a recipe.

    Args:
      data: a key of `DATA`.
      model: `efficientnet_lite0`, `vgg` or `resnet50`.
      changes: as in `photos.recipe`; `small` only for `efficientnet_lite0`.

    Raises:
      ValueError: there is no such row.
    """
    name = f"configs/{data}_{model}.py"
    if model == "efficientnet_lite0":
        config = photos.recipe(changes, name)
    else:
        config = photos.recipe("ega", name)
        config.batch_size = 32
        config.model.update({"input_scaling": "imagenet", "head_convs": 2})
        config.model.update(protocol.MODELS[model])
        config.optimizer.learning_rate = 0.001
        if model == "vgg":
            config.optimizer.weight_decay = 5e-4
        else:
            config.optimizer.head_modules = ("layer4", "head")
        rows.choose(config, changes, name)
    config.data.name = "tfds"
    config.data.root, config.data.num_classes = DATA[data]
    config.data.apply_exif = False  # boxes and masks are for the pixels as stored
    if data in _HIERARCHIES:
        config.danet.hierarchy = str(_HIERARCHIES[data])
    return config
