"""Runs of the program, with the network of the tests, by one process or several."""

import os
import socket
import subprocess
import sys

from tests.helpers import compilation
from tests.helpers.paths import ROOT
from tests.helpers.runs import TINY

HEARTBEAT_TIMEOUT = 10  # seconds


def start(workdir, fields=None, *, index=0, count=1, port=0, devices=1, mode="train"):
    """Starts one process of a run of the tiny quickstart.

    Args:
      workdir: of the run.
      fields: of the config, over `TINY`.
      index: of the process.
      count: number of processes; with 1 it is not distributed.
      port: where several meet.
      devices: of this process.
      mode: of the program.
    """
    flags = [f"--config.{name}={value}" for name, value in (TINY | (fields or {})).items()]
    command = [sys.executable, "-m", "tests.helpers.program", "--config=configs/quickstart.py"]
    command += [f"--workdir={workdir}", f"--mode={mode}", *flags]
    if count > 1:
        command += ["--distributed", f"--coordinator_address=127.0.0.1:{port}"]
        command += [f"--process_count={count}", f"--process_id={index}"]
        command += [f"--heartbeat_timeout={HEARTBEAT_TIMEOUT}"]
    environment = {
        **os.environ,
        **compilation.quick(devices),
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.Popen(command, env=environment, cwd=ROOT, text=True, stderr=subprocess.PIPE)


def start_all(workdir, fields=None, *, count, **options):
    """Starts all processes of a run."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [
        start(workdir, fields, index=i, count=count, port=port, **options) for i in range(count)
    ]


def finish(processes, timeout=300):
    """Waits for processes; returns their exit codes and what they said on standard error."""
    try:
        said = [process.communicate(timeout=timeout)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [process.returncode for process in processes], said
