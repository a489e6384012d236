"""EGA on the embedded data set `creatures`: a few minutes on two CPU cores, no download.

    python -m ega_jax.main --config=configs/quickstart.py

A narrow VGG16 (one eighth of the channels) from scratch on 64-pixel images, 8x8 maps. The argument
after a colon chooses another system or a row of the ablation (`configs/rows.py`):
`configs/quickstart.py:cam`. Their settings are the published ones, lengths in pixels scaled from
224 to 64.
"""

import pathlib

import ml_collections

from configs import base, rows


def get_config(row: str = "ega") -> ml_collections.ConfigDict:
    """Returns the quickstart's config; `row` is one of `configs/rows.py`."""
    config = base.get_config()
    config.batch_size = 64
    config.steps = 360  # 5.8 epochs

    config.data.name = "creatures"
    config.data.resize_size = 72
    config.data.crop_size = 64

    config.model.width = 0.125
    config.model.feature_stride = 8

    config.optimizer.learning_rate = 0.1
    config.optimizer.head_multiplier = 1.0
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_epochs = 0.8

    # From scratch on drawings another reading is ahead, from the first step on, and Eq. 8 as it is
    # written, with the paper's weights: docs/results.md.
    config.ega.ce_weight = 1.0
    config.ega.lambda_clean, config.ega.lambda_adv = 1.0, 0.01
    config.ega.probability = "class_softmax"
    config.ega.entropy_start = config.ega.entropy_rise = 0.0

    config.has.grid_sizes = (0, 5, 9, 13, 16)
    hierarchy = pathlib.Path(__file__).parent / "hierarchies" / "creatures.csv"
    config.danet.hierarchy = str(hierarchy)

    config.checkpoint.every_steps = 100
    config.eval.batch_size = 100
    config.eval.every_epochs = 2.5
    config.log_every_steps = 20

    rows.choose(config, row, "configs/quickstart.py")
    return config
