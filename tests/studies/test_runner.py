"""Processes of a study, with a program in their place that leaves prepared results."""

import fcntl
import json
import os
import signal
import sys
import threading
import time

import pytest

from ega_jax.runtime.errors import ConfigError
from ega_jax.studies import runner
from ega_jax.studies.plan import Row, StudyError
from ega_jax.studies.runs import runs_of
from tests.helpers.study_runs import leave, results_of, two_rows

# Waits, says something, and copies `prepared/<row>/<seed>.json`, or what it must not be done.
PROGRAM = """
import json, os, pathlib, sys, time
place = pathlib.Path(next(a for a in sys.argv if a.startswith("--workdir=")).partition("=")[2])
place.mkdir(parents=True, exist_ok=True)
told = json.loads((place.parents[1] / "prepared" / f"{place.parent.name}-{place.name}").read_text())
cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
print(json.dumps({"cores": cores, "gpus": os.environ.get("CUDA_VISIBLE_DEVICES")}), flush=True)
time.sleep(told["seconds"])
if told.get("line"):
    sys.exit(told["line"])
(place / "results.json").write_text(json.dumps(told["results"]))
"""


@pytest.fixture
def study():
    return two_rows()


@pytest.fixture
def runs(study):
    return [run for row in study.rows for run in runs_of(study, row, study.seeds)]


@pytest.fixture
def prepare(tmp_path, monkeypatch, runs):
    """Prepares what becomes of a run; all others have results at once."""
    (tmp_path / "prepared").mkdir()
    monkeypatch.setattr(runner, "PROGRAM", (sys.executable, "-c", PROGRAM))
    monkeypatch.setattr(runner, "_PAUSE", 0.02)
    monkeypatch.setattr(runner, "_PATIENCE", 0.02)

    def told(run, seconds=0.0, line=""):
        path = tmp_path / "prepared" / run.name.replace("/", "-")
        path.write_text(json.dumps({"seconds": seconds, "line": line, "results": results_of(run)}))

    for run in runs:
        told(run)
    return told


def test_trains_what_is_missing(prepare, runs, tmp_path):
    leave(tmp_path, runs[1])
    ended = []
    outcome = runner.Runner(tmp_path, jobs=2).run(runs, ended.append)
    assert (outcome.failed, outcome.stopped) == ({}, False)
    assert {run.name for run in ended} == {"cam/0", "ega/0", "ega/1"}
    assert all(runner.is_finished(run, tmp_path) for run in runs)
    assert not (tmp_path / "cam/1" / runner.LOG).exists()


def test_a_failing_run_is_shown_and_the_others_go_on(prepare, runs, tmp_path):
    prepare(runs[0], line="error: DIR is not a folder")
    outcome = runner.Runner(tmp_path, jobs=1).run(runs)
    assert outcome.failed == {"cam/0": "error: DIR is not a folder"}
    assert [runner.is_finished(run, tmp_path) for run in runs] == [False, True, True, True]
    prepare(runs[0])
    assert runner.Runner(tmp_path, jobs=1).run(runs).failed == {}


def test_a_run_that_ended_with_other_results_says_what_they_lack(runs, tmp_path, monkeypatch):
    results = results_of(runs[0]) | {"step": 99999}
    code = "import json, sys; json.dump(json.loads(sys.argv[1]), open(sys.argv[2], 'w'))"
    place = tmp_path / runs[0].name / "results.json"
    program = (sys.executable, "-c", code, json.dumps(results), str(place))
    monkeypatch.setattr(runner, "PROGRAM", program)
    outcome = runner.Runner(tmp_path, 1).run(runs[:1])
    (said,) = outcome.failed.values()
    assert said.startswith("it ended, but its results are of step 99999 of ")


def test_a_run_that_was_killed_says_so(runs, tmp_path, monkeypatch):
    """As the system does where memory is short."""
    kill = "import os; print('12:00 Step 3', flush=True); os.kill(os.getpid(), 9)"
    monkeypatch.setattr(runner, "PROGRAM", (sys.executable, "-c", kill))
    failed = runner.Runner(tmp_path, jobs=1).run(runs[:1]).failed
    assert failed == {"cam/0": "ended by SIGKILL; before that: 12:00 Step 3"}


def test_what_reads_a_failed_network_fails_too(prepare, study, tmp_path):
    rows = (*study.rows, Row("ccam", "CCAM", "configs/quickstart.py:ccam", reads="cam"))
    study = two_rows(rows=rows)
    (cam,), (ccam,) = (runs_of(study, study.row(name), (0,)) for name in ("cam", "ccam"))
    prepare(ccam)
    prepare(cam, seconds=0.1, line="error: full")
    failed = runner.Runner(tmp_path, jobs=2).run([ccam, cam]).failed
    assert failed == {
        "cam/0": "error: full",
        "ccam/0": "it reads the network of cam/0, which failed",
    }
    prepare(cam)
    assert runner.Runner(tmp_path, jobs=2).run([ccam, cam]).failed == {}
    (tmp_path / cam.name / "results.json").unlink()
    prepare(cam, line="error: full")
    failed = runner.Runner(tmp_path, jobs=2).run([cam, ccam]).failed
    assert failed == {"cam/0": "error: full"}  # what has read it has its results


