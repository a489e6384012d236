"""The program as it is called: flags to exit codes and messages."""

import gc
import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from absl import app, flags
from absl import logging as absl_logging
from PIL import Image

from ega_jax import flags as program_flags
from ega_jax import main
from tests.helpers.paths import ROOT
from tests.helpers.runs import DRAWN, TINY

QUICKSTART = "--config=configs/quickstart.py"
STUDY = "--config=configs/studies/creatures.py"


DRAWN_FEW = [f"--config.{name}={TINY[name]}" for name in DRAWN]


@pytest.fixture
def run(capsys, monkeypatch, request, tmp_path_factory):
    """Calls the program with some flags: exit code and what it said on stderr.

    In a folder that has the recipes, and not the runs of whoever tests.
    """
    here = tmp_path_factory.mktemp("here")
    (here / "configs").symlink_to(request.config.rootpath / "configs")
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", list(sys.path))  # the program adds to it

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["ega_jax.main", *arguments])  # config_flags looks there
        flags.FLAGS.unparse_flags()
        for name in [name for name in flags.FLAGS if name.startswith("config.")]:
            delattr(flags.FLAGS, name)  # a process parses its config once; here it is many
        for name in ("config", "workdir", "mode", *program_flags._READ_BY):
            flags.FLAGS[name].unparse()
        try:
            code = main.main(program_flags.parse(sys.argv))
        except SystemExit as stop:
            if isinstance(stop.code, str):
                return 1, stop.code
            code = stop.code
        return code, capsys.readouterr().err

    return call


def fields(**overrides):
    return [f"--config.{name}={value}" for name, value in (TINY | overrides).items()]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([QUICKSTART, "--config.optimizer.lr=1"], "config.optimizer.lr: there is no such field"),
        (
            [QUICKSTART, "--config.learning_rat=1", "--config.seed=1"],
            "config.learning_rat: there is no such field; did you mean "
            "config.optimizer.learning_rate? All fields are in",
        ),
        ([QUICKSTART, "--config.cam.reader=grad_cam"], "is called config.reader.name now"),
        ([QUICKSTART, "--config.optimizer=sgd"], "config.optimizer is a section; set one of its"),
        ([QUICKSTART, "--config.ega.epsilon=8/255"], "grey levels of 0-255, so 8/255 of the range"),
        (["--config=configs/nowhere.py"], "configs/nowhere.py"),
        ([f"{QUICKSTART}:camm"], "error: configs/quickstart.py has no row 'camm'; choose one of"),
        ([QUICKSTART, "--config.seed=one"], "error: flag --config.seed=one: "),
        ([QUICKSTART, "--mod=eval"], "error: Unknown command line flag 'mod'. Did you mean: mode"),
        (
            ["--mode=predict", "--workdir=/nowhere", "--images=."],
            "no checkpoint 'last' in /nowhere",
        ),
        ([QUICKSTART, "--config.batch_size=0"], "config.batch_size=0: must be at least 1"),
        ([QUICKSTART, "--config.batch_size=many"], "must be at least 1, or auto"),
        pytest.param(
            [QUICKSTART, "--config.batch_size=auto", *DRAWN_FEW],
            "does not say how much memory it has",
            marks=pytest.mark.slow,
        ),
        (["--mode=compile", QUICKSTART, "--topology=v5e-16"], "must be like v5e:16x16"),
        (["--config=configs/folder.py"], "set --config.data.root"),
        (["--mode=study", QUICKSTART], "error: --config is a recipe; --mode=study takes a study, "),
        ([STUDY], "error: --config is a study; --mode=train takes a recipe"),
        (["--mode=study", f"{STUDY}:parts"], "creatures.py:parts: choose systems, ablation or all"),
        (["--mode=study", STUDY, "--rows=camm"], "error: there is no row 'camm'; there are cam,"),
        (["--mode", "study", STUDY, "--config.steps=x"], "flag --config.steps=x: invalid literal"),
    ],
)
def test_mistakes_are_said_in_one_line(run, arguments, message):
    code, said = run(*arguments)
    assert code == 1
    assert message in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--mode=train needs --config"),
        (["--mode=eval"], "--mode=eval needs --workdir, --config, or the path of a --checkpoint"),
        (["--mode=score"], "--mode=score needs --scoremaps and --metadata"),
        (["--mode=baseline"], "--mode=baseline needs --metadata"),
        (["--mode=report"], "--mode=report needs --workdir"),
        (["--mode=annotate", QUICKSTART], "--mode=annotate needs --images"),
        (["--mode=export"], "--mode=export needs --workdir, --config, or the path"),
        (
            ["--mode=annotate", QUICKSTART, "--merge=FILE", "--images=DIR"],
            "--merge is of pictures that are known; leave out --images",
        ),
        (["--workdir=runs/x"], "--mode=train needs --config"),
        (["--mode=compile", QUICKSTART], "--mode=compile needs --topology"),
        (["--mode=study"], "--mode=study needs --config=STUDY, or the --workdir of one"),
        (["--mode=study", STUDY, "--config.steps", "3"], "not understood: 3"),
        ([QUICKSTART, "surplus"], "not understood: surplus"),
        (
            ["--mode=eval", QUICKSTART, "--metadata=META"],
            "--mode=eval does not read --metadata, .*; a run has --config.data.metadata",
        ),
        ([QUICKSTART, "--config.epochs=9"], "--config.epochs does nothing beside config.steps=360"),
        ([QUICKSTART, "--jobs=2"], "--mode=train does not read --jobs, which is for study"),
        (
            ["--mode=figures", QUICKSTART, "--checkpoint=best"],
            "--mode=figures does not read --checkpoint, which is for train, eval, predict",
        ),
        (["--mode=study", "--workdir=runs/x", "--seeds=0"], "--seeds without --config=STUDY"),
        ([QUICKSTART, "--process_id=0"], "--process_id without --distributed"),
        (["--mode=predict", "--distributed"], "--mode=predict is for one process"),
        (
            [QUICKSTART, "--distributed", "--process_count=2", "--process_id=0"],
            "--distributed takes all of coordinator_address, process_count, process_id or none",
        ),
    ],
)
def test_missing_and_surplus_flags(run, arguments, message):
    with pytest.raises(main.app.UsageError, match=message):
        run(*arguments)


