"""All cores of a machine without accelerator, as far as batches divide over them."""

import os
import subprocess
import sys

import jax
import pytest

from ega_jax.runtime import cpu
from ega_jax.runtime.errors import ConfigError
from tests.helpers import compilation
from tests.helpers.paths import ROOT

COUNT = """
import sys
import jax
from ega_jax.runtime import cpu
cpu.cores = lambda: 4
cpu.use_cores([int(size) for size in sys.argv[1].split(",")], int(sys.argv[2]) or None)
print(jax.device_count())
"""
DRAW = """
import jax
import numpy as np
from ega_jax.runtime import cpu

def draw(key):
    return jax.random.truncated_normal(key, -2, 2, (3, 3, 8)), jax.random.normal(key, (100,))

key = jax.random.key(0)
quick = jax.jit(draw, compiler_options=cpu.drawing_options("cpu"))(key)
for a, b in zip(quick, jax.jit(draw)(key), strict=True):
    np.testing.assert_array_equal(a, b)
print("the same")
"""


def run(script, *arguments):
    """Runs a script in a process that compiles as it does for users; returns what it said."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=compilation.thorough() | {"PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("sizes", "asked", "expected"), [("8,100", 0, 4), ("6,4", 0, 2), ("7,8", 0, 1), ("9,6", 3, 3)]
)
def test_as_many_devices_as_batches_divide_over(sizes, asked, expected):
    assert run(COUNT, sizes, str(asked)) == f"{expected}\n"


def test_a_batch_that_does_not_divide_is_named(monkeypatch):
    monkeypatch.delenv("XLA_FLAGS")
    with pytest.raises(ConfigError, match="--cpu_devices=3: a batch of 8 does not divide"):
        cpu.use_cores([9, 8], 3)


def test_the_environment_comes_first():
    cpu.use_cores([7])  # these tests run on four devices, which 7 does not divide over
    assert jax.device_count() == 4
    with pytest.raises(ConfigError, match="the environment .* has a number of CPU devices already"):
        cpu.use_cores([8], 2)


def test_options_are_for_cpus_alone():
    assert cpu.compiler_options("tpu") == cpu.compiler_options("gpu") == {}
    assert isinstance(cpu.compiler_options("cpu"), dict)
    assert cpu.drawing_options("tpu") == cpu.drawing_options("gpu") == {}


def test_what_is_drawn_is_the_same_to_the_bit():
    assert run(DRAW) == "the same\n"


def test_cores_of_this_process():
    assert 1 <= cpu.cores() <= os.cpu_count()
