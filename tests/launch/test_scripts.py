"""The launch scripts: what they say they would do, and what they do to stand-ins for the tools."""

import os
import pathlib
import shutil
import subprocess
import sys
import time

import pytest

from tests.helpers.paths import ROOT

LAUNCH = ROOT / "launch"
TOOLS = pathlib.Path(sys.executable).parent
SETTINGS = {
    "PROJECT": "proj",
    "ZONE": "zone-a",
    "NAME": "run1",
    "ACCELERATOR": "v5litepod-16",
    "WORKDIR": "gs://bucket/run1",
    "CLUSTER": "cluster1",
    "TPU_TYPE": "v6e-16",
    "NUM_SLICES": "2",
    "IMAGE": "image1",
    "PYTHON": ".venv/bin/python",
    "TMPDIR": "/tmp",
}
IN = "--project=proj --zone=zone-a"
SSH = f"gcloud compute tpus tpu-vm ssh run1 {IN}"
PACK = "git archive --format=tar.gz --output=/tmp/run1.tar.gz HEAD"
ASK = (
    f"gcloud compute tpus queued-resources create run1 {IN} --node-count=2 --node-prefix=run1 "
    "--accelerator-type=v5litepod-16 --runtime-version=v2-alpha-tpuv5-lite "
    "--scopes=https://www.googleapis.com/auth/cloud-platform "
    "--metadata=ega-jax-folder=gs://bucket/run1/launch "
    "--metadata-from-file=startup-script=launch/startup.sh"
)
GIVE_BACK = f"gcloud compute tpus queued-resources delete run1 {IN} --force --quiet"
UPLOAD = [
    PACK,
    "printf '%s\\n' --distributed --workdir=gs://bucket/run1 --config=a.py >/tmp/run1.arguments",
    "gcloud storage cp /tmp/run1.tar.gz gs://bucket/run1/launch/code.tar.gz",
    "gcloud storage cp /tmp/run1.arguments gs://bucket/run1/launch/arguments",
    "rm /tmp/run1.tar.gz /tmp/run1.arguments",
    "gcloud storage rm gs://bucket/run1/launch/ended",
]


