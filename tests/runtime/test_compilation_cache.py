"""Compiled programs are kept, where they may be kept."""

import os
import pathlib
import subprocess
import sys

import jax
import pytest

from ega_jax.runtime import compilation_cache
from ega_jax.runtime.home import VARIABLE
from tests.helpers.paths import ROOT


@pytest.fixture
def untold(monkeypatch):
    """As if JAX had not been told of a cache, which these tests themselves use."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = [getattr(jax.config, name) for name in names]
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    for name, value in zip(names, before, strict=True):
        jax.config.update(name, value)


def test_by_default_beside_other_things_of_the_package(untold, monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    folder = pathlib.Path(compilation_cache.enable("runs/x"))
    assert folder.parent == tmp_path / "compiled"
    assert jax.config.jax_compilation_cache_dir == str(folder)


def test_machines_that_come_and_go_find_it_in_their_bucket(untold):
    folder = compilation_cache.enable("gs://bucket/run/")
    assert folder.startswith("gs://bucket/run/compiled/")


def test_how_long_what_is_kept_took_is_as_jax_was_told(untold, monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
    before = jax.config.jax_persistent_cache_min_compile_time_secs
    compilation_cache.enable("runs/x")
    assert jax.config.jax_persistent_cache_min_compile_time_secs == before


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
print(float(jax.jit(lambda x: (x @ x).sum())(jax.numpy.ones((8, 8)))), len(hits) > 0)
"""


def test_a_second_process_does_not_compile_again(tmp_path):
    of_tests = ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS")
    environment = {name: value for name, value in os.environ.items() if name not in of_tests}
    environment |= {"PYTHONPATH": str(ROOT), VARIABLE: str(tmp_path)}
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
