"""The launch scripts: what they say they would do."""

import os
import subprocess

import pytest

from tests.helpers.launching import IN, LAUNCH, TOOLS, call
from tests.helpers.paths import ROOT

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