def test_unknown_row_is_named(run):
    with pytest.raises(flags.IllegalFlagValueError, match="no row 'camm'; choose one of"):
        flags.FLAGS.unparse_flags()
        flags.FLAGS(["ega_jax.main", f"{QUICKSTART}:camm"])


def test_a_recipe_finds_the_others_from_any_folder(tmp_path):
    """The package is installed, and the recipe is in a checkout elsewhere."""
    (tmp_path / "installed").mkdir()
    (tmp_path / "installed" / "ega_jax").symlink_to(ROOT / "ega_jax")
    (tmp_path / "with space").symlink_to(ROOT)
    said = subprocess.run(
        [
            *(sys.executable, "-P", "-c"),
            "import sys; from ega_jax import flags; flags.parse(sys.argv); print(flags.workdir())",
            f"--config={tmp_path}/with space/configs/photos.py:small",
        ],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
        cwd=tmp_path,
        text=True,
        capture_output=True,
    )
    assert (said.stdout, said.returncode) == ("runs/photos_small\n", 0), said.stderr


@pytest.mark.parametrize(
    ("config", "workdir"),
    [(QUICKSTART, "runs/quickstart"), (f"{QUICKSTART}:cam", "runs/quickstart_cam")],
)
def test_default_workdir_is_named_after_the_config(run, monkeypatch, config, workdir):
    from ega_jax.modes import train

    called = []
    monkeypatch.setattr(train, "train", lambda *args, **kwargs: called.append((args, kwargs)))
    assert run(config, "--config.seed=5", "--checkpoint=best")[0] == 0
    (((config, where), kwargs),) = called
    assert where == workdir
    assert config.seed == 5
    assert kwargs == {"checkpoint": "best"}


