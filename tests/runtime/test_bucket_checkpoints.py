"""Checkpoints in a bucket, where nothing is renamed: what a killed run was writing is none."""

import json

import pytest

from ega_jax.runtime import checkpoints
from ega_jax.runtime.checkpoints import CheckpointError, Checkpoints, exist, find
from tests.helpers import tiny


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """A folder that is taken for one in a bucket, with `last/0`, as copied there from a disk."""

    def finalized(path):
        return (path / "commit_success.txt").exists()

    monkeypatch.setattr(checkpoints, "_in_bucket", lambda path: True)
    monkeypatch.setattr(checkpoints.ocp.utils, "is_checkpoint_finalized", finalized)
    with Checkpoints(tmp_path, keep=3) as saved:
        saved.save(tiny.train_state(tiny.TinyNet(), tiny.optimizer()))
    return tmp_path


@pytest.mark.parametrize("about", [None, "{", json.dumps({"commit_timestamp_nsecs": None})])
def test_half_a_checkpoint_is_left_out(bucket, about):
    half = bucket / "checkpoints" / "last" / "2"
    half.mkdir()
    if about is not None:
        (half / "_CHECKPOINT_METADATA").write_text(about)
    assert find(bucket, "last").name == "0"
    with pytest.raises(CheckpointError, match="no checkpoint '2' .*there are: last/0$"):
        find(bucket, "2")
    (half / "commit_success.txt").touch()
    assert find(bucket, "last").name == "2"


def test_a_run_that_was_killed_in_its_first_save_begins_again(tmp_path, bucket):
    only = bucket / "other" / "checkpoints" / "last" / "2"
    only.mkdir(parents=True)
    assert not exist(bucket / "other")
    assert exist(bucket)


def test_a_folder_on_a_disk_is_whole_once_it_has_its_name(tmp_path):
    assert not checkpoints._in_bucket(checkpoints.epath.Path(tmp_path))
    assert checkpoints._in_bucket(checkpoints.epath.Path("gs://bucket/run"))
    (tmp_path / "checkpoints" / "last" / "2").mkdir(parents=True)
    assert find(tmp_path, "last").name == "2"
