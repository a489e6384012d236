"""Whole runs on a few tiny creatures: from config to results, stopped, killed and resumed."""

import json
import shutil
import subprocess
import sys
import types

import jax
import numpy as np
import pytest
from clu import metric_writers

from ega_jax.evaluation.scores import Scores
from ega_jax.modes import evaluate, train
from ega_jax.report.figures import charts
from ega_jax.report.page import available
from ega_jax.report.runs import read_run
from ega_jax.runtime import checkpoints, sharding
from ega_jax.runtime.errors import ConfigError
from ega_jax.runtime.memory import OutOfMemoryError
from ega_jax.runtime.nested import flatten
from ega_jax.training import progress, steps
from tests.helpers import compilation
from tests.helpers.paths import ROOT
from tests.helpers.runs import TINY, final_arrays, tiny


def test_run_leaves_results_pictures_checkpoints_and_events(tiny_run):
    workdir, results = tiny_run
    on_disk = json.loads((workdir / "results.json").read_text())
    assert on_disk == json.loads(json.dumps(results))
    assert on_disk["step"] == 6
    assert on_disk["config"]["steps"] == 6
    test = on_disk["test"]
    assert test["images"] == 10
    assert {"fixed", "val", "oracle", "pxap", "in_boxes", "in_masks", "top1_cls_err"} <= test.keys()
    assert all(0 <= share <= 100 for share in test["in_masks"].values())
    assert isinstance(on_disk["warnings"], list)
    assert test["fixed"]["threshold"] == 0.2
    assert {"30", "50", "70"} == test["oracle"]["max_box_acc"].keys()
    assert test["oracle"]["corloc_err"] <= test["val"]["corloc_err"]
    assert on_disk["seconds"] > 0 and on_disk["images_per_second"] > 0
    assert on_disk["eval_images_per_second"] > 0
    assert on_disk["device"] == {"platform": "cpu", "kind": "cpu", "number": 4}
    assert (workdir / "pictures" / "boxes.png").stat().st_size > 1000
    assert (workdir / "pictures" / "masks.png").stat().st_size > 1000
    assert on_disk["intervals"].keys() == {"validation", "test"}
    low, high = on_disk["intervals"]["test"]["val"]["corloc_err"]
    assert 0 <= low <= high <= 100
    for split in ("validation", "test"):
        assert len((workdir / f"per_image_{split}.csv").read_text().splitlines()) == 11
        assert (workdir / f"per_class_{split}.csv").exists()
    assert list(workdir.glob("events.out.tfevents.*"))
    reported = read_run(workdir)
    assert len(reported.curves["train/loss"]) == 3 and len(reported.kept["image_ids"]) == 10
    assert [chart.title for chart in charts([reported])][:2] == ["Loss", "Validation"]
    assert (workdir / "report.html").exists() == available()
    assert len(list(workdir.glob("plugins/profile/*/*.xplane.pb"))) == 1
    assert checkpoints.find(workdir, "last").name == "6"
    assert checkpoints.find(workdir, "best").name in ("5", "6")
    assert json.loads((workdir / "classes.json").read_text())[0].isidentifier()


def test_finished_run_is_only_evaluated_again(tiny_run):
    workdir, results = tiny_run
    before = final_arrays(workdir)
    again = train.train(tiny(), str(workdir))
    assert again["test"] == results["test"]
    assert final_arrays(workdir) == before


def test_the_seed_of_the_run_is_that_of_weights_images_and_steps(tmp_path, monkeypatch):
    told, kernels = [], []

    def batches(source, **settings):
        told.append(settings["seed"])
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "train_batches", batches)
    for seed in (0, 3):
        trainer = train.Trainer(tiny("cam", seed=seed), str(tmp_path))
        told.append(trainer.step.__wrapped__.keywords["seed"])
        with (
            checkpoints.Checkpoints(tmp_path, keep=1) as saved,
            pytest.raises(KeyboardInterrupt),
        ):
            state = trainer.start(saved)
            kernels.append(np.asarray(state.params["head"]["classifier"]["kernel"]))
            trainer.loop(state, saved, metric_writers.MultiWriter([]))
    assert told == [0, 0, 3, 3]
    assert (kernels[0] != kernels[1]).mean() > 0.9


