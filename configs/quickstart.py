"""EGA on the embedded data set `creatures`: a few minutes on two CPU cores, no download.

    python -m ega_jax.main --config=configs/quickstart.py

A narrow VGG16 (one eighth of the channels) from scratch on 64-pixel images, 8x8 maps. The argument
after a colon chooses the row of the ablation: `configs/quickstart.py:cam`.

| argument | adversarial images | CAM entropy |
| --- | --- | --- |
| `ega` (default) | yes | preset `paper` |
| `cam` | no | no |
| `adversarial` | yes | no |
| `entropy` | no | preset `paper` |
| `minmax`, `class_softmax`, `spatial_softmax`, `sigmoid` | yes | that reading |
"""

import ml_collections

from configs import base
from ega_jax.losses import PROBABILITIES

ROWS = ("ega", "cam", "adversarial", "entropy", *PROBABILITIES)


def get_config(row: str = "ega") -> ml_collections.ConfigDict:
    """Returns the quickstart's config; `row` is one of the docstring's table."""
    if row not in ROWS:
        raise ValueError(f"configs/quickstart.py has no row {row!r}; choose one of {ROWS}")
    config = base.get_config()
    config.batch_size = 64
    config.steps = 320  # 5 epochs

    config.data.name = "creatures"
    config.data.resize_size = 72
    config.data.crop_size = 64

    config.model.width = 0.125
    config.model.feature_stride = 8

    config.ega.adversarial = row not in ("cam", "entropy")
    if row in ("cam", "adversarial"):
        config.ega.lambda_clean = config.ega.lambda_adv = 0.0
    if row in PROBABILITIES:
        config.ega.probability = row
    if config.ega.probability == "spatial_softmax":
        config.ega.reduction = "sum"  # one distribution over the map: its entropy is the sum

    config.optimizer.learning_rate = 0.1
    config.optimizer.head_multiplier = 1.0
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_epochs = 0.8

    config.checkpoint.every_steps = 100
    config.eval.batch_size = 100
    config.eval.every_epochs = 2.5
    config.log_every_steps = 20
    return config
