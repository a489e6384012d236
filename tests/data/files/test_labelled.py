"""Pictures whose class is known: class folders, CSV files, metadata."""

import pytest

from ega_jax.data.files.labelled import list_labelled
from ega_jax.data.source import DataError
from tests.helpers.pictures import save_pictures

NAMES = ("cat", "dog", "owl")


def test_class_folders(tmp_path):
    save_pictures(tmp_path, {"dog/a.png": (4, 4), "cat/deep/b.jpg": (4, 4), "c.png": (4, 4)})
    (tmp_path / "dog" / "notes.doc").write_text("no picture")
    found = list_labelled(tmp_path, NAMES)
    assert found.ids == ("cat/deep/b.jpg", "dog/a.png")
    assert found.labels == (0, 1) and found.splits == ("", "")
    assert [name for name, _ in found.left_out] == ["dog/notes.doc", "c.png"]
    assert found.path(1) == str(tmp_path / "dog" / "a.png")


def test_folders_of_splits(tmp_path):
    save_pictures(
        tmp_path, {"train/dog/a.png": (4, 4), "Valid/cat/b.png": (4, 4), "x/c.png": (4, 4)}
    )
    found = list_labelled(tmp_path, NAMES)
    assert dict(zip(found.ids, zip(found.labels, found.splits, strict=True), strict=True)) == {
        "train/dog/a.png": (1, "train"),
        "Valid/cat/b.png": (0, "val"),
    }
    assert found.left_out == (("x/c.png", "lies in no folder of a split"),)


@pytest.mark.parametrize("header", ["", "image,class,split\n"])
def test_a_csv_file(tmp_path, header):
    path = tmp_path / "labels.csv"
    path.write_text(f'{header}deep/a.png,owl,val\n\n"b, 2.png",cat,\n')
    found = list_labelled(path, NAMES)
    assert (found.ids, found.labels) == (("deep/a.png", "b, 2.png"), (2, 0))
    assert found.splits == ("val", "") and found.root == str(tmp_path)


def test_metadata(tmp_path):
    for split, name, label in (("train", "a.png", 2), ("test", "b.png", 0)):
        folder = tmp_path / "meta" / split
        folder.mkdir(parents=True)
        (folder / "image_ids.txt").write_text(f"{name}\n")
        (folder / "class_labels.txt").write_text(f"{name},{label}\n")
    found = list_labelled(tmp_path, NAMES, tmp_path / "meta")
    assert (found.ids, found.labels) == (("a.png", "b.png"), (2, 0))
    assert found.splits == ("train", "test")
    alone = list_labelled(tmp_path, NAMES, tmp_path / "meta" / "test")
    assert (alone.ids, alone.splits) == (("b.png",), ("",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.png,fox\n", "labels.csv, line 1: 'fox' is no class of the model.*cat, dog, owl"),
        ("a.png,cat\na.png,dog\n", "line 2: image 'a.png' again"),
        ("a.png\n", "line 1: 'a.png' is not image,class"),
        ("../a.png,cat\n", "line 1: ../a.png is not a path below"),
        ("a.png,cat,dev\n", "line 1: split 'dev'"),
        ("image,class\n", "lists no picture"),
        ('"a.png,cat\n' + "b.png,dog\n" * 20000, "line .*field larger than.*a quote left open"),
    ],
)
def test_lines_that_cannot_be(tmp_path, text, message):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        list_labelled(tmp_path / "labels.csv", NAMES)


def test_folders_that_cannot_be(tmp_path):
    with pytest.raises(DataError, match="no folder .*nowhere"):
        list_labelled(tmp_path / "nowhere", NAMES)
    with pytest.raises(DataError, match="no file .*nowhere.csv"):
        list_labelled(tmp_path / "nowhere.csv", NAMES)
    save_pictures(tmp_path, {"a.png": (4, 4)})
    with pytest.raises(DataError, match="has no class folders"):
        list_labelled(tmp_path, NAMES)
    save_pictures(tmp_path, {"fox/a.png": (4, 4)})
    with pytest.raises(DataError, match="fox/a.png: 'fox' is no class"):
        list_labelled(tmp_path, NAMES)