def test_runs_of_others_are_taken_up(prepare, runs, tmp_path, caplog):
    """Somebody holds a run, and ends it while this study waits."""
    caplog.set_level("INFO", logger="ega_jax")
    place = tmp_path / "cam/0"
    place.mkdir(parents=True)
    with open(place / ".lock", "w") as file:
        json.dump({"process": 1, "host": "elsewhere", "since": "noon"}, file)
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)

        def end():
            leave(tmp_path, runs[0])
            fcntl.flock(file, fcntl.LOCK_UN)

        timer = threading.Timer(0.5, end)
        timer.start()
        ended = []
        assert runner.Runner(tmp_path, jobs=2).run(runs, ended.append).failed == {}
        timer.join()
    assert "cam/0" not in {run.name for run in ended}
    waits = [r.message for r in caplog.records if "in the hands of" in r.message]
    assert waits == ["cam/0 is in the hands of process 1 on elsewhere, since noon."]


def test_a_run_that_somebody_was_faster_with_is_waited_for(prepare, runs, tmp_path):
    prepare(runs[0], line=f"error: {tmp_path}/cam/0 is in use by process 1; wait for it")
    threading.Timer(0.5, lambda: leave(tmp_path, runs[0])).start()
    assert runner.Runner(tmp_path, jobs=1).run(runs).failed == {}


def test_told_to_stop(prepare, runs, tmp_path):
    prepare(runs[0], seconds=60)
    prepare(runs[1], seconds=60)

    def stop():
        while not (tmp_path / "cam/1" / runner.LOG).exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop).start()
    before = signal.getsignal(signal.SIGTERM)
    began = time.monotonic()
    outcome = runner.Runner(tmp_path, jobs=2).run(runs)
    assert outcome.stopped and outcome.failed == {}
    assert time.monotonic() - began < 30  # nobody slept on
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_counts_as_finished(study, runs, tmp_path):
    run = runs[2]
    assert not runner.is_finished(run, tmp_path)
    leave(tmp_path, run)
    assert runner.is_finished(run, tmp_path)

    def asked(*given):
        (run,) = runs_of(study, study.row("ega"), (0,), given)
        return runner.lacking(run, tmp_path)

    assert not asked("--config.data.root=OTHER")  # the same pictures may lie elsewhere
    for field, then, now in (
        ("steps", 360, 999),
        ("reader.name", "''", "'grad_cam'"),
        ("predict.flip", False, True),
        ("predict.tiles", 1, 2),
        ("method", "'cam'", "'backprop'"),
        ("data.metadata", "''", "'OTHER'"),
    ):
        given = f"--config.{field}={now}".replace("'", "")
        assert asked(given) == f"its results are of other fields, {field}: {then} -> {now}"
    results = json.loads((tmp_path / "ega/0/results.json").read_text())
    (tmp_path / "ega/0/results.json").write_text(json.dumps(results | {"step": 100}))
    assert asked() == "its results are of step 100 of 360"
    (other,) = runs_of(study, study.row("ega"), (0,), ("--config.ega.epsilon=3",))
    with pytest.raises(ConfigError, match="is another run:\n  config.ega.epsilon: the run has 1.0"):
        runner.is_finished(other, tmp_path)
    outcome = runner.Runner(tmp_path, jobs=1).run([other])
    assert "is another run: config.ega.epsilon: the run has 1.0" in outcome.failed["ega/0"]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no affinities")
def test_each_job_has_its_share(prepare, runs, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6")
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    cores = sorted(os.sched_getaffinity(0))
    first, second = runner.shares(2)
    assert first == (set(cores[::2]), {"CUDA_VISIBLE_DEVICES": "4,6"})
    assert second == (set(cores[1::2] or cores[:1]), {"CUDA_VISIBLE_DEVICES": "5"})
    assert runner.shares(1) == [(set(cores), {})]
    with pytest.raises(StudyError, match="--jobs=4: there are 3 GPUs"):
        runner.shares(4)
    prepare(runs[0], seconds=0.3)
    runner.Runner(tmp_path, jobs=2).run(runs[:2])
    said = [json.loads((tmp_path / run.name / runner.LOG).read_text()) for run in runs[:2]]
    assert said == [
        {"cores": cores[::2], "gpus": "4,6"},
        {"cores": cores[1::2] or cores[:1], "gpus": "5"},
    ]
    assert sorted(os.sched_getaffinity(0)) == cores
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert len(runner.shares(len(cores) + 1)) == len(cores) + 1
    assert all(own <= set(cores) and own for own, _ in runner.shares(len(cores) + 1))


def test_last_words(tmp_path):
    path = tmp_path / "log.txt"
    assert runner.last_words(path) == ""
    path.write_text("error: one\nof an earlier start\n")
    begin = path.stat().st_size
    assert runner.last_words(path, begin) == ""
    with path.open("a") as file:
        file.write("12:00 two\nValueError: three\n\n")
    assert runner.last_words(path, begin) == "ValueError: three"
    with path.open("a") as file:
        file.write("error: OUT is another run:\n  config.seed: 1, 2\n")
    assert runner.last_words(path, begin) == "error: OUT is another run: config.seed: 1, 2"
