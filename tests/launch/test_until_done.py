import signal
import subprocess
import time

from tests.helpers.paths import ROOT

SCRIPT = ROOT / "launch" / "until_done.sh"


def _command(tmp_path, body):
    """A command that appends a line to `calls` each time it is called, then does `body`."""
    return [
        SCRIPT,
        "bash",
        "-c",
        f"echo call >> {tmp_path}/calls; n=$(wc -l < {tmp_path}/calls); {body}",
    ]


def _calls(tmp_path):
    return (tmp_path / "calls").read_text().count("call")


def test_goes_on_for_as_long_as_the_command_was_stopped(tmp_path):
    done = subprocess.run(_command(tmp_path, '[ "$n" -ge 3 ] || exit 75'), capture_output=True)
    assert done.returncode == 0
    assert _calls(tmp_path) == 3


def test_an_error_ends_it(tmp_path):
    assert subprocess.run(_command(tmp_path, "exit 4")).returncode == 4
    assert _calls(tmp_path) == 1


def test_a_signal_is_passed_on_and_ends_it(tmp_path):
    ready = tmp_path / "ready"
    body = f"trap 'sleep 0.3; exit 75' TERM; : >{ready}; while true; do sleep 0.05; done"
    process = subprocess.Popen(_command(tmp_path, body))
    while not ready.exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 75
    assert _calls(tmp_path) == 1


def test_usage():
    done = subprocess.run([SCRIPT], capture_output=True, text=True)
    assert done.returncode == 2
    assert "usage" in done.stderr
