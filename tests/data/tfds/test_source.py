"""Data sets read through TFDS: the same as from files, whoever prepared them."""

import io
import json
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as real_tfds
from PIL import Image

from ega_jax.config import build
from ega_jax.data.files import folder
from ega_jax.data.pipeline import eval_batches
from ega_jax.data.source import DataError
from ega_jax.data.tf_on_cpu import tf
from ega_jax.data.tfds import builder as tfds_builder
from ega_jax.data.tfds import source as tfds
from ega_jax.data.tfds.index import main as index_main
from ega_jax.data.tfds.index import record_files, write_index
from tests.helpers import tfds_sets
from tests.helpers.paths import ROOT
from tests.helpers.published_files import CUB, picture, write, write_metadata
from tests.helpers.stream_host import eval_rows, train_rows
from tests.helpers.tfds_sets import SETTINGS

SPLITS = ("train", "val", "test")


@pytest.fixture(scope="module", autouse=True)
def no_progress_bars():
    real_tfds.disable_progress_bar()
    yield
    real_tfds.enable_progress_bar()


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """A function from the name of a published data set to its folder, and that through TFDS."""
    made = {}

    def make(name):
        if name not in made:
            parent = tmp_path_factory.mktemp(name)
            root = tfds_sets.laid_out(name, parent)
            made[name] = root, tfds_sets.build(name, root, parent / "tfds")
        return made[name]

    return make


def from_files(root, split, **options):
    options = SETTINGS | {"metadata": str(root / "metadata")} | options
    return folder.open_split(str(root), split, **options)


def assert_same(source, other):
    """Asserts that two data sets are the same to the last bit."""
    assert other.image_ids == source.image_ids and other.class_names == source.class_names
    np.testing.assert_array_equal(other.labels, source.labels)
    assert other.labels.dtype == source.labels.dtype
    np.testing.assert_array_equal(other.image_sizes, source.image_sizes)
    assert other.image_sizes.dtype == source.image_sizes.dtype
    assert (other.boxes is None) == (source.boxes is None)
    assert (other.load_mask is None) == (source.load_mask is None)
    for index in range(len(source)):
        np.testing.assert_array_equal(other.load_image(index), source.load_image(index))
        if source.boxes is not None:
            np.testing.assert_array_equal(other.boxes[index], source.boxes[index])
        if source.load_mask is not None:
            np.testing.assert_array_equal(other.load_mask(index, 23), source.load_mask(index, 23))


# Own data sets --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cub", "ilsvrc", "openimages"])
def test_same_as_from_files(sets, name):
    root, made = sets(name)
    for split in SPLITS:
        through = tfds.open_split(made, split, **SETTINGS)
        assert through.name == f"{name}/{split}"
        assert_same(from_files(root, split), through)
    assert list(train_rows(through, 0, 4)) == list(train_rows(from_files(root, split), 0, 4))
    assert list(eval_rows(through)) == list(eval_rows(from_files(root, split)))
    has = {"cub": (True, False), "ilsvrc": (True, False), "openimages": (False, True)}[name]
    assert (through.boxes is not None, through.load_mask is not None) == has


@pytest.fixture
def tree(tmp_path):
    """Class folders, with a grey, a CMYK and a turned picture, and PNG; train and test."""
    exif = Image.Exif()
    exif[0x0112] = 6
    files = {
        "train/cat/a b.jpg": picture((20, 30)),
        "train/cat/ü.PNG": picture((25, 30), "PNG", seed=1),
        "train/dog/turned.jpeg": picture((20, 30), seed=2, exif=exif),
        "train/dog/grey.jpg": changed(picture((20, 30), seed=3), "L"),
        "train/dog/cmyk.jpg": changed(picture((20, 30), seed=4), "CMYK"),
        "test/dog/1.jpg": picture((21, 22), seed=5),
    }
    write(tmp_path / "tree", files)
    return tmp_path / "tree"


def changed(data, mode):
    buffer = io.BytesIO()
    Image.open(io.BytesIO(data)).convert(mode).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize("apply_exif", [True, False])
def test_class_folders(tree, tmp_path, apply_exif):
    made = tfds_builder.build(str(tree), str(tmp_path / "tfds"), "pets")
    for split in ("train", "test"):
        options = {"apply_exif": apply_exif, "class_names": ("cat", "dog")}
        source = folder.open_split(str(tree), split, **options)
        assert_same(source, tfds.open_split(made, split, **options))
    assert tfds.open_split(made, "val") is None
    assert tfds.open_split(made, "train").image_sizes.tolist()[2] == [20, 30]  # cat/ü is second
    with pytest.raises(DataError, match=r"has the classes cat, dog, not dog, cat; take the data"):
        tfds.open_split(made, "test", class_names=("dog", "cat"))
    with pytest.raises(DataError, match=r"has 2 classes, but config.data.num_classes=3"):
        tfds.open_split(made, "train", num_classes=3)


