"""Runs that are told to stop, or killed: the same command goes on, and ends as if undisturbed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import types

import pytest
from clu import metric_writers

from ega_jax.modes import train
from ega_jax.runtime import checkpoints
from tests.helpers import compilation
from tests.helpers.paths import ROOT
from tests.helpers.runs import TINY, final_arrays, tiny


@pytest.mark.slow
def test_what_is_validated_was_saved_and_is_validated_again_if_the_run_was_killed(
    tmp_path, monkeypatch
):
    found = []

    def validate(state, *others):
        saved.wait()
        found.append(checkpoints.find(tmp_path, "last").name)
        os.kill(os.getpid(), signal.SIGTERM)
        return types.SimpleNamespace(figures=lambda threshold: {})

    monkeypatch.setattr(train, "inversion", lambda figures: "")
    for _ in range(2):
        trainer = train.Trainer(tiny(**{"checkpoint.every_steps": 100}), str(tmp_path))
        monkeypatch.setattr(trainer, "validate", validate)
        with checkpoints.Checkpoints(tmp_path, keep=2) as saved, pytest.raises(SystemExit) as end:
            trainer.loop(trainer.start(saved), saved, metric_writers.MultiWriter([]))
        assert end.value.code == train.STOPPED
        shutil.rmtree(tmp_path / "checkpoints" / "last" / "6")  # as if killed before
    assert found == ["5", "5"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_in_the_last_evaluation(tiny_run, tmp_path, monkeypatch, number):
    """All is saved by then; the same command evaluates the run."""
    workdir, results = tiny_run
    shutil.copytree(workdir, tmp_path / "run")
    (tmp_path / "run" / "results.json").unlink()
    asked = train.Trainer.stop_if

    def tell(trainer, told_to_stop):
        look, calls = asked(trainer, told_to_stop), []

        def then():
            calls.append(signal.raise_signal(number) if len(calls) == 1 else None)
            look()

        return then

    with monkeypatch.context() as patched, pytest.raises(SystemExit) as end:
        patched.setattr(train.Trainer, "stop_if", tell)
        train.train(tiny(), str(tmp_path / "run"))
    assert end.value.code == train.STOPPED
    assert not (tmp_path / "run" / "results.json").exists()
    again = train.train(tiny(), str(tmp_path / "run"))
    assert again["test"] == results["test"] and again["step"] == results["step"]


@pytest.mark.slow
def test_told_to_stop_before_the_first_step(tmp_path, monkeypatch):
    """While the data are looked at, say: there is nothing to save."""
    sources = train.build.sources

    def told(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGTERM)
        return sources(*args, **kwargs)

    monkeypatch.setattr(train.build, "sources", told)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as end:
        train.train(tiny(), str(tmp_path))
    assert end.value.code == train.STOPPED
    assert signal.getsignal(signal.SIGTERM) == before


# Stopped and killed while the entropies are setting in.
LONGER = TINY | {
    "steps": 24,
    "log_every_steps": 1,
    "eval.every_epochs": 3.0,
    "ega.entropy_start": 0.05,
    "ega.entropy_rise": 0.9,
}


def run_main(workdir, *, at=None, send=None, delay=0.0):
    """Runs the program in a process of its own, on the quickstart shrunk to `LONGER`.

    Args:
      workdir: of the run.
      at: text of the log line at which to send a signal.
      send: that signal.
      delay: seconds to wait before it is sent.

    Returns:
      Exit code and log.
    """
    environment = {**os.environ, **compilation.quick(), "PYTHONPATH": str(ROOT)}
    flags = [f"--config.{name}={value}" for name, value in LONGER.items()]
    command = [sys.executable, "-m", "tests.helpers.program", "--config=configs/quickstart.py"]
    process = subprocess.Popen(
        [*command, f"--workdir={workdir}", *flags],
        env=environment,
        cwd=ROOT,
        text=True,
        stderr=subprocess.PIPE,
    )
    lines = []
    for line in process.stderr:
        lines.append(line)
        if at and at in line:
            time.sleep(delay)
            process.send_signal(send)
            at = None
    process.stderr.close()
    return process.wait(), "".join(lines)


@pytest.mark.slow
def test_told_to_stop_it_saves_and_the_same_command_goes_on_bit_for_bit(
    tmp_path, undisturbed_process
):
    """By SIGTERM, then by Ctrl-C."""
    stopped_at = 0
    for number in (signal.SIGTERM, signal.SIGINT):
        code, log = run_main(tmp_path, at=f"Step {stopped_at + 2}/", send=number)
        assert code == train.STOPPED, log
        assert (f"Going on from step {stopped_at}" in log) == (stopped_at > 0)
        before, stopped_at = stopped_at, int(checkpoints.find(tmp_path, "last").name)
        assert before + 2 <= stopped_at < LONGER["steps"] - 2
        assert f"saved step {stopped_at}" in log
        assert not (tmp_path / "results.json").exists()

    code, log = run_main(tmp_path)
    assert code == 0, log
    assert f"Going on from step {stopped_at}" in log
    assert final_arrays(tmp_path) == final_arrays(undisturbed_process)


@pytest.mark.slow
def test_sigkill_at_any_moment_loses_nothing(tmp_path, undisturbed_process):
    """Just after a step is told of, while it is saved, and after a validation."""
    step = 0
    for ahead, word, delay in ((2, "", 0.0), (2, "", 0.1), (0, ", val: ", 0.0)):
        step += ahead
        at = word or f"Step {step}/"
        code, log = run_main(tmp_path, at=at, send=signal.SIGKILL, delay=delay)
        assert code == -signal.SIGKILL, log
        saved = [p.name for p in (tmp_path / "checkpoints" / "last").glob("*") if p.name.isdigit()]
        step = max(map(int, saved), default=0)
    code, log = run_main(tmp_path)
    assert code == 0, log
    assert final_arrays(tmp_path) == final_arrays(undisturbed_process)
    one, other = (
        json.loads((workdir / "results.json").read_text())["test"]
        for workdir in (tmp_path, undisturbed_process)
    )
    assert one == other


@pytest.fixture(scope="module")
def undisturbed_process(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed_process")
    code, log = run_main(workdir)
    assert code == 0, log
    return workdir
