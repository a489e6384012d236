"""Runs of some seconds on a few small creatures, for the tests that need a whole one."""

import ml_collections

from configs import quickstart
from ega_jax.models import NETWORKS
from ega_jax.runtime import checkpoints
from tests.helpers.tiny import SmallVGG

PUBLISHED = tuple(NETWORKS)  # all but the one of the tests
NETWORKS["small_vgg"] = SmallVGG  # other processes know it as `tests.helpers.program`
TINY = {
    "model.name": "small_vgg",
    "batch_size": 8,
    "steps": 6,
    "log_every_steps": 2,
    "data.image_size": 48,
    "data.train_images": 20,
    "data.val_images": 10,
    "data.test_images": 10,
    "data.crop_size": 32,
    "data.resize_size": 36,
    "model.width": 0.03,
    "checkpoint.every_steps": 2,
    "eval.batch_size": 8,
    "eval.every_epochs": 2.0,
    "eval.pictures": 3,
    "eval.bootstrap": 20,
    "optimizer.warmup_epochs": 0.0,
}
DRAWN = ("data.image_size", "data.train_images", "data.val_images", "data.test_images")


def tiny(row: str = "ega", **fields) -> ml_collections.ConfigDict:
    """The tiny run of a row of the quickstart; `fields` override by dotted name."""
    config = quickstart.get_config(row)
    drawn = fields.get("data.name", "creatures") == "creatures"
    settings = {k: v for k, v in TINY.items() if drawn or k not in DRAWN}
    config.update_from_flattened_dict(settings | fields)
    return config


def final_arrays(workdir) -> dict[str, int]:
    """Checksums of the last checkpoint's arrays: equal means bit-identical."""
    manifest = checkpoints.read_manifest(checkpoints.find(workdir, "last"))
    return {name: entry["crc32"] for name, entry in manifest["arrays"].items()}
