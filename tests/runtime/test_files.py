import json

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


def test_folders_are_made_and_text_is_utf8(tmp_path):
    files.write_text(tmp_path / "a" / "b" / "names.txt", "Großer Brachvogel\n")
    assert (tmp_path / "a" / "b" / "names.txt").read_bytes() == "Großer Brachvogel\n".encode()
    assert [p.name for p in (tmp_path / "a" / "b").iterdir()] == ["names.txt"]