def test_other_metadata_for_an_own_data_set(sets, tmp_path):
    root, made = sets("cub")
    chosen = [row for row in CUB if row[2]][::-2]
    write_metadata(tmp_path / "train", {row[0]: 0 for row in chosen})
    options = {"metadata": str(tmp_path), "num_classes": 2}
    source = from_files(root, "train", **options)
    assert len(source) == 3
    assert_same(source, tfds.open_split(made, "train", apply_exif=False, **options))


def test_build_sources(sets):
    from configs import cub_vgg

    root, made = sets("cub")
    config = cub_vgg.get_config()
    config.data.name, config.data.root = "tfds", made
    found = build.sources(config)
    assert list(found) == list(SPLITS) and found["val"].num_classes == 200
    assert found["test"].name == "cub/test"
    assert_same(from_files(root, "test"), found["test"])


def test_annotation_for_the_stored_pixels_of_turned_images(sets, tmp_path):
    root, made = sets("ilsvrc")
    message = r"40 x 30 for 'val/ILSVRC2012_val_00000001.JPEG', .* use apply_exif=False"
    with pytest.raises(DataError, match=message):
        tfds.open_split(made, "test", num_classes=200, apply_exif=True)
    with pytest.raises(DataError, match=message):
        tfds_sets.build("ilsvrc", root, tmp_path, apply_exif=True)


def test_any_file_system_of_tensorflow(sets, monkeypatch):
    """In memory, where a path of the operating system leads nowhere."""

    def in_memory(builder, split):
        copies = []
        for path in record_files(builder, split):
            copies.append(f"ram://{os.path.basename(path)}")
            tf.io.gfile.copy(path, copies[-1], overwrite=True)
        return copies

    root, made = sets("openimages")
    monkeypatch.setattr(tfds, "record_files", in_memory)
    assert_same(from_files(root, "test"), tfds.open_split(made, "test", **SETTINGS))


# What TFDS itself prepares --------------------------------------------------------------------


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
@pytest.mark.parametrize(
    ("name", "builder", "splits"),
    [
        ("cub", "caltech_birds2011", ("train", "test")),
        ("ilsvrc", "imagenet2012", ("train", "test")),
        ("ilsvrc", "imagenet_v2/threshold-0.7", ("val",)),
    ],
)
def test_published(sets, tmp_path, monkeypatch, name, builder, splits, file_format):
    root, _ = sets(name)
    made = tfds_sets.published(builder, tmp_path, monkeypatch, file_format)
    metadata = {"metadata": str(root / "metadata")}
    with pytest.raises(DataError, match=r"index/\w+.npz does not exist; run python -m"):
        tfds.open_split(made, splits[0], **metadata, **SETTINGS)
    assert index_main([os.fspath(made)]) == 0
    for split in splits:
        assert_same(from_files(root, split), tfds.open_split(made, split, **metadata, **SETTINGS))
    other = "val" if "val" not in splits else "train"
    field = "val_root" if other == "val" else "root"
    with pytest.raises(DataError, match=rf"no images for .*{other}; set --config.data.{field} to"):
        tfds.open_split(made, other, **metadata, **SETTINGS)
    if name != "cub":
        with pytest.raises(DataError, match="set --config.data.metadata to the field's lists"):
            tfds.open_split(made, splits[0], **SETTINGS)


def test_published_labels_and_order_are_those_of_the_metadata(sets, tmp_path, monkeypatch):
    made = tfds_sets.published("imagenet2012", tmp_path, monkeypatch)
    write_index(made)
    stored = real_tfds.builder_from_directory(made).as_dataset(split="validation")
    of = {
        example["file_name"].decode(): int(example["label"])
        for example in stored.as_numpy_iterator()
    }
    ids = [f"val/{name}" for name in sorted(of, reverse=True)]
    write_metadata(tmp_path / "test", {image_id: n for n, image_id in enumerate(ids)})
    source = tfds.open_split(made, "test", metadata=str(tmp_path))
    assert source.image_ids == tuple(ids) and source.labels.tolist() == [0, 1, 2, 3]
    assert set(of.values()).isdisjoint(source.labels.tolist())


def test_validation_images_from_another_data_set(sets, tmp_path, monkeypatch):
    from configs import ilsvrc_vgg

    root, own = sets("ilsvrc")
    made = tfds_sets.published("imagenet2012", tmp_path, monkeypatch)
    write_index(made)
    config = ilsvrc_vgg.get_config()
    config.data.name, config.data.root, config.data.val_root = "tfds", os.fspath(made), own
    config.data.metadata = str(root / "metadata")
    found = build.sources(config)
    for split in SPLITS:
        assert_same(from_files(root, split, num_classes=1000), found[split])


# What is wrong is said ------------------------------------------------------------------------


def test_no_data_set(tmp_path, sets):
    for root in ("", tmp_path, tmp_path / "nowhere", pathlib.Path(sets("cub")[1]).parent):
        with pytest.raises(DataError, match=r"no prepared TFDS data set in .*DIR/cub/1.0.0"):
            tfds.open_split(root, "train")


