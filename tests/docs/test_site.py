"""The site is built of the pages: every link and anchor leads somewhere."""

import subprocess
import sys

import pytest

from tests.helpers.paths import ROOT


def test_builds_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs", reason='needs the extra "docs"')
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
    done = subprocess.run(
        [*command, f"--site-dir={tmp_path}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    reference = (tmp_path / "reference" / "index.html").read_text(encoding="utf-8")
    assert 'id="ega_jax.evaluation.localizer.Localizer.localize"' in reference
    assert 'id="ega_jax.localization.box_metrics.BoxCounts.oracle"' in reference
