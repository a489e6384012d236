"""Calls the launch scripts with all settings made."""

import os
import pathlib
import subprocess
import sys

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
