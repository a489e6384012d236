"""Recording steps: which ones, and what is left in the workdir."""

import jax
import jax.numpy as jnp
import pytest

from ega_jax.runtime import distributed
from ega_jax.training.profiling import StepProfiler


@pytest.mark.parametrize(
    ("num_steps", "start", "total", "first", "last"),
    [
        (5, 0, 100, 11, 15),
        (5, 40, 100, 51, 55),  # of a run that goes on
        (5, 0, 12, 8, 12),
        (5, 0, 3, 1, 3),
        (5, 98, 100, 99, 100),
        (0, 0, 100, 0, 0),
        (5, 100, 100, 0, 0),
    ],
)
def test_which_steps(tmp_path, num_steps, start, total, first, last):
    profiler = StepProfiler(tmp_path, num_steps, start=start, total=total)
    assert (profiler.first, profiler.last) == (first, last)


def test_only_one_process_records(tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "is_lead", lambda: False)
    assert StepProfiler(tmp_path, 5, start=0, total=100).last == 0


def test_a_recording(tmp_path):
    profiler = StepProfiler(tmp_path, 2, start=0, total=4)
    double = jax.jit(lambda x: 2 * x)
    for step in range(1, 5):
        profiler.begin(step)
        assert list(tmp_path.iterdir()) == []
        jax.block_until_ready(double(jnp.ones(3)))
    profiler.close()
    (recording,) = tmp_path.glob("plugins/profile/*/*.xplane.pb")
    assert recording.stat().st_size > 0
    profiler.close()  # of what is saved already: nothing happens
    assert len(list(tmp_path.rglob("*.xplane.pb"))) == 1
