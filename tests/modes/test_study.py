"""A study as it is called: its commands, its pages, and what becomes of it when it is killed."""

import csv
import dataclasses
import functools
import json
import os
import shutil
import signal
import sys
import threading
import time

import pytest

from ega_jax.config import store
from ega_jax.evaluation import score_files
from ega_jax.modes import study as mode
from ega_jax.runtime.distributed import STOPPED
from ega_jax.runtime.errors import ConfigError
from ega_jax.studies import runner
from ega_jax.studies.plan import Choice, Metric, Search, StudyError
from tests.helpers import scored_splits
from tests.helpers.runs import TINY
from tests.helpers.study_runs import METRICS, THRESHOLDS, leave, leave_scored, two_rows

SCORES = scored_splits.score(scored_splits.make(images=5), range(5), THRESHOLDS)


@pytest.fixture
def study():
    return two_rows()


@pytest.fixture
def copied(study, tmp_path):
    """The folders of a study's runs, and nothing else."""
    for row in ("cam", "ega"):
        for seed in (0, 1, 5):
            leave_scored(tmp_path / "OUT", study, row, seed)
    return tmp_path / "OUT"


def cells(folder):
    """The figures of a study's table; what they cost is another one every time."""
    with (folder / "study.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [row for row in rows if row["column"] not in ("images/s", "seconds")]


def test_commands(study):
    listed = mode.commands(study, "runs/my study", given=["--config.steps=3"])
    assert listed[1] == (
        "python -m ega_jax.main --config=configs/quickstart.py:ega --config.seed=0 "
        "--config.steps=3 '--workdir=runs/my study/ega/0'"
    )
    assert [line.rpartition("/my study/")[2] for line in listed] == [
        *("cam/0'", "ega/0'", "cam/1'", "ega/1'"),
    ]
    few = mode.commands(study, "OUT", rows=["ega"], seeds=["7", "8"])
    assert [line.rpartition("=")[2] for line in few] == ["OUT/ega/7", "OUT/ega/8"]


def test_commands_of_a_search(tmp_path, caplog):
    caplog.set_level("INFO", logger="ega_jax")
    study = two_rows(search=Search({"optimizer.learning_rate": Choice((0.1, 0.2))}))
    listed = mode.commands(study, str(tmp_path))
    assert [line.rpartition(f"{tmp_path}/")[2] for line in listed] == [
        *("cam/search/0", "cam/search/1", "ega/search/0", "ega/search/1"),
    ]
    assert "Still to be searched, then listed with their seeds: CAM, EGA." in caplog.text
    place = tmp_path / "cam" / "search"
    place.mkdir(parents=True)
    (place / "chosen.json").write_text('{"setting": {"optimizer.learning_rate": 0.2}}')
    listed = mode.commands(study, str(tmp_path), rows=["cam"])
    assert len(listed) == 4 and "--config.optimizer.learning_rate=0.2 " in listed[-1]
    assert listed[-1].endswith("/cam/1")


def test_a_trial_that_was_lost_elsewhere_has_lost(tmp_path, monkeypatch):
    """Its folder says so, whoever ran it."""
    study = two_rows(search=Search({"optimizer.learning_rate": Choice((0.1, 9.0))}), seeds=(0,))
    (cam, lost), (ega, lost_too) = (mode.search.trials(study, row, tmp_path) for row in study.rows)
    for run in (cam, ega):
        score_files.save(leave(tmp_path, run) / "scores_validation.npz", SCORES)
    for run in (lost, lost_too):
        (tmp_path / run.name).mkdir()
        (tmp_path / run.name / "not_finite.txt").write_text("step 3: ce_clean not finite; stopped")
    assert len(mode.commands(study, str(tmp_path))) == 6
    for row in ("cam", "ega"):
        (tmp_path / row / "search" / "chosen.json").unlink()
    other = dataclasses.replace(study, fields={"model.dtype": "bfloat16"})
    store.save(tmp_path / lost.name, lost.config(), ["a"], {})
    assert len(mode.search.lost([lost], tmp_path)) == 1
    again = mode.search.trials(other, other.rows[0], tmp_path)[1]
    assert again.name == lost.name and not mode.search.lost([again], tmp_path)  # another run
    for row in ("cam", "ega"):
        shutil.rmtree(tmp_path / row / "search" / "0")
        (tmp_path / row / "search" / "chosen.json").unlink(missing_ok=True)

    class Fails:
        """Whatever it is asked for."""

        def run(self, runs, done=None):
            return runner.Outcome({run.name: "error: full" for run in runs})

    monkeypatch.setattr(mode, "Runner", lambda folder, jobs: Fails())
    assert mode.study(study, str(tmp_path)) == 1
    text = (tmp_path / "study.md").read_text()
    for row in ("cam", "ega"):
        assert f"| {row}/search/0 | error: full |" in text
        assert f"| {row}/search/1 | step 3: ce_clean not finite; stopped (said in " in text


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"rows": ["has"]}, StudyError, "there is no row 'has'; there are cam, ega"),
        ({"seeds": ["one"]}, StudyError, "--seeds=one: seeds are whole numbers"),
        ({"seeds": ["²"]}, StudyError, "--seeds=²: seeds are whole numbers"),
        ({"given": ["--config.seed=3"]}, StudyError, "seed is what the study's seeds are for"),
        ({"given": ["--config.ega.epsilon=many"]}, ConfigError, "config.ega.epsilon=many"),
        ({"given": ["--config.epochs=9"]}, StudyError, r"epochs does nothing beside config.steps"),
    ],
)
def test_refuses_at_once(study, tmp_path, arguments, error, message):
    with pytest.raises(error, match=message):
        mode.study(study, str(tmp_path), **arguments)
    assert not list(tmp_path.iterdir())


