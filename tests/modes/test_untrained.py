"""Runs of no steps: a network as it is, evaluated and used by whichever mode comes first."""

import functools
import json

import jax
import numpy as np
import pytest
from PIL import Image

from configs import imagenet
from ega_jax.config import build, store
from ega_jax.config.check import check
from ega_jax.modes import evaluate, predict, train
from ega_jax.runtime import checkpoints
from ega_jax.runtime.errors import ConfigError, UserError
from tests.helpers.runs import final_arrays, tiny


def no_steps(**fields):
    return tiny("cam", **{"steps": 0, "eval.bootstrap": 0, **fields})


@pytest.fixture
def named(tmp_path):
    """A config of a network that has classes by name, and neither weights nor data."""
    (tmp_path / "names.txt").write_text("tench\ngoldfish\nshark\n")
    names = {"data.class_names": str(tmp_path / "names.txt"), "data.name": "folder"}
    return no_steps(**names, **{"data.root": "", "model.width": 0.03})


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    rng = np.random.default_rng(0)
    for i in range(4):
        folder.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def scored(tmp_path, pictures):
    """Metadata of the pictures, as a test split without a training split."""
    split = tmp_path / "metadata" / "test"
    split.mkdir(parents=True)
    lines = {"image_ids": "{}.png", "class_labels": "{}.png,{}"}
    lines |= {"image_sizes": "{}.png,50,40", "localization": "{}.png,5,5,30,30"}
    for name, line in lines.items():
        rows = [line.format(i, i % 3) for i in range(4)]
        (split / f"{name}.txt").write_text("\n".join(rows))
    return {"data.root": str(pictures), "data.metadata": str(split.parent)}


@pytest.mark.slow
def test_training_evaluates_what_was_drawn(tmp_path):
    results = train.train(no_steps(), str(tmp_path))
    assert results["step"] == 0 and "corloc_err" in results["test"]["fixed"]
    assert json.loads((tmp_path / "results.json").read_text())["step"] == 0
    assert checkpoints.find(tmp_path, "last").name == "0"
    before = final_arrays(tmp_path)
    again = train.train(no_steps(), str(tmp_path))  # nothing is drawn a second time
    assert final_arrays(tmp_path) == before and again["test"] == results["test"]


@pytest.mark.slow
def test_a_checkpoint_that_is_asked_for_is_the_one_that_is_scored(tmp_path):
    """Not the network of the run of no steps."""
    with pytest.raises(checkpoints.CheckpointError, match="no checkpoint '/nowhere'"):
        train.train(no_steps(), str(tmp_path), checkpoint="/nowhere")
    assert not (tmp_path / "results.json").exists()


@pytest.mark.slow
def test_it_is_what_training_begins_with(tmp_path):
    """The same weights, drawn from the same seed, as the first checkpoint of a longer run has."""
    train.train(no_steps(), str(tmp_path / "none"))
    config = tiny("cam", **{"steps": 1, "optimizer.learning_rate": 1e-30, "eval.bootstrap": 0})
    train.train(config, str(tmp_path / "one"))
    none, one = (final_arrays(tmp_path / name) for name in ("none", "one"))
    # Kernels: so small a rate leaves them as they are, but not what was 0.
    kernels = [name for name in none if name.startswith("params/") and name.endswith("/kernel")]
    assert kernels and {n: none[n] for n in kernels} == {n: one[n] for n in kernels}
    assert none.keys() == one.keys()  # optimizer and all


@pytest.mark.slow
def test_without_data_there_are_no_figures(named, tmp_path):
    results = train.train(named, str(tmp_path / "run"))
    assert results.keys() == {"config", "step", "device"}
    assert (tmp_path / "run" / "results.json").exists()
    run = store.of_checkpoint(checkpoints.find(tmp_path / "run", "last"))
    assert run.class_names == ("tench", "goldfish", "shark")


