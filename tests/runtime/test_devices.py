"""Devices: named, or said to be missing in one line."""

import os
import subprocess
import sys

import jax
import pytest

from ega_jax.runtime import devices
from tests.helpers.paths import ROOT


def test_what_results_say_of_the_devices():
    assert devices.describe() == {"platform": "cpu", "kind": "cpu", "number": 4}


def test_a_backend_that_is_not_there(monkeypatch):
    def fail():
        raise RuntimeError("Unable to initialize backend 'tpu': no such device\nmore")

    monkeypatch.setattr(jax, "devices", fail)
    with pytest.raises(devices.DeviceError, match=r"finds no device: Unable .*no such device\. "):
        devices.all_devices()


@pytest.mark.slow
def test_the_program_says_it_in_one_line(tmp_path):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "ega_jax.main", "--config=configs/quickstart.py"),
            f"--workdir={tmp_path}/run",
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cuda"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "error: JAX_PLATFORMS=cuda finds no device" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()