def test_images_that_are_not_there(sets, tmp_path):
    write_metadata(tmp_path / "train", {f"{n}.jpg": 0 for n in range(5)} | {CUB[1][0]: 0})
    with pytest.raises(DataError, match=r"lacks 5 of the 6 images .*: 0.jpg, 1.jpg, 2.jpg, \.\.\."):
        tfds.open_split(sets("cub")[1], "train", metadata=str(tmp_path))


def test_masks_of_other_metadata(sets):
    root, made = sets("openimages")
    with pytest.raises(DataError, match=r"localization.txt has masks, which cannot be looked up"):
        tfds.open_split(made, "test", metadata=str(root / "metadata"))


@pytest.fixture
def copy(sets, tmp_path):
    """An OpenImages data set of its own, to be damaged."""
    return tfds_sets.build("openimages", sets("openimages")[0], tmp_path)


def test_damaged_record(copy):
    path, _ = sorted(pathlib.Path(copy).glob("*test.tfrecord*"))
    source = tfds.open_split(copy, "test", **SETTINGS)
    data = bytearray(path.read_bytes())
    data[data.rindex(b"\xff\xd8\xff") + 50] ^= 1
    path.write_bytes(data)
    broken = []
    for index in range(len(source)):
        try:
            source.load_mask(index, 9)
        except DataError as error:
            assert f"record of {source.image_ids[index]!r} cannot be read" in str(error)
            broken.append(source.image_ids[index])
    assert len(broken) == 1
    with pytest.raises(
        DataError, match=rf"image '{broken[0]}' cannot be read .*(DataLoss|corrupt)"
    ):
        list(eval_batches(source, batch_size=2, image_size=8))
    with pytest.raises(
        DataError, match=r"tfrecord-00000-of-00002 cannot be read .*corrupted record"
    ):
        write_index(copy)
    path.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        list(eval_batches(source, batch_size=2, image_size=8))


def test_index_of_other_files(copy):
    index = pathlib.Path(copy) / "ega_jax" / "index"
    with np.load(index / "test.npz") as arrays:
        arrays = dict(arrays)
    np.savez(index / "test.npz", **arrays | {"shard_lengths": np.array([3])})
    with pytest.raises(DataError, match=r"test.npz is the index of other files; run python -m"):
        tfds.open_split(copy, "test", **SETTINGS)
    arrays["names"][1] = arrays["names"][0]
    np.savez(index / "test.npz", **arrays)
    with pytest.raises(DataError, match=r"1 of 4 records have the name of another one"):
        tfds.open_split(copy, "test", **SETTINGS)


# Hosts, and resuming --------------------------------------------------------------------------


def start(options):
    command = [sys.executable, "-m", "tests.helpers.stream_host", json.dumps(options)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_two_hosts_have_disjoint_and_exhaustive_shares(sets):
    root, made = sets("cub")
    whole = {split: from_files(root, split) for split in ("train", "test")}
    files = {"name": "folder", "root": str(root), "metadata": str(root / "metadata"), **SETTINGS}
    through = {"name": "tfds", "root": made, **SETTINGS}
    hosts = [start({"host": host, "hosts": 2, "data": [files, through]}) for host in range(2)]
    outputs = [json.loads(host.communicate(timeout=120)[0]) for host in hosts]
    assert [host.returncode for host in hosts] == [0, 0]
    # Batch by batch and example by example what one process makes of the files.
    single = {
        "train": list(train_rows(whole["train"], 0, 5)),
        "test": list(eval_rows(whole["test"])),
    }
    for shares in zip(*outputs, strict=True):
        for what, batches in single.items():
            assert all(len(batch) == 2 for share in shares for batch in share[what])
            halves = zip(shares[0][what], shares[1][what], strict=True)
            assert [one + other for one, other in halves] == batches
        real = [{row[0] for batch in share["test"] for row in batch if row[2]} for share in shares]
        assert not real[0] & real[1]
        assert real[0] | real[1] == set(whole["test"].image_ids)
    # Three passes over 6 images and two more: each image once in each pass, on one host or other.
    ids = [image_id for batch in single["train"] for image_id, *_ in batch]
    for epoch in range(3):
        assert sorted(ids[6 * epoch : 6 * epoch + 6]) == sorted(whole["train"].image_ids)


@pytest.mark.slow
def test_killed_and_resumed(sets):
    """Killed while it streams; another process goes on at the step that the first one reached."""
    root, made = sets("cub")
    data = {"name": "tfds", "root": made, **SETTINGS}
    host = start({"host": 1, "hosts": 2, "data": [data], "forever": True})
    seen = [json.loads(host.stdout.readline()) for _ in range(5)]
    host.send_signal(signal.SIGKILL)
    host.communicate(timeout=60)
    assert host.returncode == -signal.SIGKILL
    through = tfds.open_split(made, "train", **SETTINGS)
    resumed = list(train_rows(through, 5, 11, 1, 2))
    assert seen + resumed == list(train_rows(from_files(root, "train"), 0, 11, 1, 2))