def test_fields_that_a_merge_does_not_read_are_refused(run, tiny_run):
    arguments = ["--mode=annotate", f"--workdir={tiny_run[0]}", "--merge=review.json"]
    with pytest.raises(app.UsageError, match="--config.annotate.format does nothing beside --mer"):
        run(*arguments, "--config.annotate.format=csv")


def test_a_workdir_is_no_damaged_checkpoint(run, tiny_run, tmp_path):
    from ega_jax.runtime import checkpoints

    assert checkpoints.find(tmp_path, str(tiny_run[0])) == checkpoints.find(tiny_run[0], "last")


def test_fields_without_a_recipe_change_the_config_of_the_run(run, tiny_run, tmp_path):
    workdir, results = tiny_run
    shutil.copytree(workdir, tmp_path / "run")
    arguments = ["--mode=eval", f"--workdir={tmp_path}/run"]
    assert run(*arguments, "--config.eval.threshold=0.3", "--config.eval.pictures=0")[0] == 0
    again = json.loads((tmp_path / "run" / "results.json").read_text())
    assert again["test"]["fixed"]["threshold"] == 0.3
    assert again["test"]["oracle"] == results["test"]["oracle"]
    assert again["config"]["eval"]["pictures"] == 0
    code, said = run(*arguments, "--config.seed=9")
    assert code == 1 and "config.seed: the run has 0, asked for is 9" in said
    code, said = run(*arguments, "--config.eval.tresh=0.3")
    assert code == 1 and "did you mean config.eval.threshold?" in said
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(pictures / "a.png")
    arguments = ["--mode=predict", f"--workdir={tmp_path}/run", f"--images={pictures}"]
    assert run(*arguments, "--config.predict.top_k=3")[0] == 0
    written = json.loads((tmp_path / "run" / "predictions.json").read_text())
    assert len(written["predictions"]) == 3


@pytest.mark.slow
def test_a_run_goes_on_without_its_recipe(run, tiny_run, tmp_path):
    workdir, _ = tiny_run
    shutil.copytree(workdir, tmp_path / "run")
    assert run(f"--workdir={tmp_path}/run", "--config.steps=7")[0] == 0
    assert json.loads((tmp_path / "run" / "results.json").read_text())["step"] == 7


@pytest.mark.slow
def test_a_copied_checkpoint_needs_a_place_for_its_results(run, tiny_run, tmp_path):
    workdir, results = tiny_run
    shutil.copytree(workdir / "checkpoints" / "last" / "6", tmp_path / "mine")
    arguments = ["--mode=eval", f"--checkpoint={tmp_path}/mine"]
    with pytest.raises(main.app.UsageError, match="is in no workdir; say with --workdir where"):
        run(*arguments)
    assert run(*arguments, f"--workdir={tmp_path}/out")[0] == 0
    again = json.loads((tmp_path / "out" / "results.json").read_text())
    assert again["test"] == results["test"]


@pytest.mark.parametrize("mode", ["score", "baseline"])
def test_scoring_leaves_training_runs_alone(run, tiny_run, tmp_path, mode):
    workdir, _ = tiny_run
    shutil.copytree(workdir, tmp_path / "run")
    before = (tmp_path / "run" / "results.json").read_bytes()
    maps = [f"--scoremaps={tmp_path}"] if mode == "score" else []
    code, said = run(f"--mode={mode}", f"--metadata={tmp_path}", *maps, f"--workdir={tmp_path}/run")
    assert code == 1 and "is the folder of a training run" in said
    assert (tmp_path / "run" / "results.json").read_bytes() == before


@pytest.mark.slow
def test_predict_needs_only_the_workdir_and_says_what_it_skipped(run, tiny_run, tmp_path):
    workdir, _ = tiny_run
    shutil.copytree(workdir, tmp_path / "run")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(pictures / "a.png")
    arguments = ["--mode=predict", f"--workdir={tmp_path}/run", f"--images={pictures}"]
    assert run(*arguments)[0] == 0
    (pictures / "b.png").write_bytes(b"no picture")
    code, _ = run(*arguments)
    assert code == main.SKIPPED
    written = json.loads((tmp_path / "run" / "predictions.json").read_text())
    assert [p["image_id"] for p in written["predictions"]] == ["a.png"]
    assert [p["image_id"] for p in written["skipped"]] == ["b.png"]


