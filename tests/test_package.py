"""What `pip install .` gives: the library, its requirements and one command."""

import email
import os
import re
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from tests.helpers.paths import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel of the checkout, built without the network."""
    pytest.importorskip("setuptools", minversion="77", reason="needs tests/requirements.txt")
    copy, out = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("wheel")
    for folder in ("ega_jax", "configs", "tests", "benchmarks", "launch", "docs"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "requirements.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, copy)
    command = [*(sys.executable, "-m", "pip", "wheel"), "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", f"--wheel-dir={out}", str(copy)]
    subprocess.run(command, check=True)
    (path,) = out.iterdir()
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Calls the command of the wheel, in a folder without recipes or checkout."""
    place, here = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("elsewhere")
    wheel.extractall(place)
    environment = {name: value for name, value in os.environ.items() if name[:3] != "TF_"}
    script = "import sys; from ega_jax.main import run; sys.argv[0] = 'ega-jax'; sys.exit(run())"

    def call(*arguments):
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            cwd=here,
            env=environment | {"PYTHONPATH": str(place), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr, here

    return call


def metadata(wheel, name):
    (path,) = [entry for entry in wheel.namelist() if entry.endswith(f".dist-info/{name}")]
    return wheel.read(path).decode()


def test_holds_the_library_only(wheel):
    folders = {name.split("/")[0] for name in wheel.namelist()}
    assert {re.sub(r".*\.dist-info", "dist-info", f) for f in folders} == {"ega_jax", "dist-info"}
    modules = {name for name in wheel.namelist() if name.endswith(".py")}
    expected = {path.relative_to(ROOT).as_posix() for path in (ROOT / "ega_jax").rglob("*.py")}
    assert modules == expected
    pages = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "ega_jax").rglob("*")
        if path.suffix in (".html", ".css", ".js")
    }
    assert len(pages) >= 6 and pages <= set(wheel.namelist())
    assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())


def test_requires_what_the_list_says(wheel):
    described = email.message_from_string(metadata(wheel, "METADATA"))
    required = [line for line in described.get_all("Requires-Dist") if "extra ==" not in line]
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    wanted = [line.split("#")[0].strip() for line in lines if line.split("#")[0].strip()]
    assert sorted(required) == sorted(wanted)
    assert described["License-Expression"] == "Apache-2.0"
    assert described["Requires-Python"] == ">=3.11"
    assert set(described.get_all("Provides-Extra")) == {
        *("tpu", "compile", "benchmarks", "report", "search", "docs")
    }
    assert "ega-jax = ega_jax.main:run" in metadata(wheel, "entry_points.txt")


def test_the_command_explains_itself(installed):
    _, said, _ = installed("--help")
    assert "| `score` | scores saved heat maps" in said
    assert "--scoremaps" in said
    code, said, _ = installed("--mode=score")
    assert code == 1 and "--mode=score needs --scoremaps and --metadata" in said


def test_the_command_works_elsewhere(installed, tmp_path):
    split, maps = tmp_path / "META" / "test", tmp_path / "MAPS"
    split.mkdir(parents=True)
    maps.mkdir()
    (split / "image_ids.txt").write_text("a.jpg\n")
    (split / "class_labels.txt").write_text("a.jpg,0\n")
    (split / "image_sizes.txt").write_text("a.jpg,224,224\n")
    (split / "localization.txt").write_text("a.jpg,0,0,112,112\n")
    np.save(maps / "a.jpg.npy", np.pad(np.ones((112, 112)), (0, 112)))
    code, said, here = installed("--mode=score", f"--scoremaps={maps}", f"--metadata={split}")
    assert code == 0, said
    assert "TF_ENABLE_ONEDNN_OPTS" not in said  # TensorFlow keeps silent
    assert (here / "runs" / "score" / "results.json").exists()


def test_recipes_beside_it_are_found(installed, tmp_path):
    """As with `python -m`: the folder that it is called in is searched."""
    _, _, here = installed("--help")
    shutil.copytree(ROOT / "configs", here / "configs", dirs_exist_ok=True)
    code, said, _ = installed("--config=configs/quickstart.py:cam", "--config.batch_size=0")
    assert code == 1 and "config.batch_size=0: must be at least 1" in said
