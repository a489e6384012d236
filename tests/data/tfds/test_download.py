"""Data sets of TFDS by name: found, downloaded, prepared, with an annotation of their own."""

import importlib
import json
import os
import pathlib

import numpy as np
import pytest
import tensorflow_datasets as real_tfds
from etils import epath

from ega_jax.config import build
from ega_jax.data.files import folder
from ega_jax.data.pipeline import train_batches
from ega_jax.data.source import DataError
from ega_jax.data.tfds import download
from ega_jax.data.tfds import source as tfds
from ega_jax.data.tfds.annotations import Annotation, write_annotations
from ega_jax.data.tfds.index import main as index_main
from ega_jax.modes import train
from ega_jax.runtime.errors import UserError
from tests.helpers import tfds_sets
from tests.helpers.published_files import CUB

PETS = "oxford_iiit_pet"


@pytest.fixture(scope="module", autouse=True)
def no_progress_bars():
    real_tfds.disable_progress_bar()
    yield
    real_tfds.enable_progress_bar()


@pytest.fixture
def offered(tmp_path, monkeypatch):
    """A function that offers a data set for download into a folder, which it returns."""

    def offer(name):
        tfds_sets.offered(name, tmp_path, monkeypatch)
        monkeypatch.setattr(download, "_require_reachable", lambda *where: None)
        return tmp_path / "tfds"

    return offer


def test_pets(offered):
    made = pathlib.Path(download.prepared(PETS, offered(PETS)))
    assert made.name == "4.0.0" and (made / "dataset_info.json").exists()
    splits = {s: tfds.open_split(made, s, apply_exif=False) for s in ("train", "val", "test")}
    assert {name: len(source) for name, source in splits.items()} == {
        "train": 4 * 6,
        "val": 4,
        "test": 4 * 3,
    }
    for split, source in splits.items():
        assert source.num_classes == 37 and source.class_names[1] == "american_bulldog"
        for index, image_id in enumerate(source.image_ids):
            breed, number = image_id.removesuffix(".jpg").rsplit("_", 1)
            assert source.class_names[source.labels[index]] == breed
            assert (int(number) <= 7) == (split != "test") and (number == "5") == (split == "val")
            x0, y0, x1, y1 = tfds_sets.PET_BOXES[int(number)]
            np.testing.assert_array_equal(source.boxes[index], [(x0, y0, x1, y1)])
            assert source.image_sizes[index].tolist() == [40, 30]
            inside, ignored = source.load_mask(index, 120)  # 3 and 4 pixels of each
            expected = np.zeros((2, 120, 120), bool)
            expected[:, 4 * y0 : 4 * y1 + 4, 3 * x0 : 3 * x1 + 3] = [[[False]], [[True]]]
            expected[:, 4 * y0 + 8 : 4 * y1 - 4, 3 * x0 + 6 : 3 * x1 - 3] = [[[True]], [[False]]]
            np.testing.assert_array_equal([inside, ignored], expected)
    assert tuple(splits["train"].load_image(0).shape) == (30, 40, 3)


def test_birds_have_the_boxes_of_the_fields_lists(offered, tmp_path):
    root = tfds_sets.laid_out("cub", tmp_path / "files")
    made = download.prepared("caltech_birds2011", offered("caltech_birds2011"))
    for split in ("train", "test"):
        source = tfds.open_split(made, split, apply_exif=False)
        files = folder.open_split(
            str(root), split, metadata=str(root / "metadata"), num_classes=200, apply_exif=False
        )
        order = [files.image_ids.index(image_id) for image_id in source.image_ids]
        assert sorted(order) == list(range(len(files)))
        np.testing.assert_array_equal(source.labels, files.labels[order])
        np.testing.assert_array_equal(source.image_sizes, files.image_sizes[order])
        for index, other in enumerate(order):
            np.testing.assert_array_equal(source.boxes[index], files.boxes[other])
            np.testing.assert_array_equal(source.load_image(index), files.load_image(other))
            assert source.load_mask(index, 30)[0].any()
    assert source.class_names[0] == "albatross" and source.class_names[5] == "5"
    assert source.class_names[199] == "yellowthroat" and len(CUB) == 12


def test_a_tenth_validates(tmp_path):
    def images(names, label):
        return {name: (Annotation(label, "", (0, 0, 5, 5)), (9, 9)) for name in names}

    names = [f"{n:02}.jpg" for n in range(27)]
    stored = {
        "train": images(reversed(names), 0) | images([f"b{n}.jpg" for n in range(4)], 1),
        "test": images([f"t{n}.jpg" for n in range(30)], 0),
    }
    for _ in range(2):  # what was there before goes
        write_annotations(epath.Path(tmp_path / "metadata"), stored, ["a", "b"])
    ids = {
        split: (tmp_path / "metadata" / split / "image_ids.txt").read_text().split()
        for split in ("train", "val", "test")
    }
    assert ids["val"] == ["04.jpg", "14.jpg", "24.jpg"]
    assert sorted(ids["train"] + ids["val"]) == sorted(stored["train"])
    assert len(ids["test"]) == 30


