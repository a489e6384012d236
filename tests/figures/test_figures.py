"""The paper's figures: what they show, by hand where it can be, and what cannot be drawn."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from ega_jax.config import build
from ega_jax.figures import features, gradients, networks, strength
from ega_jax.modes import figures as mode
from ega_jax.runtime.errors import ConfigError
from ega_jax.studies.plan import Metric, Row, StudyError
from ega_jax.studies.runs import runs_of
from ega_jax.studies.summary import summarize
from tests.helpers.study_runs import leave, two_rows


@pytest.fixture(scope="module")
def trained(tiny_run):
    return networks.load(tiny_run[0], "tiny")


@pytest.fixture(scope="module")
def images(trained):
    return networks.sample(trained, 3)


def test_a_run_has_both_batch_norms_and_test_images(trained, images):
    assert {"params", "batch_stats", "batch_stats_aux"} == trained.variables.keys()
    assert images["image"].shape == (3, 32, 32, 3) and images["image"].dtype == np.uint8
    assert len(networks.sample(trained, 99)["label"]) == 10  # there are no more


class Linear:
    """A network of one layer: logits are sums of pixels, weighted."""

    @staticmethod
    def apply(variables, images, *, train):
        return images.reshape(len(images), -1) @ variables["params"], {}


def test_gradients_of_the_loss_by_hand(trained):
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(2 * 2 * 3, 4)).astype(np.float32)
    linear = networks.Trained("x", trained.config, tuple("abcd"), Linear(), {"params": weights})
    pixels, labels = rng.integers(0, 256, (2, 2, 2, 3), np.uint8), np.array([3, 1])
    found = gradients.gradients(linear, pixels, labels)
    logits = (pixels / 255).reshape(2, -1) @ weights
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = (shares - np.eye(4)[labels]) @ weights.T
    np.testing.assert_allclose(found.reshape(2, -1), expected, rtol=1e-4, atol=1e-5)


def test_gradients_as_pictures():
    assert (gradients.as_picture(np.zeros((4, 4, 3))) == 128).all()
    shown = gradients.as_picture(np.array([[[-9.0, 0.0, 9.0]]] * 3 + [[[0.0, 0.0, 0.0]]] * 97))
    assert shown[0, 0].tolist() == [0, 128, 255]
    shown = gradients.as_picture(np.array([[[0.0, 1.0, 1.0]]] * 4))  # 0 is grey in any company
    assert shown[0, 0, 0] == 128 and shown[0, 0, 1] > 128


@pytest.mark.slow
def test_features_of_clean_and_adversarial_images(trained, images):
    found = features.layers(trained, images["image"], images["label"])
    names = [layer.name for layer in found]
    assert names[0] == "conv1_2/bn" and names[-1] == "head/conv6_2/bn" and len(found) == 7
    first = found[0]
    assert first.clean.size == 3 * 32 * 32 * 31  # images, pixels, channels
    gap = np.abs(first.clean - first.adversarial).max()
    weights = trained.variables["params"]["conv1_2"]["conv"]["kernel"]
    scaled = np.abs(np.asarray(weights) / 0.225).sum(axis=(0, 1, 2)).max() / 255
    assert 0 < gap <= scaled + 1e-5  # one grey level is all that the attack moves a pixel
    statistics = trained.variables
    main = statistics["batch_stats"]["conv2_2"]["bn"]["main"]
    aux = statistics["batch_stats_aux"]["conv2_2"]["bn"]["aux"]
    deviation = np.sqrt(main["var"] + 1e-5)
    assert found[1].means == pytest.approx(np.mean(np.abs(aux["mean"] - main["mean"]) / deviation))
    assert found[1].deviations == pytest.approx(np.mean(np.sqrt(aux["var"] + 1e-5) / deviation))


@pytest.mark.slow
def test_features_are_of_the_attack_of_the_run(trained, images):
    """Towards a random class, as its training has it."""
    config = trained.config.copy_and_resolve_references()
    config.unlock()
    config.ega.targeted, config.ega.epsilon = True, 4.0
    targeted = dataclasses.replace(trained, config=config)
    objective = build.objective(config, trained.class_names)
    keys = dict(
        zip(("adv", "start", "target"), jax.random.split(jax.random.key(0), 3), strict=True)
    )
    batch = {
        "image": images["image"] / np.float32(255),
        "label": images["label"],
        "mask": np.ones(len(images["label"]), bool),
    }
    state = dict(trained.variables)
    expected = objective.perturb(trained.model, state.pop("params"), state, batch, keys)
    first = features.layers(targeted, images["image"], images["label"])[0]
    found = features._inputs(trained, expected, aux=True)[first.name]
    np.testing.assert_allclose(first.adversarial, found.ravel(), atol=1e-4)
    other = features.layers(trained, images["image"], images["label"])[0]
    assert np.abs(first.adversarial - other.adversarial).max() > 1e-3


@pytest.mark.slow
def test_figures_of_a_run(tiny_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(tiny_run[0], run)
    made = mode.figures(str(run), [str(tiny_run[0])])
    assert {path.name for path in made} == {
        *("boxes.png", "boxes.svg", "masks.png", "masks.svg", "gradients.png"),
        *("features.png", "features.svg", "statistics.png", "statistics.svg"),
    }
    with Image.open(run / "figures" / "gradients.png") as sheet:
        assert sheet.width == 3 * (160 + 4) + 4 and sheet.height == 6 * (160 + 18 + 4) + 4
    assert (run / "figures" / "features.svg").read_text().startswith("<?xml")


def test_a_run_without_an_auxiliary_batch_norm(trained, images):
    plain = {name: value for name, value in trained.variables.items() if name != "batch_stats_aux"}
    without = networks.Trained("cam", trained.config, trained.class_names, trained.model, plain)
    with pytest.raises(ConfigError, match="cam has no auxiliary batch norm to compare with"):
        features.layers(without, images["image"], images["label"])


def test_runs_that_do_not_compare(trained, monkeypatch, tmp_path):
    other = networks.Trained("pets", trained.config, ("cat", "dog"), trained.model, {})
    monkeypatch.setattr(mode, "load", lambda place, *rest: other if place == "b" else trained)
    with pytest.raises(ConfigError, match="--compare: pets has other classes than tiny; choose"):
        mode.figures(str(tmp_path), ["b"])


@pytest.mark.slow
def test_a_run_of_images_of_another_size_has_no_column(trained, tmp_path, caplog):
    config = trained.config.copy_and_resolve_references()
    config.data.crop_size = 64
    other = networks.Trained("large", config, trained.class_names, trained.model, {})
    mode._fig1(tmp_path, [trained, other])
    assert "Fig. 1 is without large, whose images have 64 pixels and not 32." in caplog.text
    with Image.open(tmp_path / "figures" / "gradients.png") as sheet:
        assert sheet.width == 2 * (160 + 4) + 4


@pytest.fixture
def strengths(tmp_path):
    """A study of two strengths of the attack, with results."""
    recipe = "configs/quickstart.py:ega"
    rows = tuple(Row(f"e{n}", f"ε = {n}", recipe, {"ega.epsilon": float(n)}) for n in (2, 1))
    study = two_rows(rows=rows)
    for row, errors in zip(rows, [(30.0, 34.0), (20.0, 22.0)], strict=True):
        for run, error in zip(runs_of(study, row, (0, 1)), errors, strict=True):
            leave(tmp_path, run, top1_cls_err=error, pxap=50.0)
    return study


def test_curves_of_a_study(strengths, tmp_path):
    found = {name: {s: tmp_path / name / str(s) for s in (0, 1)} for name in ("e1", "e2")}
    figure = strength.curves(strengths, summarize(strengths, found, resamples=0))
    first, second = figure.axes
    line = first.containers[0].lines[0]
    assert line.get_xdata().tolist() == [1.0, 2.0] and line.get_ydata().tolist() == [21.0, 32.0]
    assert first.get_xticks().tolist() == [1.0, 2.0]
    assert (first.get_title(), first.get_xlabel()) == ("Top-1 cls err", "ega.epsilon")
    assert second.containers[0].lines[0].get_ydata().tolist() == [50.0, 50.0]
    assert first.get_legend() is None and first.containers[0].has_yerr


def test_one_seed_has_no_spread_and_columns_beyond_a_page_go_below(strengths, tmp_path):
    columns = {f"column {n}": Metric("pxap") for n in range(4)}
    study = dataclasses.replace(strengths, metrics=columns)
    found = {name: {0: tmp_path / name / "0"} for name in ("e1", "e2")}
    figure = strength.curves(study, summarize(study, found, resamples=0))
    assert [axes.get_title() for axes in figure.axes] == list(columns)
    places = [tuple(axes.get_subplotspec().colspan) for axes in figure.axes]
    assert places == [(0,), (1,), (2,), (0,)]
    assert not figure.axes[0].containers[0].has_yerr


def test_figures_of_a_study(strengths, tmp_path):
    with pytest.raises(ConfigError, match="give the workdir of a trained model"):
        mode.figures(str(tmp_path))
    (tmp_path / "study.json").write_text(json.dumps(strengths.to_json()))
    made = mode.figures(str(tmp_path))
    assert [path.name for path in made] == ["curves.png", "curves.svg"]
    with pytest.raises(ConfigError, match="--compare is for runs"):
        mode.figures(str(tmp_path), ["other"])


def test_a_study_that_varies_no_number():
    study = two_rows()
    with pytest.raises(StudyError, match="Two rows: its rows vary no field; a curve is over one"):
        strength.curves(study, summarize(study, {}))
