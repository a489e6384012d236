"""The launch scripts: what they do, with stand-ins for the tools of the clouds."""

import os
import pathlib
import shutil
import subprocess
import sys
import time

import pytest

from tests.helpers.launching import IN, LAUNCH, call

TOOLS = pathlib.Path(sys.executable).parent


@pytest.fixture
def tools(tmp_path):
    """A folder of stand-ins that write down how they were called; and what they wrote."""
    folder = tmp_path / "tools"
    folder.mkdir()

    def make(name, body=""):
        path = folder / name
        path.write_text(f'#!/usr/bin/env bash\necho "{name} $*" >>{tmp_path}/calls\n{body}\n')
        path.chmod(0o755)

    def calls():
        return (tmp_path / "calls").read_text().splitlines()

    make.calls = calls
    make.path = {"PATH": f"{folder}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
    return make


def test_a_slice_that_is_there_is_left(tools):
    tools("gcloud", "exit 0")  # describe finds it
    done = call("tpu_vm.sh", "create", **tools.path)
    assert done.returncode == 0
    assert "run1 is there already" in done.stderr
    assert tools.calls() == [f"gcloud compute tpus tpu-vm describe run1 {IN}"]


@pytest.mark.parametrize("code", [0, 1])
def test_a_slice_that_was_taken_away_is_asked_for_again_until_the_program_has_ended(
    tools, tmp_path, code
):
    """Active once, suspended once, when it says 75, and active again; then it has ended."""
    tools(
        "gcloud",
        f"""
case "$*" in
  "storage cat"*) case "$(grep -c "storage cat" {tmp_path}/calls)" in
    1 | 3) exit 1 ;; 2) echo 75 ;; 4) echo {code} ;; esac ;;
  *describe*) if [ "$(grep -c describe {tmp_path}/calls)" -eq 2 ]
    then echo SUSPENDED; else echo ACTIVE; fi ;;
  "storage cp"*arguments) cat "$3" >{tmp_path}/arguments ;;
esac""",
    )
    tools("git", 'case "$*" in archive*) touch "${3#--output=}" ;; esac')
    done = call(
        "queued.sh", "keep", "--config=a.py", "--x=b c", SECONDS_BETWEEN_LOOKS="0", **tools.path
    )
    assert done.returncode == code, done.stderr
    log = "exit code 1; see gs://bucket/run1/launch/ended.log"
    assert (log in done.stderr) == (code == 1)
    assert [line.split()[-1] for line in done.stdout.splitlines()] == [
        "ACTIVE",
        "SUSPENDED",
        "ACTIVE",
    ]
    verbs = [
        line.split()[4] for line in tools.calls() if "queued-resources" in line
    ]  # gcloud compute tpus queued-resources VERB
    assert verbs == ["create", "describe", "describe", "delete", "create", "describe", "delete"]
    assert (tmp_path / "arguments").read_text().splitlines() == [
        "--distributed",
        "--workdir=gs://bucket/run1",
        "--config=a.py",
        "--x=b c",
    ]
    assert not list(tmp_path.glob("run1.*"))


@pytest.mark.parametrize("code", [0, 3])
def test_a_network_that_is_away_does_not_end_the_waiting(tools, tmp_path, code):
    """The first `create` after the slice was taken away, a look, and the last `delete` fail."""
    tools(
        "gcloud",
        f"""
number() {{ grep -c "$1" {tmp_path}/calls; }}
case "$*" in
  "storage cat"*) [ "$(number 'storage cat')" -ge 5 ] && echo {code} || exit 1 ;;
  *describe*) case "$(number describe)" in
    1) echo SUSPENDED; echo updates are available >&2 ;; 2) echo 503 >&2; exit 1 ;;
    3) echo NOT_FOUND: no run1 >&2; exit 1 ;; 4) echo ACTIVE ;; esac ;;
  *" create "*) [ "$(number ' create ')" -ne 2 ] || exit 1 ;;
  *" delete "*) [ "$(number ' delete ')" -ne 2 ] || exit 1 ;;
esac""",
    )
    tools("git", 'case "$*" in archive*) touch "${3#--output=}" ;; esac')
    done = call("queued.sh", "keep", "--config=a.py", SECONDS_BETWEEN_LOOKS="0", **tools.path)
    assert done.returncode == code, done.stderr
    verbs = [line.split()[4] for line in tools.calls() if "queued-resources" in line]
    looks = ["describe", "delete", "create", "describe", "describe", "create", "describe"]
    assert verbs == ["create", *looks, "delete", "delete"]


def test_a_slice_that_cannot_be_given_back_is_named(tools):
    tools("gcloud", 'case "$*" in *cat*) echo 0 ;; *" delete "*) exit 1 ;; esac')
    tools("git", 'case "$*" in archive*) touch "${3#--output=}" ;; esac')
    done = call("queued.sh", "keep", "--config=a.py", SECONDS_BETWEEN_LOOKS="0", **tools.path)
    assert done.returncode == 1
    assert "run1 could not be given back and costs: launch/queued.sh delete" in done.stderr


def test_how_a_program_has_ended_is_put_where_somebody_waits_for_it(tools, tmp_path):
    tools("gcloud", f'case "$3" in -) cat >{tmp_path}/ended ;; esac')
    (tmp_path / "run.log").write_text("said")
    done = call(
        *("until_done.sh", "bash", "-c", "exit 3"), folder=tmp_path, ENDED="gs://b/x", **tools.path
    )
    assert done.returncode == 3
    assert (tmp_path / "ended").read_text() == "3\n"
    assert tools.calls() == [
        "gcloud storage cp run.log gs://b/x.log",
        "gcloud storage cp - gs://b/x",
    ]


@pytest.fixture
def checkout(tmp_path):
    """A checkout with the launch scripts, and a program that saves when it is told to stop."""
    folder = tmp_path / "checkout"
    shutil.copytree(LAUNCH, folder / "launch")
    (folder / "requirements.txt").write_text("")
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(
        '#!/usr/bin/env bash\necho "started $*"\n'
        "trap 'sleep 0.3; echo saved; exit 75' TERM\nwhile true; do sleep 0.05; done\n"
    )
    python.chmod(0o755)
    return folder


def wait_for(path, text):
    for _ in range(200):
        if path.exists() and text in path.read_text():
            return
        time.sleep(0.05)
    raise AssertionError(f"{text!r} did not appear in {path}")


def test_a_host_starts_once_and_stops_after_saving(checkout):
    host, log = checkout / "launch" / "host.sh", checkout / "run.log"
    assert call(host, "start", "--config=a b").returncode == 0
    try:
        wait_for(log, "started -m ega_jax.main --config=a b")
        again = call(host, "start")
        assert again.returncode == 0 and "is running already" in again.stderr
    finally:
        stopped = call(host, "stop")
    assert stopped.returncode == 0
    assert log.read_text().splitlines()[-1] == "saved"
    assert log.read_text().count("started") == 1
    assert "is not running" in call(host, "stop").stderr
    # The number in run.pid may belong to another process by now.
    (checkout / "run.pid").write_text(str(os.getpid()))
    assert "is not running" in call(host, "stop").stderr


def test_a_host_is_set_up_once_and_brought_up_to_date_again(checkout, tools):
    tools("python3", 'case "$*" in *"uv venv"*) mkdir .venv ;; esac')
    host = checkout / "launch" / "host.sh"
    shutil.rmtree(checkout / ".venv")
    for _ in range(2):
        assert call(host, "setup", "jax[tpu]", **tools.path).returncode == 0
    uv = "python3 -m pip install --quiet --user uv"
    install = (
        "python3 -m uv pip install --quiet --python .venv/bin/python jax[tpu] -r requirements.txt"
    )
    venv = "python3 -m uv venv --python >=3.11,<3.14 .venv"
    assert tools.calls() == [uv, venv, install, uv, install]


def test_a_machine_of_a_queued_slice_begins_by_itself(checkout, tools, tmp_path):
    tools("curl", "echo gs://bucket/run1/launch")
    tools("python3")
    (checkout / "arguments").write_text("--distributed\n--x=b c\n")
    subprocess.run(["tar", "-czf", "code.tar.gz", "launch"], cwd=checkout, check=True)
    tools("gcloud")  # the files are there already
    done = call("startup.sh", EGA_JAX_FOLDER=str(checkout), **tools.path)
    try:
        assert done.returncode == 0, done.stderr
        wait_for(checkout / "run.log", "started -m ega_jax.main --distributed --x=b c")
    finally:
        call(checkout / "launch" / "host.sh", "stop")
    assert (
        "gcloud storage cp gs://bucket/run1/launch/code.tar.gz gs://bucket/run1/launch/arguments ."
        in tools.calls()
    )


@pytest.mark.parametrize(("code", "requeued"), [(0, False), (75, True), (1, False)])
def test_slurm_queues_again_what_was_stopped(tools, code, requeued):
    tools("srun", f"exit {code}")
    tools("scontrol")
    done = call("slurm.sbatch", "--config=a.py", SLURM_JOB_ID="7", **tools.path)
    assert done.returncode == code
    assert ("scontrol requeue 7" in tools.calls()) == requeued
