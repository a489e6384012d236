"""Whole runs: archives to figures, from files and through TFDS, with the same result."""

import json

import pytest
import tensorflow_datasets as real_tfds

from ega_jax.modes import train
from tests.helpers import tfds_sets
from tests.helpers.runs import final_arrays, tiny
from tests.helpers.tfds_sets import SETTINGS


@pytest.fixture(scope="module", autouse=True)
def no_progress_bars():
    real_tfds.disable_progress_bar()
    yield
    real_tfds.enable_progress_bar()


SMALL = {  # compiles in few seconds; the data sets share it
    "model.name": "alexnet",
    "model.batch_norm": False,
    "model.head_convs": 0,
    "model.feature_stride": 16,
    "data.crop_size": 68,
    "data.resize_size": 72,
    "steps": 3,
    "checkpoint.every_steps": 3,
    "eval.every_epochs": 0.0,
    "eval.pictures": 2,
}


def config(root, **fields):
    fields = SETTINGS | {"root": str(root)} | fields
    return tiny("cam", **SMALL | {f"data.{name}": value for name, value in fields.items()})


def figures(results):
    """Everything in `results.json` but the config and the clock, as JSON has it."""
    changing = ("config", "seconds", "images_per_second", "eval_images_per_second")
    return json.loads(json.dumps({k: v for k, v in results.items() if k not in changing}))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cub", "ilsvrc", "openimages"])
def test_same_figures_from_files_and_through_tfds(tmp_path, name):
    root = tfds_sets.laid_out(name, tmp_path)
    made = tfds_sets.build(name, root, tmp_path / "tfds")
    files = config(root, name="folder", metadata=str(root / "metadata"))
    through = config(made, name="tfds")
    expected = train.train(files, str(tmp_path / "files"))
    results = train.train(through, str(tmp_path / "through"))
    assert figures(results) == figures(expected)
    assert final_arrays(tmp_path / "through") == final_arrays(tmp_path / "files")
    test = results["test"]
    assert test["images"] == {"cub": 6, "ilsvrc": 4, "openimages": 4}[name]
    assert ("pxap" in test, "oracle" in test) == (name == "openimages", name != "openimages")
