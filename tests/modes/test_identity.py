"""No command puts another run's name on a run's weights, or replaces its results."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from configs import folder
from ega_jax.config import store
from ega_jax.modes import evaluate, predict, train
from ega_jax.runtime import checkpoints
from ega_jax.runtime.errors import ConfigError
from tests.helpers.runs import TINY, final_arrays, tiny


@pytest.fixture
def run(tiny_run, tmp_path):
    """A finished run of its own: workdir and results."""
    original, results = tiny_run
    workdir = tmp_path / "run"
    shutil.copytree(original, workdir)
    return workdir, results


def contents(workdir):
    """All files that say what a run is and what it came to."""
    return {path.name: path.read_bytes() for path in workdir.glob("[!.]*.*") if path.is_file()}


@pytest.mark.parametrize("mode", ["train", "eval", "predict"])
@pytest.mark.parametrize(
    "fields",
    [
        {"seed": 5, "method": "has", "optimizer.learning_rate": 0.5},
        {"batch_size": 16},
        {"data.seed": 1},
        {"data.num_classes": 5},
        {"model.input_scaling": "signed"},  # all shapes would fit
    ],
)
def test_a_finished_run_keeps_its_name(run, mode, fields):
    workdir, _ = run
    before = contents(workdir)
    config = tiny(**fields, **({"ega.enabled": False} if "method" in fields else {}))
    call = {
        "train": lambda: train.train(config, str(workdir)),
        "eval": lambda: evaluate.evaluate(config, str(workdir)),
        "predict": lambda: predict.predict(config, str(workdir), str(workdir / "pictures")),
    }[mode]
    with pytest.raises(ConfigError) as refused:
        call()
    for name, value in fields.items():
        assert f"config.{name}: the run has " in str(refused.value)
        assert f"asked for is {value!r}" in str(refused.value)
    assert contents(workdir) == before


def test_what_changes_is_logged_and_written(run, caplog):
    workdir, _ = run
    with caplog.at_level("INFO", logger="ega_jax"):
        train.train(tiny(**{"log_every_steps": 1, "eval.pictures": 1}), str(workdir))
    assert "Going on with config.eval.pictures: 3 -> 1." in caplog.text
    assert "Going on with config.log_every_steps: 2 -> 1." in caplog.text
    assert store.load(workdir).eval.pictures == 1


def class_folders(root, names, count=6):
    rng = np.random.default_rng(0)
    for name in names:
        (root / name).mkdir(parents=True)
        for i in range(count):
            picture = rng.integers(0, 256, (40, 40, 3), np.uint8)
            Image.fromarray(picture).save(root / name / f"{i}.png")
    return root


def folder_config(root):
    config = folder.get_config()
    wanted = {name: value for name, value in TINY.items() if not name.startswith("data.")}
    config.update_from_flattened_dict(
        wanted | {"data.root": str(root), "data.crop_size": 32, "data.resize_size": 36, "steps": 2}
    )
    return config


@pytest.mark.slow
def test_another_data_set_in_the_same_workdir(tmp_path):
    """Trained on cats and dogs, called again with apples and pears, then with other cats."""
    workdir = tmp_path / "run"
    first = class_folders(tmp_path / "first", ("cat", "dog"))
    train.train(folder_config(first), str(workdir))
    before = contents(workdir)
    other = class_folders(tmp_path / "other", ("apple", "pear"))
    with pytest.raises(ConfigError, match="other classes: class 0 was 'cat' and is 'apple'"):
        train.train(folder_config(other), str(workdir))
    more = class_folders(tmp_path / "more", ("cat", "dog"), count=7)
    with pytest.raises(ConfigError, match="other images: 12 then, 14 now"):
        train.train(folder_config(more), str(workdir))
    assert contents(workdir) == before
    path = str(checkpoints.find(workdir, "last"))
    with pytest.raises(ConfigError, match=r"'apple'\. .*, or train anew, without --checkpoint"):
        train.train(folder_config(other), str(tmp_path / "new"), checkpoint=path)
    with pytest.raises(ConfigError, match="other images: 12 then, 14 now"):
        train.train(folder_config(more), str(tmp_path / "new"), checkpoint=path)
    moved = tmp_path / "moved"
    first.rename(moved)
    train.train(folder_config(moved), str(workdir))  # the same pictures elsewhere
    assert store.load(workdir).data.root == str(moved)


def test_a_run_that_never_saved_may_begin_again_as_another(tmp_path):
    store.save(tmp_path, tiny(seed=3), ("a", "b"), {"train_images": 1, "train_digest": ""})
    trainer = train.Trainer(tiny(), str(tmp_path))
    with trainer.checkpoints() as saved:
        trainer.start(saved)
    assert store.load(tmp_path).seed == 0


@pytest.mark.slow
@pytest.mark.parametrize("place", ["set aside", "copied"])
def test_a_checkpoint_knows_what_it_is_wherever_it_lies(run, tmp_path, place):
    workdir, results = run
    path = checkpoints.find(workdir, "last")
    if place == "set aside":
        target = workdir / "checkpoints" / "set_aside" / "last" / "6.0"
        target.parent.mkdir(parents=True)
        shutil.move(path, target)
    else:
        target = tmp_path / "elsewhere" / "mine"
        target.parent.mkdir()
        shutil.copytree(path, target)
        shutil.rmtree(workdir)
    out = tmp_path / "out"
    again = evaluate.evaluate(tiny(), str(out), checkpoint=str(target))
    assert again["test"] == results["test"]
    assert again["step"] == 6 and again["checkpoint"] == str(target)
    with pytest.raises(ConfigError, match="seed: the run has 0"):
        evaluate.evaluate(tiny(seed=1), str(out), checkpoint=str(target))


def test_results_of_one_run_do_not_go_into_the_folder_of_another(run, tmp_path):
    workdir, _ = run
    other = tmp_path / "other"
    store.save(other, tiny(seed=3), store.load_class_names(workdir), {})
    before = contents(other)
    path = str(checkpoints.find(workdir, "last"))
    with pytest.raises(ConfigError, match="seed: the run has 3, asked for is 0"):
        evaluate.evaluate(tiny(), str(other), checkpoint=path)
    with pytest.raises(ConfigError, match="seed: the run has 3, asked for is 0"):
        train.train(tiny(), str(other), checkpoint=path)
    assert contents(other) == before


@pytest.mark.slow
def test_the_best_checkpoint_is_the_one_that_is_asked_for(run):
    """By the config, in every mode; not silently the last one."""
    workdir, _ = run
    # As if the last but one had been better than any that comes.
    places = [workdir / "checkpoints" / name for name in ("best", "last/5")]
    shutil.rmtree(places[0])
    shutil.copytree(places[1], places[0] / "5")
    manifest = places[0] / "5" / "manifest" / "metadata"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"score": 101.0}))
    config = tiny(**{"eval.checkpoint": "best"})
    assert train.train(config, str(workdir))["step"] == 5
    assert evaluate.evaluate(config, str(workdir))["step"] == 5
    assert evaluate.evaluate(tiny(), str(workdir), checkpoint="best")["step"] == 5
    assert evaluate.evaluate(config, str(workdir), checkpoint="last")["step"] == 6
    (workdir / "some").mkdir()
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(workdir / "some" / "a.png")
    predict.predict(config, str(workdir), str(workdir / "some"))
    written = json.loads((workdir / "predictions.json").read_text())
    assert written["checkpoint"] == str(checkpoints.find(workdir, "best"))


def test_best_without_a_validation_split_is_refused_at_start(tmp_path):
    config = tiny(**{"eval.checkpoint": "best", "data.val_images": 0})
    with pytest.raises(ConfigError, match="eval.checkpoint='best': the data has no validation"):
        train.train(config, str(tmp_path / "run"))
    assert not (tmp_path / "run" / "config.json").exists()


def test_two_rates_have_two_names(run):
    workdir, results = run
    assert {"images_per_second", "eval_images_per_second"} <= results.keys()
    again = evaluate.evaluate(tiny(), str(workdir))
    assert "images_per_second" not in again and again["eval_images_per_second"] > 0


@pytest.mark.slow
def test_going_on_does_not_change_what_is_known_of_the_arrays(run):
    workdir, _ = run
    before = final_arrays(workdir)
    train.train(tiny(), str(workdir))
    assert final_arrays(workdir) == before
    assert checkpoints.read_manifest(checkpoints.find(workdir, "last"))["run"]["classes"] == (
        store.load_class_names(workdir)
    )