def test_refuses_to_make_alike_what_is_to_differ(study, tmp_path):
    searching = two_rows(search=Search({"optimizer.learning_rate": Choice((0.1, 0.2))}))
    rate = ["--config.optimizer.learning_rate=0.3"]
    with pytest.raises(StudyError, match="learning_rate is what the study searches; leave it out"):
        mode.study(searching, str(tmp_path), given=rate)
    ega = study.rows[1]
    strengths = [dataclasses.replace(ega, name=f"e{n}", fields={"ega.epsilon": n}) for n in (1, 2)]
    varied = two_rows(rows=(study.rows[0], *strengths))
    epsilon = ["--config.ega.epsilon=3"]
    for rows in ((), ("e1",)):
        with pytest.raises(StudyError, match="config.ega.epsilon is what row e1 sets; leave it"):
            mode.study(varied, str(tmp_path), rows=rows, given=epsilon)
    assert len(mode.commands(varied, str(tmp_path), rows=("cam",), given=epsilon)) == 2
    assert len(mode.commands(varied, str(tmp_path), given=rate)) == 6  # this is for all alike


def test_the_folder_of_another_study(study, copied):
    assert mode.study(study, str(copied), jobs=0) == 0
    before = (copied / "study.md").read_text()
    other = dataclasses.replace(study, title="Another")
    with pytest.raises(StudyError, match="OUT is the folder of another study, 'Two rows'; choose"):
        mode.study(other, str(copied))
    assert (copied / "study.md").read_text() == before
    more = dataclasses.replace(study, seeds=(0, 1, 5, 6))
    assert mode.study(more, str(copied), jobs=0) == 0
    assert "(3 of 4 seeds)" in (copied / "study.md").read_text()


def test_trials_that_have_lost_are_no_failures_and_are_not_tried_again(tmp_path, monkeypatch):
    study = two_rows(search=Search({"optimizer.learning_rate": Choice((0.1, 0.2))}))
    asked = []

    class Quick:
        """Leaves results of every run, but of one trial whose loss is not finite."""

        def run(self, runs, done=None):
            asked.extend(run.name for run in runs)
            for run in runs:
                if run.name != "cam/search/1":
                    place = leave(tmp_path, run, top1_cls_err=50.0)
                    score_files.save(place / "scores_validation.npz", SCORES)
            lost = {run.name: "error: step 3: ce_clean not finite" for run in runs}
            return runner.Outcome({k: v for k, v in lost.items() if k == "cam/search/1"})

    monkeypatch.setattr(mode, "Runner", lambda folder, jobs: Quick())
    assert mode.study(study, str(tmp_path)) == 0
    assert asked[:4] == ["cam/search/0", "cam/search/1", "ega/search/0", "ega/search/1"]
    assert "not finite" not in (tmp_path / "study.md").read_text()
    asked.clear()
    assert mode.study(study, str(tmp_path)) == 0
    assert asked == ["cam/0", "ega/0", "cam/1", "ega/1"]
    other = two_rows(search=Search({"optimizer.learning_rate": Choice((0.3, 0.4))}))
    with pytest.raises(StudyError, match="holds a setting that the study does not try .any more.:"):
        mode.study(other, str(tmp_path))


