import json
import resource

import pytest

from ega_jax.runtime import files


def test_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "results.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        files.write_json(path, {"a": 2, "b": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    files.write_json(path, {"a": 3})
    assert json.loads(path.read_text()) == {"a": 3}
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


def test_two_that_write_a_file_at_once(tmp_path):
    """Each writes all of it; whoever is last wins."""
    path = tmp_path / "study.md"

    def parts():
        yield "mine"
        files.write_text(path, "theirs")
        assert path.read_text() == "theirs"
        yield ", whole"

    files.write_chunks(path, parts())
    assert path.read_text() == "mine, whole"
    assert [p.name for p in tmp_path.iterdir()] == ["study.md"]


def test_folders_are_made_and_text_is_utf8(tmp_path):
    files.write_text(tmp_path / "a" / "b" / "names.txt", "Großer Brachvogel\n")
    assert (tmp_path / "a" / "b" / "names.txt").read_bytes() == "Großer Brachvogel\n".encode()
    assert [p.name for p in (tmp_path / "a" / "b").iterdir()] == ["names.txt"]


@pytest.mark.parametrize(
    "write",
    [files.write_text, lambda path, text: files.write_chunks(path, iter(["old", text]))],
    ids=["whole", "in parts"],
)
def test_a_full_disk_is_named_and_leaves_no_part(write, tmp_path):
    path = tmp_path / "results.json"
    files.write_text(path, "old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as raised:
            write(path, "new" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert raised.value.filename == str(path)
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]
    assert path.read_text() == "old"


def test_room_on_the_disk_of_a_folder_that_is_not_there_yet(tmp_path):
    assert 0 < files.free_bytes(tmp_path / "a" / "b") < 2**60
    assert files.free_bytes("gs://bucket/run") is None
