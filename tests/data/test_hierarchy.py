"""Hierarchies of classes: what is read, and what is wrong with a file."""

import csv
import pathlib

import pytest

from configs import cub_vgg, quickstart
from ega_jax.config import build
from ega_jax.data.hierarchy import Hierarchy, check_order, digest, read_hierarchy
from ega_jax.data.source import DataError

HEADER = "class,family,order\n"
SHIPPED = pathlib.Path(quickstart.__file__).parent / "hierarchies"


@pytest.fixture
def written(tmp_path):
    def write(text, encoding="utf-8"):
        path = tmp_path / "birds.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


def test_labels_are_numbered_by_their_sorted_names(written):
    path = written(HEADER + "wren,small,song\ngull,gulls,sea\nfinch,seed,song\ntern,gulls,sea\n")
    assert read_hierarchy(path) == Hierarchy(parents=(2, 0, 1, 0), roots=(1, 0, 1, 0))


def test_spreadsheets(written):
    """A byte order mark, carriage returns, quotes, and letters beyond ASCII."""
    path = written("\ufeff" + HEADER.replace("\n", "\r\n") + 'bär,"a, b",ü\r\nelk,c,ü\r\n')
    assert read_hierarchy(path) == Hierarchy(parents=(0, 1), roots=(0, 0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER + "wren,small,song\ngull,gulls\n", "line 3: expected class,parent,root, not gull,"),
        (HEADER + "wren,small,song,x\n", "line 2: expected class,parent,root"),
        (HEADER + "wren,,song\n", "line 2: expected"),
        (HEADER + "wren,small,song\n\n", "line 3: expected"),
        (HEADER + "a,p,r\nb,p,s\n", "line 3: 'p' is under 's' here and under 'r' before"),
        (HEADER, "has no classes"),
        ("", "has no classes"),
    ],
)
def test_faults(written, text, message):
    with pytest.raises(DataError, match=message) as error:
        read_hierarchy(written(text))
    assert "birds.csv" in str(error.value)


@pytest.mark.parametrize("text", ["a,p,r\nb,p,r\n\n", "a,p,r\nb,p,r\nb,p,r\n", "\n"])
def test_lines_too_many_are_no_matter_of_order(written, text):
    """What is wrong with them `read_hierarchy` says, or the count of the classes."""
    check_order(written(HEADER + text), ["a", "b"])


def test_what_cannot_be_read(tmp_path, written):
    with pytest.raises(DataError, match=r"nowhere.csv cannot be read.*config\.danet\.hierarchy"):
        read_hierarchy(tmp_path / "nowhere.csv")
    with pytest.raises(DataError, match=r"nowhere.csv cannot be read"):
        digest(tmp_path / "nowhere.csv")
    with pytest.raises(DataError, match="birds.csv cannot be read"):
        read_hierarchy(written(HEADER + "wren,süß,song\n", encoding="latin-1"))


def test_a_file_in_the_home_folder(written, monkeypatch):
    path = written(HEADER + "wren,Troglodytidae,song\n")
    monkeypatch.setenv("HOME", str(path.parent))
    assert read_hierarchy(f"~/{path.name}").parents == (0,)
    assert digest(f"~/{path.name}") == digest(path)


@pytest.mark.parametrize(
    ("name", "classes", "parents", "roots"), [("cub", 200, 37, 13), ("creatures", 10, 5, 2)]
)
def test_shipped_files(name, classes, parents, roots):
    hierarchy = read_hierarchy(SHIPPED / f"{name}.csv")
    assert len(hierarchy.parents) == len(hierarchy.roots) == classes
    assert set(hierarchy.parents) == set(range(parents))
    assert set(hierarchy.roots) == set(range(roots))


def test_shipped_classes_are_in_the_order_of_the_labels():
    def names(name):
        with open(SHIPPED / f"{name}.csv", newline="") as file:
            return [row[0] for row in csv.reader(file)][1:]

    creatures = build.sources(quickstart.get_config("danet"), ("test",))["test"]
    assert names("creatures") == list(creatures.class_names)
    cub = names("cub")
    assert [int(name.split(".")[0]) for name in cub] == list(range(1, 201))
    assert cub[0] == "001.Black_footed_Albatross" and cub[199] == "200.Common_Yellowthroat"


def test_the_order_of_the_labels(written):
    path = written(HEADER + "wren,small,song\ngull,gulls,sea\ntern,gulls,sea\n")
    check_order(path, ["wren", "gull", "tern"])
    check_order(path, ["n01", "n02", "n03"])  # the file's names are for people
    with pytest.raises(DataError, match="birds.csv, line 2: 'wren', but the class of .* 'gull'"):
        check_order(path, ["gull", "tern", "wren"])


def test_another_number_of_classes_than_the_data_has():
    config = quickstart.get_config("danet")
    assert build.model(config, 10).num_classes == 10
    with pytest.raises(
        DataError, match=r"creatures.csv has 10 classes, the data 9; write a header and then a line"
    ):
        build.model(config, 9)
    assert len(build.method(cub_vgg.get_config("danet")).parents) == 200