@pytest.mark.slow
def test_step_compiles_once(tmp_path):
    trainer = train.Trainer(tiny(), str(tmp_path))
    with checkpoints.Checkpoints(tmp_path, keep=2) as saved:
        state = trainer.start(saved)
        writer = metric_writers.MultiWriter([])
        state = trainer.loop(state, saved, writer)
        trainer.validate(state, saved, writer)
    assert trainer.step._cache_size() == 1
    assert trainer.evaluator.step._cache_size() == 1


@pytest.mark.slow
def test_inverted_maps_are_told_of_and_are_not_the_best(tmp_path, monkeypatch, caplog):
    """Scored as 1 - mask, which MaxBoxAccV2 takes for nearly perfect."""

    def score(variables, source, **kwargs):
        scores = Scores.empty(source, trainer.evaluator.thresholds)
        for index in range(len(source)):
            mask, _ = source.load_mask(index, 32)
            scores.add(source, index, 1.0 - mask, np.eye(10)[0])
        return scores, {}

    trainer = train.Trainer(tiny(), str(tmp_path))
    monkeypatch.setattr(trainer.evaluator, "score", score)
    with checkpoints.Checkpoints(tmp_path, keep=2) as saved:
        trainer.loop(trainer.start(saved), saved, metric_writers.MultiWriter([]))
        assert saved.best_score == 0.0
    (warning,) = [r.message for r in caplog.records if "brighter outside" in r.message]
    assert warning.startswith("Step 5, val: 100 % of the maps are brighter outside the true boxes")


@pytest.mark.slow
def test_going_on_from_an_older_checkpoint_sets_the_later_ones_aside(tmp_path, tiny_run):
    original, _ = tiny_run
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    train.train(tiny(), str(tmp_path), checkpoint="4")
    assert final_arrays(tmp_path) == final_arrays(original)
    assert (tmp_path / "checkpoints" / "set_aside" / "last" / "6.0").is_dir()


@pytest.mark.slow
@pytest.mark.slow
def test_going_on_without_a_step_leaves_a_last_checkpoint(tmp_path, tiny_run):
    """In another workdir, and from the best where the run is to have no more steps."""
    checkpoint = checkpoints.find(tiny_run[0], "last")
    train.train(tiny(), str(tmp_path / "other"), checkpoint=str(checkpoint))
    assert checkpoints.find(tmp_path / "other", "last").name == checkpoint.name
    assert final_arrays(tmp_path / "other") == final_arrays(tiny_run[0])

    shutil.copytree(tiny_run[0], tmp_path / "run")
    (best,) = (tmp_path / "run" / "checkpoints" / "best").iterdir()
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "last" / best.name, ignore_errors=True)
    with pytest.raises(ConfigError, match=r"last/. has made . steps, and the run is to have 2; go"):
        train.train(tiny(steps=2), str(tmp_path / "run"))
    train.train(tiny(steps=int(best.name)), str(tmp_path / "run"), checkpoint="best")
    assert checkpoints.find(tmp_path / "run", "last").name == best.name


def test_damaged_checkpoint_is_refused_and_an_older_one_can_be_chosen(tmp_path, tiny_run):
    original, _ = tiny_run
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    newest = tmp_path / "checkpoints" / "last" / "6"
    largest = max((p for p in newest.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])
    with pytest.raises(checkpoints.CheckpointError, match=r"last/6 is damaged(.|\n)*last/4"):
        train.train(tiny(), str(tmp_path))
    train.train(tiny(), str(tmp_path), checkpoint="4")
    assert final_arrays(tmp_path) == final_arrays(original)


@pytest.mark.slow
def test_non_finite_loss_stops_names_the_terms_and_keeps_the_last_good_state(tmp_path):
    config = tiny(
        **{"optimizer.learning_rate": 1e18, "model.batch_norm": False, "checkpoint.every_steps": 1}
    )
    with pytest.raises(progress.NonFiniteLoss, match=r"step \d: .*ce_clean.*learning_rate"):
        train.train(config, str(tmp_path))
    path = checkpoints.find(tmp_path, "last")
    trainer = train.Trainer(config, str(tmp_path))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(trainer.restore(path).params))
    assert not (tmp_path / "results.json").exists()
    assert "ce_clean" in (tmp_path / progress.LOST).read_text()