def test_libraries_say_no_more_where_the_workdir_alone_is_given(run, tiny_run):
    workdir, _ = tiny_run
    assert run("--mode=predict", f"--workdir={workdir}", "--images=/nowhere")[0] == 1
    assert not flags.FLAGS["verbosity"].using_default_value  # absl would take INFO for it
    assert flags.FLAGS.verbosity == absl_logging.WARNING


def test_eval_needs_only_the_workdir(run, tiny_run, tmp_path):
    workdir, results = tiny_run
    shutil.copytree(workdir, tmp_path / "run")
    (tmp_path / "run" / "results.json").unlink()
    assert run("--mode=eval", f"--workdir={tmp_path}/run")[0] == 0
    again = json.loads((tmp_path / "run" / "results.json").read_text())
    assert again["test"] == results["test"]


def test_report_needs_only_the_workdir(run, tiny_run, tmp_path):
    pytest.importorskip("jinja2")
    for name in ("run", "other"):
        shutil.copytree(tiny_run[0], tmp_path / name)
    (tmp_path / "run" / "report.html").unlink(missing_ok=True)
    assert run("--mode=report", f"--workdir={tmp_path}/run")[0] == 0
    assert (tmp_path / "run" / "report.html").exists()
    compared = f"--workdir={tmp_path}/run", f"--compare={tmp_path}/other"
    assert run("--mode=report", *compared)[0] == 0
    assert (tmp_path / "run" / "compare_other.html").exists()
    code, said = run("--mode=report", f"--workdir={tmp_path}/nowhere")
    assert code == 1 and "nowhere has no results.json" in said


def test_export_needs_only_the_workdir(run, tiny_run, tmp_path):
    shutil.copytree(tiny_run[0], tmp_path / "run")
    assert run("--mode=export", f"--workdir={tmp_path}/run", "--config.predict.size=40")[0] == 0
    facts = json.loads((tmp_path / "run" / "export" / "network.json").read_text())
    assert facts["images"]["shape"] == ["batch", 40, 40, 3]
    code, said = run("--mode=export", f"--workdir={tmp_path}/nowhere")
    assert code == 1 and "no checkpoint 'last' in" in said


@pytest.mark.slow
def test_eval_of_a_damaged_checkpoint(run, tiny_run, tmp_path):
    workdir, _ = tiny_run
    shutil.copytree(workdir, tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "last" / "6" / "manifest" / "metadata").write_text("{")
    code, said = run("--mode=eval", f"--workdir={tmp_path}/run")
    assert code == 1
    assert "last/6 is damaged" in said and "last/4" in said
    assert run("--mode=eval", f"--workdir={tmp_path}/run", "--checkpoint=4")[0] == 0


def test_inspect_leaves_sheets_and_figures(run, tmp_path):
    arguments = ["--mode=inspect", QUICKSTART, f"--workdir={tmp_path}", *fields()]
    assert run(*arguments)[0] == 0
    names = {path.name for path in (tmp_path / "data").iterdir()}
    assert names == {
        f"creatures_{s}.{e}" for s in ("train", "val", "test") for e in ("png", "json")
    }


def write_split(folder):
    """Metadata of one image with a box in its upper left quarter."""
    (folder / "image_ids.txt").write_text("a.jpg")
    (folder / "class_labels.txt").write_text("a.jpg,0")
    (folder / "image_sizes.txt").write_text("a.jpg,20,20")
    (folder / "localization.txt").write_text("a.jpg,0,0,9,9")


def test_score_from_the_command_line(run, tmp_path):
    write_split(tmp_path)
    np.save(tmp_path / "a.jpg.npy", np.pad(np.ones((112, 112)), (0, 112)))
    arguments = [f"--{name}={tmp_path}" for name in ("scoremaps", "metadata", "workdir")]
    assert run("--mode=score", *arguments)[0] == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["test"]["fixed"]["corloc_err"] == 0.0
    assert results["intervals"]["test"]["fixed"]["corloc_err"] == [0.0, 0.0]