@pytest.mark.slow
def test_without_data_no_figures_are_lost(named, scored, tmp_path):
    """Neither its own, of when there were data, nor those of another run."""
    with_data = named.copy_and_resolve_references()
    with_data.update_from_flattened_dict(scored)
    figures = evaluate.evaluate(with_data, str(tmp_path / "run"))["test"]
    place = tmp_path / "run" / "results.json"
    before = place.read_bytes()
    assert train.train(named, str(tmp_path / "run"))["test"] == json.loads(json.dumps(figures))
    assert place.read_bytes() == before
    named.model.width = 0.5
    with pytest.raises(UserError, match="model.width"):
        train.train(named, str(tmp_path / "run"))
    assert place.read_bytes() == before


@pytest.mark.slow
def test_predicting_writes_the_checkpoint_itself(named, tmp_path, pictures, caplog):
    workdir = tmp_path / "run"
    with caplog.at_level("INFO"):
        assert predict.predict(named, str(workdir), str(pictures)) == []
    assert f"A run of no steps, 3 classes: {workdir}" in caplog.text
    found = json.loads((workdir / "predictions.json").read_text())["predictions"]
    assert [entry["image_id"] for entry in found] == ["0.png", "1.png", "2.png", "3.png"]
    assert {entry["class_name"] for entry in found} <= {"tench", "goldfish", "shark"}
    before = final_arrays(workdir)
    predict.predict(named, str(workdir), str(pictures))
    assert final_arrays(workdir) == before


@pytest.mark.slow
def test_evaluating_needs_no_training_split(named, scored, tmp_path):
    named.update_from_flattened_dict(scored)
    results = evaluate.evaluate(named, str(tmp_path / "run"))
    assert results["test"]["images"] == 4
    assert {"top1_cls_err", "fixed", "oracle"} <= results["test"].keys()
    labels = tmp_path / "metadata" / "test" / "class_labels.txt"
    labels.write_text(labels.read_text().replace("2.png,2", "2.png,3"))
    with pytest.raises(UserError, match="class_labels.txt"):
        evaluate.evaluate(named, str(tmp_path / "run"))


def test_a_run_with_steps_is_not_begun_by_predicting(tmp_path, pictures):
    config = no_steps(steps=6)
    with pytest.raises(checkpoints.CheckpointError, match="no checkpoint"):
        predict.predict(config, str(tmp_path / "run"), str(pictures))


@pytest.mark.slow
def test_it_has_seen_no_images(tmp_path):
    """To train on from it, `model.pretrained` takes its workdir."""
    train.train(no_steps(), str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="was trained on other images: 0 then, 20 now"):
        train.train(no_steps(steps=2), str(tmp_path / "none"))
    start = {"steps": 2, "model.pretrained": str(tmp_path / "none")}
    assert train.train(no_steps(**start), str(tmp_path / "two"))["step"] == 2


def test_missing_weights_are_told_before_anything_is_written(named, tmp_path):
    named.model.pretrained = str(tmp_path / "missing.pth")
    with pytest.raises(UserError, match="no such file or workdir"):
        train.train(named, str(tmp_path / "run"))
    assert not checkpoints.exist(tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.parametrize("network", imagenet.MODELS)
def test_imagenet(network):
    config = imagenet.get_config(network)
    check(config, num_devices=4)
    names = build.named_classes(config)
    model = build.model(config, len(names))
    init = functools.partial(model.init, train=False)
    images = jax.ShapeDtypeStruct((1, 224, 224, 3), np.float32)
    variables = jax.eval_shape(init, jax.random.key(0), images)
    _, out = jax.eval_shape(functools.partial(model.apply, train=False), variables, images)
    assert out["cams"].shape == (1, 7, 7, 1000)
    counts = {"efficientnet_lite0": 4_652_008, "resnet50": 25_557_032}
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == counts[network]
    assert config.model.input_scaling in model.file_scalings()


def test_imagenet_of_another_network():
    with pytest.raises(ValueError, match="has no network 'vgg16'; choose one of efficientnet_l"):
        imagenet.get_config("vgg16")


def test_names_of_another_number(named):
    named.data.num_classes = 4
    with pytest.raises(UserError, match="names 3 classes, but config.data.num_classes=4"):
        build.named_classes(named)
