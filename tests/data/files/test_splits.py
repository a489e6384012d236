"""Split folders: the usual names in any case, and those that only look like one."""

import numpy as np
import pytest
from PIL import Image

from ega_jax.data.files.folder import open_split, split_sources
from ega_jax.data.files.splits import split_folders
from ega_jax.data.source import DataError


def tree(root, *folders):
    for folder in folders:
        for name in ("cat", "dog"):
            path = root / folder / name / "1.png"
            path.parent.mkdir(parents=True)
            Image.new("RGB", (9, 7)).save(path)
    return str(root)


def metadata(root, *folders):
    for folder in folders:
        (root / folder).mkdir(parents=True)
        (root / folder / "image_ids.txt").write_text("cat/1.png\ndog/1.png")
        (root / folder / "class_labels.txt").write_text("cat/1.png,0\ndog/1.png,1")
    return str(root)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("Train", "valid", "TEST"), {"train": "Train", "val": "valid", "test": "TEST"}),
        (("training", "Validation", "testing"), ["train", "val", "test"]),
        (("train", "dev"), ["train", "val"]),
        (("cats", "dogs"), []),
        (("test tubes", "train_stations", "validators", "steam_train", "beta.test"), []),
        ((".test_images", "__MACOSX"), []),
    ],
)
def test_usual_names(tmp_path, names, expected):
    for name in names:
        (tmp_path / name).mkdir()
    found = split_folders(tmp_path)
    assert list(found) == list(expected)
    if isinstance(expected, dict):
        assert found == {split: str(tmp_path / name) for split, name in expected.items()}


@pytest.mark.parametrize(
    "name",
    ["train2017", "test_images", "Val-Set", "validation.data", "images_val", "data-test-set"],
)
def test_what_looks_like_a_split_is_not_ignored(tmp_path, name):
    tree(tmp_path, "train", name)
    with pytest.raises(DataError, match=rf"{name} looks like the folder of a split.*rename it to"):
        open_split(str(tmp_path), "train")


@pytest.mark.parametrize("names", [("seg_train", "seg_test"), ("Valid small", "train small")])
def test_what_differs_in_the_split_alone_is_no_class(tmp_path, names):
    tree(tmp_path, *names)
    with pytest.raises(DataError, match=rf"{names[0]}|{names[1]} looks like the folder of a split"):
        open_split(str(tmp_path), "train")


def test_two_folders_of_one_split(tmp_path):
    tree(tmp_path, "train", "val", "valid")
    with pytest.raises(DataError, match="holds 'val' and 'valid', both the usual name of the val"):
        open_split(str(tmp_path), "val")


def test_trees_by_other_names(tmp_path, caplog):
    root = tree(tmp_path, "Training", "validation")
    (tmp_path / "labels").mkdir()
    assert open_split(root, "train").class_names == ("cat", "dog")
    assert open_split(root, "val").image_ids == ("cat/1.png", "dog/1.png")
    assert open_split(root, "test") is None
    assert "folders beside the splits are not looked at: labels" in caplog.text


@pytest.mark.parametrize(
    "folders",
    [("a/train", "a/test", "b/train", "b/Test"), ("data/train/a", "data/test/a", "docs")],
)
def test_splits_inside_of_classes_are_no_classes(tmp_path, folders):
    """By class and then by split, or a folder too high: all would be trained on."""
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / folder / "1.png")
    with pytest.raises(DataError, match=r"(a|data)/test and (a|data)/train look like splits"):
        open_split(str(tmp_path), "train")


def test_a_folder_called_train_inside_of_a_class(tmp_path):
    """A part of the class, as any other folder there is."""
    for folder in ("toys/train", "toys/car", "tools"):
        (tmp_path / folder).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / folder / "1.png")
    assert len(open_split(str(tmp_path), "train")) == 3


def test_masks_are_of_metadata(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / folder / "1.png")
    for setting in ({"masks": "/nowhere"}, {"mask_values": "trimap"}):
        with pytest.raises(DataError, match=r"config.data.mask.*set config.data.metadata"):
            open_split(str(tmp_path), "train", **setting)


def test_a_split_without_training(tmp_path):
    root = tree(tmp_path, "validation")
    with pytest.raises(DataError, match="holds validation but no folder train; put the class"):
        open_split(root, "train")


def test_a_class_called_train(tmp_path):
    for name in ("boat", "car", "train"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (9, 7)).save(tmp_path / name / "1.png")
    with pytest.raises(DataError, match="has no class folders and lies beside boat, car, train"):
        open_split(str(tmp_path), "train")


def test_metadata_by_other_names(tmp_path):
    images = tree(tmp_path / "images", "")
    meta = metadata(tmp_path / "meta", "Train", "valid", "test")
    for split in ("train", "val", "test"):
        assert len(open_split(images, split, metadata=meta)) == 2
    assert list(split_sources(meta)) == ["val", "test"]
    (tmp_path / "meta" / "test").rename(tmp_path / "meta" / "test2")
    with pytest.raises(DataError, match="test2 looks like the folder of a split"):
        open_split(images, "test", metadata=meta)
    with pytest.raises(DataError, match="images holds no folder train .*but cat, dog"):
        open_split(images, "train", metadata=images)
    with pytest.raises(DataError, match="no metadata folder .*nowhere"):
        open_split(images, "train", metadata=str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("root", "ids", "hint"),
    [
        ("data", ["cat/1.png"], r"They are in .*data/images"),
        ("data/images/cat", ["cat/1.png"], r"They are in .*images$"),
        ("data/images", ["old/images/cat/1.png"], r"leave out 'old/images/' at the start"),
        ("data/images", ["owl/9.png", "owl/8.png"], "which holds cat, dog; were the images moved"),
    ],
)
def test_moved_images(tmp_path, root, ids, hint):
    tree(tmp_path / "data" / "images", "")
    meta = tmp_path / "meta" / "train"
    meta.mkdir(parents=True)
    (meta / "image_ids.txt").write_text("\n".join(ids))
    (meta / "class_labels.txt").write_text("\n".join(f"{i},0" for i in ids))
    with pytest.raises(DataError, match=rf"none of the {len(ids)} images exists.*{hint}"):
        open_split(str(tmp_path / root), "train", metadata=str(tmp_path / "meta"))


def test_backslashes_are_slashes(tmp_path):
    images = tree(tmp_path / "images", "")
    meta = tmp_path / "meta" / "train"
    meta.mkdir(parents=True)
    (meta / "image_ids.txt").write_text("cat\\1.png\ndog\\1.png")
    (meta / "class_labels.txt").write_text("cat/1.png,0\ndog\\1.png,1")
    source = open_split(images, "train", metadata=str(tmp_path / "meta"))
    assert source.image_ids == ("cat/1.png", "dog/1.png")
    np.testing.assert_array_equal(source.labels, [0, 1])