def test_prepared_once(offered, monkeypatch, capsys):
    out = offered(PETS)
    assert download.main([PETS, f"--out={out}"]) == 0
    made = capsys.readouterr().out.strip().rpartition("--config.data.root=")[2]

    def again(self, **options):
        raise AssertionError("downloaded again")

    monkeypatch.setattr(real_tfds.core.DatasetBuilder, "download_and_prepare", again)
    monkeypatch.setattr(download, "write_index", again)
    assert download.prepared(PETS, out) == made
    assert download.located(made) == made


def test_of_an_older_index(offered):
    made = pathlib.Path(tfds_sets_prepared(offered(PETS)))
    message = r"ega_jax/metadata does not exist; run python -m ega_jax.data.tfds.index .*4.0.0"
    with pytest.raises(DataError, match=message):
        tfds.open_split(made, "train")
    assert index_main([os.fspath(made)]) == 0
    assert len(tfds.open_split(made, "train")) == 24


def tfds_sets_prepared(out):
    builder = real_tfds.builder(PETS, data_dir=out)
    builder.download_and_prepare()
    return builder.data_dir


@pytest.mark.parametrize("name", download.ADDRESSES)
def test_without_internet(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(download.ADDRESSES, name, "http://127.0.0.1:9/file.tar.gz")
    message = (
        rf"{name} is not in .*{name}.* cannot be downloaded and prepared .*refused.* Where there "
        rf"is internet run python -m ega_jax.data.tfds.download {name} --out=DIR, copy "
        rf"DIR/{name}/\d\.\d\.\d here, and set --config.data.root to the copy"
    )
    with pytest.raises(UserError, match=message):
        download.prepared(name, tmp_path)
    assert download.main([name, f"--out={tmp_path}"]) == 1
    assert "Where there is internet run" in capsys.readouterr().err


def test_a_download_that_breaks_off(tmp_path, offered):
    out = offered(PETS)
    (tmp_path / "downloads" / "annotations.tar.gz").write_bytes(b"half")
    with pytest.raises(DataError, match=rf"{PETS} is not in .*prepared \(.*\)\. Where there is"):
        download.prepared(PETS, out)


def test_unknown_names():
    with pytest.raises(DataError, match=r"'oxford_pets'; .* downloaded: caltech_birds2011, oxford"):
        tfds.open_split(download.located("oxford_pets"), "train")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "row"), [("pets_vgg", "cam"), ("cub_efficientnet_lite0", "small,cam")]
)
def test_one_command(offered, recipe, row, tmp_path, monkeypatch):
    """Downloads, prepares, trains and scores; small, and with weights that are drawn.

    Of the birds a batch is read and no step is made: it takes a minute to compile, and
    `tests/configs/test_recipes.py` makes it.
    """
    config = importlib.import_module(f"configs.{recipe}").get_config(row)
    out = offered(config.data.root)
    monkeypatch.setattr(real_tfds.core.constants, "DATA_DIR", os.fspath(out))
    monkeypatch.setenv("TFDS_DATA_DIR", os.fspath(out))
    config.model.pretrained, config.model.width = "", 1 / 8
    config.data.resize_size = config.data.crop_size = 64
    config.batch_size = config.eval.batch_size = 4
    config.steps = 2 if recipe.startswith("pets") else 0
    config.eval.bootstrap, config.eval.pictures = 0, 1
    results = train.train(config, str(tmp_path / "run"))
    source = build.sources(config, ("train",))["train"]
    settings = {"seed": 0, "start_step": 0, "num_steps": 1, "resize_size": 64, "crop_size": 64}
    (batch,) = train_batches(source, batch_size=4, **settings)
    assert batch["image"].shape == (4, 64, 64, 3) and batch["image"].any()
    test = json.loads(json.dumps(results))["test"]
    assert test["images"] == (12 if recipe.startswith("pets") else 6)
    assert {"fixed", "oracle", "pxap"} <= test.keys()
    assert ("val" in test) == recipe.startswith("pets")  # two images of a class have none


@pytest.mark.parametrize(
    ("recipe", "root", "classes"),
    [
        ("pets_efficientnet_lite0", PETS, 37),
        ("pets_vgg", PETS, 37),
        ("pets_resnet50", PETS, 37),
        ("cub_efficientnet_lite0", "caltech_birds2011", 200),
    ],
)
def test_recipes_name_their_data(recipe, root, classes):
    config = importlib.import_module(f"configs.{recipe}").get_config()
    data = config.data
    assert (data.name, data.root, data.num_classes) == ("tfds", root, classes)
    assert not data.apply_exif and root in download.ADDRESSES
    assert build.model(config, classes).dual
