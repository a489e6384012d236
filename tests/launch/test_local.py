"""Several processes on one machine."""

import signal
import subprocess
import sys
import time

from tests.helpers.paths import ROOT

SCRIPT = ROOT / "launch" / "local.sh"

JOIN = """
import sys, jax
flags = dict(flag.lstrip("-").split("=") for flag in sys.argv[1:] if "=" in flag)
assert "--distributed" in sys.argv
jax.distributed.initialize(
    flags["coordinator_address"], int(flags["process_count"]), int(flags["process_id"])
)
print("process", jax.process_index(), "of", jax.process_count(), "on", jax.device_count())
"""


def test_the_processes_find_each_other(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=1")
    done = subprocess.run(
        [SCRIPT, "2", sys.executable, "-c", JOIN], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert {line for line in done.stdout.splitlines() if "process" in line} >= {
        "[0] process 0 of 2 on 2",
        "[1] process 1 of 2 on 2",
    }


def _command(tmp_path, body, when_told="exit 0"):
    """Runs `body` in three processes that are all up; `$me` is the process's number."""
    up = [tmp_path / f"up{n}" for n in range(3)]
    head = (
        f'me=${{!#}}; me=${{me#--process_id=}}; trap "{when_told}" TERM; : >{tmp_path}/up$me; '
        f"until [ {' -a '.join(f'-e {path}' for path in up)} ]; do sleep 0.05; done; "
    )
    return [SCRIPT, "3", "bash", "-c", head + body, "bash"]


def test_one_failure_stops_the_others(tmp_path):
    body = '[ "$me" -eq 1 ] && exit 4; while true; do sleep 0.05; done'
    done = subprocess.run(_command(tmp_path, body), capture_output=True, text=True, timeout=60)
    assert done.returncode == 4


def test_all_are_told_to_stop_and_left_to_save(tmp_path):
    """The first to have saved does not cut the others off."""
    when_told = f"sleep 0.$me; : >{tmp_path}/saved$me; exit 75"
    process = subprocess.Popen(_command(tmp_path, "while true; do sleep 0.05; done", when_told))
    for _ in range(600):
        if len(list(tmp_path.glob("up*"))) == 3:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 75
    assert len(list(tmp_path.glob("saved*"))) == 3