@pytest.mark.slow
def test_class_folders_alone_are_enough_to_train(tmp_path):
    """Without anything to validate or test with."""
    fields = {"data.val_images": 0, "data.test_images": 0, "steps": 1}
    results = train.train(tiny("cam", **fields), str(tmp_path))
    assert results["step"] == 1 and not {"validation", "test"} & results.keys()
    assert (tmp_path / "results.json").exists()
    assert (tmp_path / "report.html").exists() == available()


@pytest.mark.slow
@pytest.mark.parametrize(("every", "expected"), [(0.01, [1, 2]), (2.0, []), (0.0, [])])
def test_often_is_not_never(tmp_path, monkeypatch, every, expected):
    """Less than a step apart is after every step; the last one is validated when all is done."""
    trainer = train.Trainer(tiny(**{"eval.every_epochs": every, "steps": 3}), str(tmp_path))
    looked = []

    def validate(state, *others):
        looked.append(int(state.step))
        return types.SimpleNamespace(figures=lambda threshold: {})

    monkeypatch.setattr(trainer, "validate", validate)
    monkeypatch.setattr(train, "inversion", lambda figures: "")
    with checkpoints.Checkpoints(tmp_path, keep=2) as saved:
        trainer.loop(trainer.start(saved), saved, metric_writers.MultiWriter([]))
    assert looked == expected


