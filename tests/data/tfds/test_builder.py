"""Making TFDS data sets: what is stored, what is refused, and stopping half-way."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from ega_jax.data.source import DataError
from ega_jax.data.tfds import builder as tfds_builder
from ega_jax.data.tfds.source import open_split
from tests.helpers import tfds_sets
from tests.helpers.published_files import CUB, listing, mask, picture, write, write_metadata


@pytest.fixture(scope="module", autouse=True)
def no_progress_bars():
    tfds.disable_progress_bar()
    yield
    tfds.enable_progress_bar()


@pytest.fixture
def small(tmp_path):
    """Two images, the first with two masks and one to ignore: root, and its metadata."""
    root, metadata = tmp_path / "images", tmp_path / "metadata"
    write(root, {"a/1.jpg": picture((40, 30)), "a/2.png": picture((30, 40), "PNG", seed=1)})
    write(root, {f"m{n}.png": mask((40, 30), (n, 2, 20, 9)) for n in range(4)})
    write(root, {"m2.png": mask((30, 40), (2, 2, 20, 9))})
    write_metadata(
        metadata / "train",
        {"a/2.png": 1, "a/1.jpg": 0},
        sizes={"a/1.jpg": (40, 30), "a/2.png": (30, 40)},
        localization=["a/1.jpg,m0.png,m3.png", "a/2.png,m2.png,", "a/1.jpg,m1.png,"],
    )
    return {"root": str(root), "metadata": str(metadata), "out": str(tmp_path / "tfds")}


def examples(directory, split):
    """What anybody reads with TFDS, with the files' bytes instead of pixels."""
    skip = tfds.decode.SkipDecoding()
    builder = tfds.builder_from_directory(directory)
    data = builder.as_dataset(split=split, decoders={"image": skip})
    return list(data.as_numpy_iterator())


def test_what_is_stored(small, tmp_path):
    made = tfds_builder.build(**small, name="small")
    assert made == f"{tmp_path}/tfds/small/1.0.0"
    second, first = examples(made, "train")
    assert [e["image_id"] for e in (first, second)] == [b"a/1.jpg", b"a/2.png"]
    for example in (first, second):
        path = tmp_path / "images" / example["image_id"].decode()
        assert example["image"] == path.read_bytes()
    assert (first["label"], second["label"]) == (0, 1)
    assert first["size"].tolist() == [40, 30] and second["size"].tolist() == [30, 40]
    assert first["boxes"].shape == (0, 4)
    assert first["masks"].shape == (2, 30, 40, 1) and second["masks"].shape == (1, 40, 30, 1)
    for n in range(2):
        expected = np.zeros((30, 40), np.uint8)
        expected[2:9, n:20] = 255
        np.testing.assert_array_equal(first["masks"][n, ..., 0], expected)
    assert first["ignore_mask"].shape == (1, 30, 40, 1) and len(second["ignore_mask"]) == 0
    assert sorted(os.listdir(tmp_path / "tfds")) == ["small"]


def test_boxes(tmp_path):
    root = tfds_sets.laid_out("cub", tmp_path)
    made = tfds_sets.build("cub", root, tmp_path / "tfds")
    stored = {example["image_id"].decode(): example for example in examples(made, "test")}
    for path, label, is_train, (x, y, w, h), size in CUB:
        if not is_train:
            assert stored[path]["boxes"].tolist() == [[x, y, x + w, y + h]]
            assert stored[path]["label"] == label and tuple(stored[path]["size"]) == size


def test_splits_that_there_are(small, tmp_path):
    os.rename(tmp_path / "metadata" / "train", tmp_path / "metadata" / "val")
    made = tfds_builder.build(**small, name="small", num_classes=5)
    builder = tfds.builder_from_directory(made)
    assert list(builder.info.splits) == ["val"]
    assert builder.info.features["label"].num_classes == 5


@pytest.mark.parametrize("name", ["", "CUB", "cub-200", "1cub", "a/b", "..", "cub_"])
def test_names(small, name):
    with pytest.raises(DataError, match="small letters, digits and underscores"):
        tfds_builder.build(**small, name=name)


def test_nothing_is_replaced(small, tmp_path):
    tfds_builder.build(**small, name="small")
    before = listing(tmp_path)
    with pytest.raises(DataError, match=r"small exists; remove it, or choose another name"):
        tfds_builder.build(**small, name="small")
    assert listing(tmp_path) == before


def test_bad_input_is_refused_as_from_folders(small, tmp_path):
    def refused(message, **changes):
        with pytest.raises(DataError, match=message):
            tfds_builder.build(**small | changes, name="small")

    refused("no image folder 'nowhere'", root="nowhere")
    refused(r"no metadata folder .*nowhere", metadata=str(tmp_path / "nowhere"))
    refused(r"class_labels.txt, line 1: label 1 .* expected 0 to 0", num_classes=1)
    refused(r"4 of 4 mask files do not exist", masks=str(tmp_path))
    write(tmp_path / "images", {"a/1.jpg": picture((40, 30))[:-9]})
    refused(r"1 of 2 image files cannot be used:\n.*a/1.jpg: is truncated or damaged")
    assert not (tmp_path / "tfds").exists()