def call(script, *arguments, folder=ROOT, **settings):
    """Runs a script with all settings made, but for those that are None."""
    changed = SETTINGS | settings
    clean = {k: v for k, v in os.environ.items() if k not in SETTINGS and k != "SPOT"}
    return subprocess.run(
        ["bash", str(LAUNCH / script) if isinstance(script, str) else str(script), *arguments],
        env=clean | {name: value for name, value in changed.items() if value is not None},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_shellcheck():
    scripts = sorted(LAUNCH.glob("*.sh")) + [LAUNCH / "slurm.sbatch"]
    assert len(scripts) >= 8
    done = subprocess.run(
        ["shellcheck", "-x", *[script.relative_to(ROOT) for script in scripts]],
        env=os.environ | {"PATH": f"{TOOLS}:{os.environ['PATH']}"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("script", "arguments", "expected"),
    [
        (
            "tpu_vm.sh",
            ["create", "--spot"],
            [
                f"gcloud compute tpus tpu-vm create run1 {IN} --accelerator-type=v5litepod-16 "
                "--version=v2-alpha-tpuv5-lite --spot"
            ],
        ),
        (
            "tpu_vm.sh",
            ["setup"],
            [
                PACK,
                "gcloud compute tpus tpu-vm scp /tmp/run1.tar.gz run1:code.tar.gz "
                f"{IN} --worker=all",
                "rm /tmp/run1.tar.gz",
                f"{SSH} --worker=all '--command=mkdir -p ega_jax && "
                "tar -xzf code.tar.gz -C ega_jax'",
                f"{SSH} --worker=all '--command=ega_jax/launch/host.sh setup '\\''jax[tpu]'\\'''",
            ],
        ),
        (
            "tpu_vm.sh",
            ["start", "--config=a.py:cam", "--config.optimizer.decay_epochs=(1.0, 2.0)"],
            [
                f"{SSH} --worker=all '--command=ega_jax/launch/host.sh start --distributed "
                "--config=a.py:cam '\\''--config.optimizer.decay_epochs=(1.0, 2.0)'\\'''"
            ],
        ),
        ("tpu_vm.sh", ["watch"], [f"{SSH} --worker=0 '--command=ega_jax/launch/host.sh watch'"]),
        ("tpu_vm.sh", ["stop"], [f"{SSH} --worker=all '--command=ega_jax/launch/host.sh stop'"]),
        ("tpu_vm.sh", ["delete"], [f"gcloud compute tpus tpu-vm delete run1 {IN} --quiet"]),
        ("queued.sh", ["create", "--config=a.py"], [*UPLOAD, ASK]),
        (
            "queued.sh",
            ["keep", "--config=a.py"],
            [
                *UPLOAD,
                ASK,
                "# every 300 seconds, until gs://bucket/run1/launch/ended has an exit code; "
                "if SUSPENDED or FAILED:",
                GIVE_BACK,
                ASK,
                "# then:",
                GIVE_BACK,
            ],
        ),
        (
            "queued.sh",
            ["status"],
            [
                f"gcloud compute tpus queued-resources describe run1 {IN} "
                "'--format=value(state.state)'"
            ],
        ),
        (
            "queued.sh",
            ["watch"],
            [
                f"gcloud compute tpus tpu-vm ssh run1-0 {IN} --worker=0 "
                "'--command=sudo /opt/ega_jax/launch/host.sh watch'"
            ],
        ),
        ("queued.sh", ["delete"], [GIVE_BACK]),
        (
            "gke.sh",
            ["create", "--config=a.py"],
            [
                f"xpk workload create {IN} --cluster=cluster1 --workload=run1 --tpu-type=v6e-16 "
                "--num-slices=2 --base-docker-image=image1 --script-dir=. --max-restarts=100 "
                "'--command=launch/until_done.sh python -m ega_jax.main --distributed "
                "--config=a.py'"
            ],
        ),
        ("gke.sh", ["status"], [f"xpk workload list {IN} --cluster=cluster1"]),
        (
            "gke.sh",
            ["delete"],
            [f"xpk workload delete {IN} --cluster=cluster1 --workload=run1"],
        ),
        (
            "slurm.sbatch",
            ["--config=a.py"],
            [
                "srun --kill-on-bad-exit=1 .venv/bin/python -m ega_jax.main --distributed "
                "--config=a.py",
                "# if that ends with 75, stopped and saved:",
                'scontrol requeue "$SLURM_JOB_ID"',
            ],
        ),
        (
            "local.sh",
            ["2", "python", "-m", "ega_jax.main", "--config=a.py"],
            [
                "python -m ega_jax.main --config=a.py --distributed "
                "--coordinator_address=localhost:PORT --process_count=2 --process_id=0",
                "python -m ega_jax.main --config=a.py --distributed "
                "--coordinator_address=localhost:PORT --process_count=2 --process_id=1",
            ],
        ),
        (
            "host.sh",
            ["start", "--config=a.py"],
            ["launch/until_done.sh .venv/bin/python -m ega_jax.main --config=a.py"],
        ),
    ],
)
def test_dry_run_says_what_would_be_done(script, arguments, expected):
    done = call(script, "--dry_run", *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == expected


def test_one_spot_slice():
    done = call("queued.sh", "--dry_run", "create", SPOT="1", NUM_SLICES=None)
    assert f"create run1 {IN} --node-id=run1 --spot --accelerator-type" in done.stdout
    watch = call("queued.sh", "--dry_run", "watch", NUM_SLICES=None)
    assert "ssh run1 --project" in watch.stdout


@pytest.mark.parametrize(
    ("accelerator", "version"),
    [
        ("v4-8", "tpu-ubuntu2204-base"),
        ("v5p-8", "v2-alpha-tpuv5"),
        ("v6e-8", "v2-alpha-tpuv6e"),
    ],
)
def test_machine_image_of_each_kind_of_chip(accelerator, version):
    done = call("tpu_vm.sh", "--dry_run", "create", ACCELERATOR=accelerator)
    assert f"--accelerator-type={accelerator} --version={version}" in done.stdout


@pytest.mark.parametrize(
    ("script", "arguments", "settings", "message"),
    [
        ("tpu_vm.sh", ["create"], {"PROJECT": None}, "PROJECT: Google Cloud project"),
        ("tpu_vm.sh", ["create"], {"ZONE": ""}, "ZONE: zone of the slice"),
        ("tpu_vm.sh", ["setup"], {"NAME": None}, "NAME: name of the slice"),
        ("tpu_vm.sh", ["create"], {"ACCELERATOR": None}, "ACCELERATOR: such as v5litepod-16"),
        ("tpu_vm.sh", ["create"], {"ACCELERATOR": "v5e-16"}, "ACCELERATOR=v5e-16 is none of"),
        ("queued.sh", ["create"], {"WORKDIR": None}, "WORKDIR: the folder of the run"),
        ("queued.sh", ["create"], {"WORKDIR": "runs/x"}, "WORKDIR=runs/x: must begin with gs://"),
        ("gke.sh", ["create"], {"CLUSTER": None}, "CLUSTER: name of the cluster"),
        ("gke.sh", ["create"], {"IMAGE": None}, "IMAGE: image with the requirements"),
        ("slurm.sbatch", [], {"PYTHON": None}, "PYTHON: python with the requirements"),
    ],
)
def test_settings_that_are_missing_or_impossible(script, arguments, settings, message):
    done = call(script, "--dry_run", *arguments, **settings)
    assert done.returncode != 0
    assert message in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("script", ["tpu_vm.sh", "queued.sh", "gke.sh", "local.sh", "host.sh"])
def test_usage(script):
    for arguments in ([], ["--dry_run"], ["nonsense"]):
        done = call(script, *arguments)
        assert done.returncode == 2
        assert f"launch/{script} " in done.stderr
        assert "#" not in done.stderr and "set -euo" not in done.stderr


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