@pytest.mark.slow
def test_a_state_that_a_bad_loss_has_spoilt_is_not_the_best_either(tmp_path):
    seldom = dict.fromkeys(("checkpoint.every_steps", "log_every_steps"), 1000)
    config = tiny(**{"optimizer.learning_rate": 1e18, "model.batch_norm": False} | seldom)
    with pytest.raises(progress.NonFiniteLoss, match="ce_clean"):  # at the first validation
        train.train(config, str(tmp_path))
    for which in ("last", "best"):
        with pytest.raises(checkpoints.CheckpointError):
            checkpoints.find(tmp_path, which)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"batch_size": 6}, "config.batch_size=6: does not divide over 4 devices.*4 or 8"),
        ({"accumulate": 3}, "batch_size=8: .* over 4 devices in accumulate=3 parts; set it to 12"),
        ({"eval.batch_size": 9}, "config.eval.batch_size=9: does not divide over 4 devices"),
        ({"data.crop_size": 30}, "config.data.crop_size=30: must be a multiple"),
        ({"ega.probability": "softmax"}, "config.ega.probability='softmax': must be one of minmax"),
    ],
)
def test_impossible_config_is_found_before_anything_is_written(tmp_path, fields, message):
    with pytest.raises(ConfigError, match=message):
        train.train(tiny(**fields), str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_one_device_and_four_give_the_same_run(tmp_path, monkeypatch):
    """The whole way, at a rate that does not blow rounding up, nor do signs of an attack.

    tests/training/test_steps.py has single steps with the attack, to 1e-5.
    """
    calm = tiny("entropy", **{"model.width": 0.06, "optimizer.learning_rate": 0.01, "steps": 4})
    four = train.train(calm, str(tmp_path / "four"))
    monkeypatch.setattr(train, "Placement", lambda: sharding.Placement(jax.devices()[:1]))
    one = train.train(calm, str(tmp_path / "one"))
    close_to_each_other(calm, tmp_path, "one", "four")
    assert flatten(one["test"]) == pytest.approx(flatten(four["test"]), abs=1e-3)


@pytest.mark.slow
def test_as_it_is_compiled_for_users(tmp_path):
    """All other tests compile quickly: what is computed does not depend on it."""
    fields = {"steps": 3, "eval.every_epochs": 0.0, "optimizer.learning_rate": 0.01}
    calm = tiny("cam", **fields)
    train.train(calm, str(tmp_path / "quick"))
    flags = [f"--config.{name}={value}" for name, value in (TINY | fields).items()]
    subprocess.run(
        [
            *(sys.executable, "-m", "tests.helpers.program", "--config=configs/quickstart.py:cam"),
            *(f"--workdir={tmp_path / 'thorough'}", "--cpu_devices=2", *flags),
        ],
        env=compilation.thorough() | {"PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    close_to_each_other(calm, tmp_path, "quick", "thorough")


def close_to_each_other(config, folder, *names):
    """Compares two runs below a folder: apart by a small share of how far they have come."""
    trainer = train.Trainer(config, str(folder / "new"))
    with checkpoints.Checkpoints(folder / "new", keep=1) as saved:
        start = trainer.start(saved)
    ends = [trainer.restore(checkpoints.find(folder / name, "last")) for name in names]
    for before, a, b in zip(*map(jax.tree.leaves, (start, *ends)), strict=True):
        moved, apart = (np.linalg.norm(np.subtract(a, other)) for other in (before, b))
        assert apart <= 0.03 * moved  # a share that a device's images would miss is far more


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [4, 12])
def test_evaluation_does_not_depend_on_the_batch_size(tiny_run, tmp_path, batch_size):
    """But for the last bits of the maps, which move energies and pixels from bin to bin of PxAP."""
    original, results = tiny_run
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    again = evaluate.evaluate(tiny(**{"eval.batch_size": batch_size}), str(tmp_path))
    for split in ("test", "validation"):
        figures, expected = flatten(again[split]), flatten(results[split])
        for name in ("pxap", "in_boxes/energy", "in_masks/energy"):
            assert figures.pop(name) == pytest.approx(expected.pop(name), abs=1e-3)
        assert figures == expected


@pytest.mark.slow
def test_ten_crops_are_reported_beside_the_whole_image(tiny_run, tmp_path, monkeypatch):
    """They alone tell the class: here they know it, which the network does not."""

    def known(variables, batch, *, model):
        assert batch["image"].shape[1:] == (10, 32, 32, 3)
        return {"probabilities": jax.nn.one_hot(batch["label"], 10)}

    monkeypatch.setattr(steps, "crops_step", known)
    original, results = tiny_run
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    test = evaluate.evaluate(tiny(**{"eval.ten_crop": True}), str(tmp_path))["test"]
    assert test["top1_cls_err_single"] == results["test"]["top1_cls_err"]
    assert test["fixed"]["corloc_err"] == results["test"]["fixed"]["corloc_err"]
    assert test["top1_cls_err"] == 0 < test["top1_cls_err_single"]
    assert test["fixed"]["top1_loc_err"] == test["fixed"]["corloc_err"]


@pytest.mark.slow
def test_each_row_of_the_quickstart_is_what_it_says(tmp_path):
    """What is off costs nothing: no auxiliary branch, no term in the loss."""
    terms = {}
    for row in ("cam", "adversarial", "entropy", "ega"):
        trainer = train.Trainer(tiny(row), str(tmp_path))
        state = jax.eval_shape(trainer.init, jax.random.key(0))
        batch = {
            "image": jax.ShapeDtypeStruct((8, 32, 32, 3), np.uint8),
            "label": jax.ShapeDtypeStruct((8,), np.int32),
            "mask": jax.ShapeDtypeStruct((8,), bool),
        }
        _, sums = jax.eval_shape(trainer.step, state, batch)
        terms[row] = {name for name in sums if name.startswith(("ce_", "entropy_"))}
        assert ("batch_stats_aux" in state.model_state) == (row in ("adversarial", "ega"))
    assert terms == {
        "cam": {"ce_clean"},
        "adversarial": {"ce_clean", "ce_adv"},
        "entropy": {"ce_clean", "entropy_clean"},
        "ega": {"ce_clean", "ce_adv", "entropy_clean", "entropy_adv"},
    }


def test_head_modules_that_do_not_exist(tmp_path):
    config = tiny(**{"optimizer.head_modules": ("layer4", "head")})
    with pytest.raises(ConfigError, match="no module .* begins with 'layer4'; there are conv1_2"):
        train.Trainer(config, str(tmp_path))


def test_training_out_of_memory_names_the_fields_that_help(tmp_path, monkeypatch):
    def exhausted(*args):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\nx")

    monkeypatch.setattr(train, "jit_train_step", lambda *args: exhausted)
    with pytest.raises(OutOfMemoryError) as error:
        train.train(tiny(accumulate=2), str(tmp_path))
    assert "\n" not in str(error.value)
    for field in ("batch_size=8", "accumulate=2", "remat=none"):
        assert f"config.{field}" in str(error.value)
