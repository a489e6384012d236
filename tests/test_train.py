"""Whole runs on a few tiny creatures: from config to results, stopped, killed and resumed."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from configs import quickstart
from ega_jax import checkpoints, train

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]


def tiny(row="ega", **fields):
    """A run of some seconds; `fields` override by dotted name."""
    config = quickstart.get_config(row)
    config.update_from_flattened_dict(
        {
            "batch_size": 8,
            "steps": 6,
            "log_every_steps": 2,
            "data.train_images": 20,
            "data.val_images": 10,
            "data.test_images": 10,
            "data.crop_size": 32,
            "data.resize_size": 36,
            "model.width": 0.03,
            "checkpoint.every_steps": 2,
            "eval.batch_size": 8,
            "eval.every_epochs": 1.0,
            "eval.pictures": 3,
            "optimizer.warmup_epochs": 0.0,
        }
        | fields
    )
    return config


def final_arrays(workdir):
    """The last checkpoint's arrays by checksum: equal means bit-identical."""
    manifest = checkpoints.read_manifest(checkpoints.find(workdir, "last"))
    return {name: entry["crc32"] for name, entry in manifest["arrays"].items()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed")
    results = train.train(tiny(), str(workdir))
    return workdir, results


def test_run_leaves_results_pictures_checkpoints_and_events(undisturbed):
    workdir, results = undisturbed
    on_disk = json.loads((workdir / "results.json").read_text())
    assert on_disk == json.loads(json.dumps(results))
    assert on_disk["step"] == 6
    assert on_disk["config"]["steps"] == 6
    test = on_disk["test"]
    assert test["images"] == 10
    assert {"fixed", "val", "oracle", "pxap", "top1_cls_err"} <= test.keys()
    assert test["fixed"]["threshold"] == 0.2
    assert {"30", "50", "70"} == test["oracle"]["max_box_acc"].keys()
    assert test["oracle"]["corloc_err"] <= test["val"]["corloc_err"]
    assert on_disk["seconds"] > 0 and on_disk["images_per_second"] > 0
    assert (workdir / "pictures" / "boxes.png").stat().st_size > 1000
    assert (workdir / "pictures" / "masks.png").stat().st_size > 1000
    assert list(workdir.glob("events.out.tfevents.*"))
    assert checkpoints.find(workdir, "last").name == "6"
    assert checkpoints.find(workdir, "best").name in ("2", "5", "6")
    assert json.loads((workdir / "classes.json").read_text())[0].isidentifier()


def test_finished_run_is_only_evaluated_again(undisturbed):
    workdir, results = undisturbed
    before = final_arrays(workdir)
    again = train.train(tiny(), str(workdir))
    assert again["test"] == results["test"]
    assert final_arrays(workdir) == before


def test_step_compiles_once(tmp_path):
    trainer = train.Trainer(tiny(), str(tmp_path))
    with checkpoints.Checkpoints(tmp_path, keep=2) as saved:
        state = trainer.start(saved, "last")
        with train.metric_writers.SummaryWriter(str(tmp_path)) as writer:
            trainer.loop(state, saved, writer)
            trainer.validate(trainer.restore(checkpoints.find(tmp_path, "6")), saved, writer)
    assert trainer.step._cache_size() == 1
    assert trainer.evaluator.step._cache_size() == 1


def run_main(workdir, *flags, kill_after=None):
    """Runs the program as a user does; `kill_after` (text in its log, signal) stops it."""
    environment = {**os.environ, "XLA_FLAGS": "", "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "ega_jax.main", f"--workdir={workdir}", *flags]
    process = subprocess.Popen(
        command, env=environment, cwd=REPOSITORY, text=True, stderr=subprocess.PIPE
    )
    lines = []
    for line in process.stderr:
        lines.append(line)
        if kill_after and kill_after[0] in line:
            process.send_signal(kill_after[1])
            kill_after = None
    return process.wait(), "".join(lines)
