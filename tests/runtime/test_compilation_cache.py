"""Compiled programs are kept, where they may be kept."""

import os
import pathlib
import subprocess
import sys

import jax
import pytest

from ega_jax.runtime import compilation_cache
from tests.helpers.paths import ROOT


@pytest.fixture
def untold(monkeypatch):
    """As if JAX had not been told of a cache, which these tests themselves use."""
    before = jax.config.jax_compilation_cache_dir
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    jax.config.update("jax_compilation_cache_dir", before)


def test_by_default_beside_other_things_of_the_package(untold, monkeypatch, tmp_path):
    monkeypatch.setenv(compilation_cache.PLACE, str(tmp_path))
    folder = pathlib.Path(compilation_cache.enable("runs/x"))
    assert folder.parent == tmp_path / "compiled"
    assert jax.config.jax_compilation_cache_dir == str(folder)


def test_machines_that_come_and_go_find_it_in_their_bucket(untold):
    folder = compilation_cache.enable("gs://bucket/run/")
    assert folder.startswith("gs://bucket/run/compiled/")


def test_other_processors_have_folders_of_their_own(untold, monkeypatch, tmp_path):
    one = compilation_cache._processor()
    monkeypatch.setattr(
        pathlib.Path, "read_text", lambda self: "model name : other\nflags : fpu avx512\n"
    )
    assert compilation_cache._processor() != one


@pytest.mark.parametrize("told", ["/elsewhere", ""])
def test_what_jax_was_told_stays(monkeypatch, told):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", told)
    before = jax.config.jax_compilation_cache_dir
    compilation_cache.enable("runs/x")
    assert jax.config.jax_compilation_cache_dir == before


PROGRAM = """
import sys
import jax
from ega_jax.runtime import compilation_cache

hits = []
jax.monitoring.register_event_listener(
    lambda name, **_: hits.append(name) if name.endswith("cache_hits") else None
)
compilation_cache.enable("runs/x")
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
print(float(jax.jit(lambda x: (x @ x).sum())(jax.numpy.ones((8, 8)))), len(hits) > 0)
"""


def test_a_second_process_does_not_compile_again(tmp_path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_COMPILATION")}
    environment |= {"PYTHONPATH": str(ROOT), compilation_cache.PLACE: str(tmp_path)}
    said = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for _ in range(2)
    ]
    assert said == ["512.0 False\n", "512.0 True\n"]
