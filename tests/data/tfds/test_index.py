"""The index of a prepared data set: where records are, and which ones can be indexed."""

import json
import pathlib

import numpy as np
import pytest
import tensorflow_datasets as real_tfds

from ega_jax.data.source import DataError
from ega_jax.data.tfds import index as tfds_index
from ega_jax.data.tfds.index import Index, main, open_builder, read_index, write_index
from tests.helpers.published_files import picture
from tests.helpers.tfds_sets import several_files


@pytest.fixture(scope="module", autouse=True)
def no_progress_bars():
    real_tfds.disable_progress_bar()
    yield
    real_tfds.enable_progress_bar()


def prepared(folder, images, name="birds", file_format="tfrecord", id_feature="image_id"):
    """A data set of the images' bytes by name, in files of two records or three."""
    features = real_tfds.features
    return real_tfds.dataset_builders.store_as_tfds_dataset(
        name=name,
        version="1.2.3",
        features=features.FeaturesDict(
            {"image": features.Image(), id_feature: features.Text()},
        ),
        split_datasets={"train": records(folder, images, id_feature)},
        data_dir=folder,
        file_format=file_format,
        disable_shuffling=True,
    ).data_path


def records(folder, images, id_feature):
    for number, (name, data) in enumerate(images.items()):
        (folder / "now").write_bytes(data)
        yield number, {"image": str(folder / "now"), id_feature: name}


def pictures(count):
    return {f"{n}.jpg": picture((20 + n, 30), seed=n) for n in range(count)}


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
def test_index(tmp_path, file_format):
    with several_files():
        directory = prepared(tmp_path, pictures(7), file_format=file_format)
    write_index(directory)
    builder, _ = open_builder(directory)
    index = read_index(builder, "train")
    assert index.names.tolist() == [f"{n}.jpg".encode() for n in range(7)]
    assert len(index.shard_lengths) == 3 and index.shard_lengths.sum() == 7
    assert np.bincount(index.shards).tolist() == index.shard_lengths.tolist()
    assert index.sizes.tolist() == [[20 + n, 30] for n in range(7)]
    assert index.orientations.tolist() == [1] * 7
    paths = tfds_index.record_files(builder, "train")
    for shard, path in enumerate(paths):
        mine = index.shards == shard
        if file_format == "array_record":
            assert index.places[mine].tolist() == list(range(mine.sum()))
        else:
            # The places and lengths fill the file, without a gap.
            ends = index.places[mine] + index.lengths[mine] + tfds_index.FRAME
            assert index.places[mine].tolist() == [0, *ends[:-1]]
            assert ends[-1] == pathlib.Path(path).stat().st_size


def test_bad_images_are_named(tmp_path, capsys):
    directory = prepared(tmp_path, pictures(2) | {"bad.jpg": picture((20, 30))[:-9]})
    assert main([str(directory)]) == 1
    error = capsys.readouterr().err
    assert "birds/train: 1 of 3 image files cannot be used:" in error
    assert "bad.jpg: is truncated or damaged" in error
    assert not (pathlib.Path(directory) / "ega_jax").exists()


def test_lost_records(tmp_path):
    directory = pathlib.Path(prepared(tmp_path, pictures(3)))
    info = json.loads((directory / "dataset_info.json").read_text())
    info["splits"][0]["shardLengths"] = ["4"]
    (directory / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(DataError, match=r"tfrecord-00000-of-00001 has 3 records, but 4 in data"):
        write_index(directory)


def test_files_of_an_interrupted_copy(tmp_path):
    directory = pathlib.Path(prepared(tmp_path, pictures(3)))
    write_index(directory)
    builder, _ = open_builder(directory)
    (index,) = (directory / "ega_jax" / "index").glob("*.npz")
    whole = index.read_bytes()
    for size in (0, 100, len(whole) - 30):
        index.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"npz is damaged .*run python -m ega_jax.data.tfds.in"):
            read_index(builder, index.stem)
    info = directory / "dataset_info.json"
    info.write_text(info.read_text()[:-40])
    with pytest.raises(DataError, match=r"dataset_info.json or features.json in .* is damaged"):
        open_builder(directory)


def test_unknown_data_sets(tmp_path):
    directory = prepared(tmp_path, pictures(1), name="mnist", id_feature="name")
    with pytest.raises(DataError, match=r"images are named in mnist is not known. Known are calt"):
        open_builder(directory)
    info = json.loads((directory / "dataset_info.json").read_text())
    info["fileFormat"] = "riegeli"
    (directory / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(DataError, match=r"is stored as riegeli; prepare it with file_format='tfr"):
        open_builder(directory)


def test_other_variants_of_imagenet_v2_are_unknown():
    assert [name for name in tfds_index.PUBLISHED if "v2" in name] == ["imagenet_v2/threshold-0.7"]


def test_find():
    zeros = np.zeros(3)
    names = np.array([b"x/b/1.jpg", b"x/a/1.jpg", b"x/a/2.jpg"])
    index = Index(names, zeros, zeros, zeros, zeros, zeros, zeros)

    def last_two(path):
        return "/".join(path.split("/")[-2:])

    assert index.find(["a/1.jpg", "y/b/1.jpg"], last_two, "birds").tolist() == [1, 0]
    with pytest.raises(DataError, match=r"birds lacks 1 of the 2 images .*: c/1.jpg; its names"):
        index.find(["a/1.jpg", "c/1.jpg"], last_two, "birds")
    with pytest.raises(DataError, match=r"birds: 1 of 3 records have the name of another one"):
        index.find(["1.jpg"], lambda path: path.split("/")[-1], "birds")
