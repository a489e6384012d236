"""One process at a time in a workdir."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

from ega_jax.runtime import lock
from ega_jax.runtime.errors import UserError
from tests.helpers.paths import ROOT

HOLD = """
import sys, time
from ega_jax.runtime import lock
with lock.only_one(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds `tmp_path`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_second_is_refused_and_told_who_is_there(tmp_path, holder):
    with (
        pytest.raises(lock.WorkdirInUseError) as refused,
        lock.only_one(tmp_path),
    ):
        pass
    said = str(refused.value)
    assert f"process {holder.pid} on {socket.gethostname()}" in said
    assert str(tmp_path) in said and "another --workdir" in said
    with lock.only_one(tmp_path / "other"):
        pass


def test_whether_somebody_is_there_can_be_asked(tmp_path, holder):
    assert lock.holder(tmp_path).startswith(f"process {holder.pid} on {socket.gethostname()}, ")
    assert lock.holder(tmp_path / "other") == ""
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert lock.holder(tmp_path) == ""
    assert lock.holder("gs://bucket/run") == ""
    with lock.only_one(tmp_path):  # asking has not taken it
        pass


def test_whoever_asks_is_not_in_the_way(tmp_path):
    """A study asks who is there at the moment when a run begins."""
    with open(tmp_path / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        threading.Timer(0.05, fcntl.flock, (file, fcntl.LOCK_UN)).start()
        with lock.only_one(tmp_path):
            assert str(os.getpid()) in (tmp_path / ".lock").read_text()


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with lock.only_one(tmp_path):
        assert str(os.getpid()) in (tmp_path / ".lock").read_text()
    with lock.only_one(tmp_path):  # and it is free again
        pass


def test_buckets_are_not_locked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with lock.only_one("gs://bucket/run"), lock.only_one("gs://bucket/run"):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a place that takes no folders")
def test_where_no_folder_can_be_made():
    with pytest.raises(UserError, match="/proc/run: no folder can be made there; .*--workdir"):
        with lock.only_one("/proc/run"):
            pass