def test_pages_that_cannot_be_written_do_not_end_the_runs(study, tmp_path, monkeypatch, caplog):
    def full(*arguments):
        raise StudyError("cannot read results.json")

    work = mode._Work(study, tmp_path, (), (), ())
    monkeypatch.setattr(mode.pages, "write", full)
    work._write_meanwhile({})
    assert "The pages are not up to date: cannot read results.json" in caplog.text


def test_buckets_have_no_locks(study):
    with pytest.raises(StudyError, match="--workdir=gs://b/x: a study needs a folder on a disk"):
        mode.study(study, "gs://b/x")
    listed = mode.commands(study, "gs://b/x/")
    assert listed[3].endswith(" --workdir=gs://b/x/ega/1")


@pytest.mark.slow
def test_the_table_of_copied_folders(study, copied):
    """With the study or, once it has written `study.json`, without: no run, no data, no path."""
    assert mode.study(study, str(copied), jobs=0) == 0
    made = cells(copied)
    assert made[0]["seeds"] == "0 1 5"  # those of somebody else's count too
    again = copied.with_name("AGAIN")
    shutil.copytree(copied, again)
    for page in ("study.csv", "study.md", "study.html"):
        (again / page).unlink()
    assert mode.study(None, str(again)) == 0
    assert cells(again) == made
    assert (again / "study.md").read_text() == (copied / "study.md").read_text()
    ega = [row for row in made if row["row"] == "ega"]
    assert all(float(row["low"]) <= float(row["high"]) for row in ega)


def test_a_column_that_no_run_has(study, copied, caplog):
    wrong = dataclasses.replace(study, metrics={**METRICS, "CorLoc": Metric("best/corloc")})
    assert mode.study(wrong, str(copied), jobs=0) == 0
    warnings = [r.message for r in caplog.records if r.message.startswith("No run has")]
    assert warnings == ["No run has test/best/corloc, the column CorLoc."]


def test_folders_without_a_study(study, tmp_path):
    with pytest.raises(StudyError, match="is not the folder of a study; give one, or --config"):
        mode.study(None, str(tmp_path))
    with pytest.raises(StudyError, match="has no results of a row of the study, as <row>/<seed>"):
        mode.study(study, str(tmp_path), jobs=0)
    (tmp_path / "study.json").write_text("[]")
    with pytest.raises(StudyError, match=r"study\.json: it does not describe a study"):
        mode.study(None, str(tmp_path))


def test_a_failed_run_is_in_the_table(study, copied, monkeypatch):
    monkeypatch.setattr(runner, "PROGRAM", (sys.executable, "-c", "raise SystemExit('full')"))
    shutil.rmtree(copied / "ega" / "1")
    assert mode.study(study, str(copied)) == 1
    text = (copied / "study.md").read_text()
    assert "| ega/1 | full |" in text and "| EGA (2 of 3 seeds) |" in text
    monkeypatch.setattr(runner, "PROGRAM", ("false",))
    assert mode.study(study, str(copied), seeds=["0"]) == 0  # those are all there


def test_another_run_is_not_in_the_table(study, copied, caplog):
    given = ["--config.ega.epsilon=3"]
    assert mode.study(study, str(copied), given=given) == 1
    text = (copied / "study.md").read_text()
    assert "| ega/0 | " in text and "config.ega.epsilon: the run has 1.0, asked for is 3.0" in text
    # CAM does not use what was set.
    assert {row["row"] for row in cells(copied) if row["mean"]} == {"cam"}


def test_seeds_that_were_trained_otherwise_are_not_averaged(study, copied):
    """Without the recipes: they are told from each other, and a field for all rows is theirs."""
    assert mode.study(study, str(copied), jobs=0) == 0
    everywhere = dataclasses.replace(study, fields={"eval.every_epochs": 0.5})
    for place in copied.glob("*/*/results.json"):
        evaluated(place.parent, eval__every_epochs=1.5)
    given = ["--config.eval.every_epochs=1.5"]
    assert mode.study(everywhere, str(copied), jobs=0, given=given) == 0
    assert mode.study(None, str(copied)) == 0
    evaluated(copied / "cam" / "1", optimizer__learning_rate=1.25)
    message = r"cam/1 was trained otherwise than .*cam/0: optimizer.learning_rate: .* -> 1.25; move"
    with pytest.raises(StudyError, match=message):
        mode.study(None, str(copied))