def test_scoring_by_a_recipe_has_a_folder_of_its_own(run, tmp_path):
    """And maps of 224 pixels unless `eval.map_size` says otherwise, whatever the crops' size."""
    write_split(tmp_path)
    np.save(tmp_path / "a.jpg.npy", np.pad(np.ones((112, 112)), (0, 112)))
    arguments = [f"--{name}={tmp_path}" for name in ("scoremaps", "metadata")]
    recipe = ["--config=configs/folder.py", "--config.eval.bootstrap=0"]
    assert run("--mode=score", *recipe, *arguments)[0] == 0
    results = json.loads(pathlib.Path("runs/folder_score/results.json").read_text())
    assert "intervals" not in results and results["map_size"] == 224
    assert run("--mode=score", *recipe, "--config.eval.map_size=56", *arguments)[0] == 0
    results = json.loads(pathlib.Path("runs/folder_score/results.json").read_text())
    assert results["map_size"] == 56
    assert run("--mode=baseline", *recipe, *arguments[1:])[0] == 0
    assert pathlib.Path("runs/folder_baseline/results.json").exists()
    assert not pathlib.Path("runs/folder").exists()


def test_baseline_from_the_command_line(run, tmp_path):
    write_split(tmp_path)
    arguments = [f"--{name}={tmp_path}" for name in ("metadata", "workdir")]
    code, said = run("--mode=baseline", *arguments)
    assert code == 0
    results = json.loads((tmp_path / "results.json").read_text())
    for line in ("centre_gaussian", "centre_box"):
        assert f"{line}, test:" in said
        assert results[line]["test"]["oracle"]["max_box_acc"]["50"] == 0.0  # in the corner
    (tmp_path / "localization.txt").write_text("a.jpg,a.png,")
    code, said = run("--mode=baseline", f"--masks={tmp_path}/masks", *arguments)
    assert code == 1
    assert "masks/a.png" in said and "Traceback" not in said


@pytest.mark.parametrize("mode", ["train", "score"])
def test_a_workdir_that_is_a_file(run, tmp_path, mode):
    write_split(tmp_path)
    np.save(tmp_path / "a.jpg.npy", np.pad(np.ones((112, 112)), (0, 112)))
    (tmp_path / "taken").write_text("")
    arguments = [f"--workdir={tmp_path}/taken", f"--mode={mode}"]
    if mode == "train":
        arguments += [QUICKSTART, *fields()]
    else:
        arguments += [f"--{name}={tmp_path}" for name in ("scoremaps", "metadata")]
    code, said = run(*arguments)
    assert code == 1
    assert f"error: {tmp_path}/taken" in said and "choose another with --workdir" in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_a_run_whose_checkpoint_could_not_be_written_has_no_results(run, tmp_path, monkeypatch):
    from ega_jax.runtime import checkpoints

    def fail(self):
        raise checkpoints.CheckpointError("a checkpoint could not be written")

    monkeypatch.setattr(checkpoints.Checkpoints, "wait", fail)
    code, said = run(QUICKSTART, f"--workdir={tmp_path}/run", *fields(steps=1))
    assert code == 1 and "could not be written" in said
    assert not (tmp_path / "run" / "results.json").exists()


def test_a_study_lists_its_commands(run, monkeypatch):
    said = []
    monkeypatch.setattr(main, "print", said.append, raising=False)
    code, _ = run("--mode=study", STUDY, "--list", "--rows=ega", "--config.steps=3", "--seeds=4")
    assert code == 0
    assert said == [
        "python -m ega_jax.main --config=configs/quickstart.py:ega --config.eval.every_epochs=0.0 "
        "--config.seed=4 --config.steps=3 --workdir=runs/creatures/ega/4"
    ]


def test_garbage_is_not_looked_for_in_what_is_imported():
    before = gc.get_freeze_count()
    with pytest.raises(ImportError), main._importing():
        assert not gc.isenabled()
        raise ImportError
    assert gc.isenabled() and gc.get_freeze_count() > before