def test_names_that_say_another_format_are_found_before_anything_is_written(small, tmp_path):
    """From a folder such a picture is read; a record has nothing but its name."""
    write(tmp_path / "images", {"a/1.jpg": picture((40, 30), "WEBP")})
    with pytest.raises(DataError, match=r"(?s)1 of 2 .*a/1.jpg: is a WEBP picture by its content"):
        tfds_builder.build(**small, name="small")
    assert not (tmp_path / "tfds").exists()


def test_trimaps_and_classes_without_an_object(small, tmp_path):
    """What a run reads from the folders, it reads from the data set."""
    trimap = np.full((30, 40), 2, np.uint8)
    trimap[4:9, 5:12], trimap[3] = 1, 3
    Image.fromarray(trimap).save(tmp_path / "images" / "m0.png")
    lines = tmp_path / "metadata" / "train" / "localization.txt"
    lines.write_text("a/1.jpg,m0.png,")
    (tmp_path / "metadata" / "class_names.txt").write_text("bird\nnothing")
    options = {"mask_values": "trimap", "background": ["nothing"]}
    with pytest.raises(DataError, match=r"no line for 'a/2.png'"):
        tfds_builder.build(**small, name="small", mask_values="trimap")
    with pytest.raises(DataError, match=r"'nothin', which .* is no class; there are bird, noth"):
        tfds_builder.build(**small, name="small", **options | {"background": ["nothing", "nothin"]})
    made = tfds_builder.build(**small, name="small", **options)
    source = open_split(made, "train", **options)
    foreground, border = source.load_mask(source.image_ids.index("a/1.jpg"), 40)
    assert foreground.any() and border.any() and not (foreground & border).any()
    assert foreground.sum() < 0.05 * foreground.size  # and not the background


def test_the_command_says_what_runs_have_to_be_told(monkeypatch, capsys):
    asked = {}
    monkeypatch.setattr(tfds_builder, "build", lambda **given: asked.update(given) or "OUT/a/1.0.0")
    places = ["--root=a", "--metadata=b", "--out=OUT", "--name=a"]
    assert tfds_builder.main([*places, "--mask-values=trimap", "--background-classes=c,d"]) == 0
    assert asked["background"] == ("c", "d") and asked["mask_values"] == "trimap"
    said = capsys.readouterr().out
    assert "--config.data.mask_values=trimap --config.data.background_classes=c,d" in said
    assert tfds_builder.main(places) == 0
    assert capsys.readouterr().out.endswith("--config.data.root=OUT/a/1.0.0\n")


def test_commas_are_refused(tmp_path):
    write(tmp_path / "tree", {"cat/a,b.jpg": picture((9, 9))})
    with pytest.raises(DataError, match=r"'cat/a,b.jpg' has a comma in its name"):
        tfds_builder.build(str(tmp_path / "tree"), str(tmp_path / "tfds"), "pets")


class Killed(BaseException):
    """As if the process had ended."""


@pytest.mark.parametrize("place", ["_examples", "_write_metadata", "write_index"])
def test_killed_and_run_again(small, tmp_path, monkeypatch, place):
    original = getattr(tfds_builder, place)

    def kill(*arguments):
        if place == "_examples":
            return killed_after_one(original(*arguments))
        original(*arguments)
        raise Killed

    def killed_after_one(examples):
        yield next(examples)
        raise Killed

    monkeypatch.setattr(tfds_builder, place, kill)
    with pytest.raises(Killed):
        tfds_builder.build(**small, name="small")
    assert not (tmp_path / "tfds" / "small").exists()
    monkeypatch.undo()
    made = tfds_builder.build(**small, name="small")
    assert len(examples(made, "train")) == 2
    assert os.listdir(tmp_path / "tfds") == ["small"]


def test_command(small, tmp_path, capsys):
    arguments = [f"--{name}={value}" for name, value in small.items()]
    assert tfds_builder.main([*arguments, "--name=small", "--num-classes=3"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert (
        printed[-1] == f"  --config.data.name=tfds --config.data.root={tmp_path}/tfds/small/1.0.0"
    )
    assert tfds_builder.main([*arguments, "--name=small"]) == 1
    assert "error: " in (error := capsys.readouterr().err) and "small exists" in error


@pytest.mark.slow
def test_others_do_not_load_tfds():
    code = (
        "import sys; from ega_jax.config import build; "
        "assert 'tensorflow_datasets' not in sys.modules and 'array_record' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0
