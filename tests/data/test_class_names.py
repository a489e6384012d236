"""Names of classes from a file: in order, or refused with the line."""

import pytest

from ega_jax.data.class_names import read_class_names
from ega_jax.data.source import DataError
from tests.helpers.paths import ROOT


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_lines_are_names(tmp_path, mark):
    (tmp_path / "names.txt").write_bytes(f"{mark}tench\r\nmaillot, tank suit\nÄnderung".encode())
    assert read_class_names(tmp_path / "names.txt") == ("tench", "maillot, tank suit", "Änderung")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\n\nb\n", "names.txt:2: no name"),
        (b"a\nb\na\n", "'a' names more than one class"),
        (b"a\n", "1 class; a classifier needs"),
        (b"", "0 class"),
        (b"a\n\xff\n", "cannot read .*names.txt: 'utf-8'"),
    ],
)
def test_refused(tmp_path, content, message):
    (tmp_path / "names.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_class_names(tmp_path / "names.txt")


def test_a_file_that_is_missing(tmp_path):
    with pytest.raises(DataError, match="config.data.class_names: cannot read .*names.txt"):
        read_class_names(tmp_path / "names.txt")


def test_imagenet():
    """In the order of the WordNet ids: a few that everybody knows by number."""
    names = read_class_names(ROOT / "configs" / "classes" / "imagenet.txt")
    assert len(names) == 1000
    known = {0: "tench", 207: "golden retriever", 281: "tabby", 285: "Egyptian cat", 620: "laptop"}
    known |= {134: "crane (bird)", 517: "crane (machine)", 949: "strawberry"}
    assert {label: names[label] for label in known} == known
    assert names[999] == "toilet tissue"