def test_runs_on_other_images_are_not_averaged(study, copied, caplog):
    """Of another `data.root`, say: that folders move is no difference, what was in them is."""
    for place, digest in (("cam/0", "a"), ("cam/1", "b"), ("ega/0", "a"), ("ega/1", "")):
        facts = {"train_images": 20, "train_digest": digest}
        (copied / place / "data.json").write_text(json.dumps(facts))
    assert mode.study(study, str(copied), jobs=0) == 0
    assert "cam/1 is not in the table: it was trained on other images than cam/0" in caplog.text
    seeds = {row["row"]: row["seeds"] for row in cells(copied)}
    assert seeds == {"cam": "0 5", "ega": "0 1 5"}  # of no images, or nobody knows: they count
    with pytest.raises(StudyError, match="cam/1 was trained on other images than .*cam/0; move"):
        mode.study(None, str(copied))
    (copied / "cam" / "1" / "data.json").unlink()
    facts["train_digest"] = "c"  # of all of another row
    for seed in (0, 1, 5):
        (copied / "ega" / str(seed) / "data.json").write_text(json.dumps(facts))
    assert mode.study(study, str(copied), jobs=0) == 0
    assert {row["row"]: row["seeds"] for row in cells(copied)}["ega"] == ""
    ega = dataclasses.replace(study.row("ega"), fields={"data.train_images": 4000})
    other = dataclasses.replace(study, rows=(study.row("cam"), ega))  # which is meant
    assert mode.study(other, str(copied), jobs=0) == 0
    assert {row["row"]: row["seeds"] for row in cells(copied)}["ega"] == "0 1 5"


def test_the_folder_of_a_run_is_no_place_for_a_study(study, tiny_run):
    with pytest.raises(ConfigError, match="is the folder of a training run"):
        mode.study(study, str(tiny_run[0]), jobs=0)


def evaluated(folder, **fields):
    """Leaves results in a folder of a run as if it had been evaluated with other fields."""
    results = json.loads((folder / "results.json").read_text())
    for name, value in fields.items():
        section, _, field = name.partition("__")
        results["config"][section][field] = value
    (folder / "results.json").write_text(json.dumps(results))


def test_results_of_another_evaluation_are_not_in_the_table(study, copied, caplog):
    evaluated(copied / "cam" / "1", reader__name="layer_cam")
    assert mode.study(study, str(copied), jobs=0) == 0
    assert "cam/1 is not in the table: its results are of other fields, reader.name:" in caplog.text
    assert {row["row"]: row["seeds"] for row in cells(copied)} == {"cam": "0 5", "ega": "0 1 5"}
    # Without the study's recipes they are known by the others, wherever their boxes lay.
    evaluated(copied / "cam" / "5", data__metadata="ELSEWHERE")
    message = "cam/1 has results of other fields than .*cam/0: reader.name: '' -> 'layer_cam'"
    with pytest.raises(StudyError, match=message):
        mode.study(None, str(copied))


def test_results_of_another_row_are_refused_without_the_recipes(study, copied):
    """All seeds of it are alike, but it is a row of another reader."""
    ega = dataclasses.replace(study.row("ega"), fields={"reader.name": "layer_cam"})
    study = dataclasses.replace(study, rows=(study.row("cam"), ega))
    assert mode.study(study, str(copied), jobs=0) == 0
    assert {row["row"] for row in cells(copied) if row["mean"]} == {"cam"}
    with pytest.raises(
        StudyError, match="ega/0 has results of config.reader.name=''.* but row ega"
    ):
        mode.study(None, str(copied))


@pytest.mark.slow
def test_stopped_and_called_again_it_ends_as_if_undisturbed(study, tiny_run, tmp_path, monkeypatch):
    """With the program itself, on the run that `tiny_run` is."""
    assert runner.PROGRAM == (sys.executable, "-m", "ega_jax.main")
    # It knows the network of the tests besides.
    monkeypatch.setattr(runner, "PROGRAM", (sys.executable, "-m", "tests.helpers.program"))
    given = [f"--config.{name}={value}" for name, value in TINY.items()]
    run = functools.partial(mode.study, study, str(tmp_path), rows=["ega"], seeds=["0"])
    saved = tmp_path / "ega" / "0" / "checkpoints" / "last"

    def stop():
        while not list(saved.glob("[0-9]*")):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop, daemon=True).start()
    assert run(given=given) == STOPPED
    assert not (tmp_path / "ega" / "0" / "results.json").exists()
    assert run(given=given) == 0
    assert "Going on from step" in (tmp_path / "ega" / "0" / runner.LOG).read_text()
    results = json.loads((tmp_path / "ega" / "0" / "results.json").read_text())
    assert results["test"] == json.loads(json.dumps(tiny_run[1]["test"]))
    (cell,) = [c for c in cells(tmp_path) if (c["row"], c["column"]) == ("ega", "Top-1 cls err")]
    assert float(cell["mean"]) == results["test"]["top1_cls_err"]
