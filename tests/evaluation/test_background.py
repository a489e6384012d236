"""Classes without an object: classified, and outside all that is about where things are."""

import csv
import dataclasses
import json

import numpy as np
import pytest

from ega_jax import Localizer
from ega_jax.config import build
from ega_jax.data.convert.coco import read_coco
from ega_jax.data.source import DataError, Source
from ega_jax.evaluation import bootstrap, per_image
from ega_jax.evaluation.scores import Scores
from ega_jax.localization import thresholds
from ega_jax.modes import annotate, predict, train
from ega_jax.runtime.errors import ConfigError
from tests.helpers.pictures import save_pictures
from tests.helpers.runs import tiny

SIZE = 16
THRESHOLDS = thresholds(0.1)


def split(background=(), labels=(0, 1, 0, 1)):
    """Images of `good` and `defect`; the former's boxes say nothing."""
    mask = np.zeros((SIZE, SIZE), bool)
    mask[4:12, 4:12] = True
    return Source(
        name="made/test",
        image_ids=tuple("abcd"[: len(labels)]),
        labels=np.array(labels, np.int32),
        class_names=("good", "defect"),
        load_image=lambda index: None,
        image_sizes=np.full((len(labels), 2), 2 * SIZE),
        boxes=tuple(np.array([[8, 8, 23, 23]]) if label else np.zeros((0, 4)) for label in labels),
        load_mask=lambda i, size: (mask, np.zeros_like(mask)),
        background=frozenset(background),
    )


def scored(source):
    """All classes are right, and of two defects one box is."""
    scores = Scores.empty(source, THRESHOLDS)
    right = np.zeros((SIZE, SIZE))
    right[4:12, 4:12] = 1.0
    for i, label in enumerate(source.labels):
        scores.add(source, i, right if i != 3 else 1 - right, np.eye(2)[label])
    return scores


def test_no_localization_figure_of_an_image_without_an_object():
    source = split(background=[0])
    figures = scored(source).figures(0.2)
    defects = dataclasses.replace(source, boxes=source.boxes[1::2], labels=source.labels[1::2])
    alone = Scores.empty(defects, THRESHOLDS)
    for i, row in enumerate((1, 3)):
        heat = np.zeros((SIZE, SIZE))
        heat[4:12, 4:12] = 1.0
        alone.add(defects, i, heat if row == 1 else 1 - heat, np.eye(2)[1])
    expected = alone.figures(0.2)
    assert figures["images"] == 4 and figures["top1_cls_err"] == 0
    assert figures["fixed"]["corloc_err"] == 50.0
    for name in ("fixed", "oracle", "pxap", "in_boxes", "in_masks"):
        assert figures[name] == expected[name]
    assert scored(source).selection == alone.selection == 50.0


def test_parts_and_resamples_leave_them_out_too():
    source = split(background=[0])
    scores = Scores.from_arrays(scored(source).to_arrays())
    for resample in bootstrap.draw(scores, 50):
        if resample.boxes is not None:
            assert 0 < resample.boxes.images <= 4
    low, high = bootstrap.intervals(scores, 0.2)["fixed"]["corloc_err"]
    assert (low, high) == (0.0, 100.0)


def test_tables_have_empty_cells(tmp_path):
    source = split(background=[0])
    images = per_image.per_image(scored(source), source, 0.2)
    classes = per_image.per_class(images, source.class_names)
    per_image.write_csv(tmp_path / "images.csv", images)
    per_image.write_csv(tmp_path / "classes.csv", classes)
    rows = list(csv.DictReader(open(tmp_path / "images.csv")))
    assert [row["correct"] for row in rows] == ["", "1", "", "0"]
    assert [row["x0"] == "" for row in rows] == [True, False, True, False]
    assert [row["top1"] for row in rows] == ["1"] * 4
    good, defect = csv.DictReader(open(tmp_path / "classes.csv"))
    assert (good["top1_cls_err"], good["corloc_err"], good["mean_iou"]) == ("0.000000", "", "")
    assert defect["corloc_err"] == "50.000000"
    assert "good" not in per_image.worst(classes).splitlines()[1]


def test_a_split_of_them_alone_has_no_localization_figures():
    figures = scored(split(background=[0], labels=(0, 0, 0))).figures(0.2)
    assert figures == {"images": 3, "top1_cls_err": 0.0}


def test_they_need_no_line_with_a_box(tmp_path):
    root, meta = tmp_path / "images", tmp_path / "meta"
    save_pictures(root, {"a.png": (8, 8), "b.png": (8, 8)})
    for name in ("train", "test"):
        (meta / name).mkdir(parents=True)
        (meta / name / "image_ids.txt").write_text("a.png\nb.png\n")
        (meta / name / "class_labels.txt").write_text("a.png,0\nb.png,1\n")
        (meta / name / "localization.txt").write_text("b.png,1,1,5,5\n")
    (meta / "class_names.txt").write_text("good\ndefect\n")
    fields = {"data.name": "folder", "data.root": str(root), "data.metadata": str(meta)}
    with pytest.raises(DataError, match="no line for 'a.png'"):
        build.sources(tiny(**fields), ("test",))
    sources = build.sources(tiny(**fields, **{"data.background_classes": "good"}))
    assert [len(boxes) for boxes in sources["test"].boxes] == [0, 1]
    assert [sources["test"].has_object(i) for i in range(2)] == [False, True]


@pytest.mark.parametrize(
    ("names", "message"),
    [("cat,fog", "'fog' is no class; there are cat, dog"), ("dog, cat", "no class is left")],
)
def test_names_that_cannot_be(names, message):
    with pytest.raises(ConfigError, match=message):
        build.background(tiny(**{"data.background_classes": names}), ("cat", "dog"))


@pytest.fixture(scope="module")
def run_with_background(tmp_path_factory):
    """A run most of whose classes have no object."""
    names = build.sources(tiny(), ("test",))["test"].class_names
    workdir = tmp_path_factory.mktemp("run")
    config = tiny(**{"data.background_classes": ",".join(names[:5]), "ega.adversarial": False})
    return workdir, config, train.train(config, str(workdir))


@pytest.mark.slow
def test_a_run_scores_the_others_alone(run_with_background):
    workdir, config, results = run_with_background
    test = build.sources(config, ("test",))["test"]
    rows = list(csv.DictReader(open(workdir / "per_image_test.csv")))
    assert [row["correct"] != "" for row in rows] == [label >= 5 for label in test.labels]
    correct = [float(row["correct"]) for row in rows if row["correct"]]
    assert results["test"]["val"]["corloc_err"] == pytest.approx(100 - 100 * np.mean(correct))
    assert results["test"]["images"] == len(test) > len(correct)


def test_predictions_without_a_box(run_with_background, tmp_path):
    workdir, config, _ = run_with_background
    save_pictures(tmp_path / "pictures", {"a.png": (40, 30), "b.jpg": (30, 50)})
    config.predict.top_k = 10
    config.predict.save_masks = True
    predict.predict(config, str(workdir), str(tmp_path / "pictures"))
    predictions = json.loads((workdir / "predictions.json").read_text())["predictions"]
    assert len(predictions) == 20
    assert all((entry["box"] is None) == (entry["class"] < 5) for entry in predictions)


def test_the_localizer_gives_no_box(run_with_background):
    picture = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
    localizer = Localizer.load(run_with_background[0])
    nothing, something = localizer.localize([picture] * 2, [4, 5])
    assert nothing.boxes.shape == (0, 4) and something.boxes.shape == (1, 4)
    assert nothing.label == 4 and 0 <= nothing.score <= 1
    (everything,) = localizer.localize([picture], [0], boxes="all")
    assert everything.boxes.shape == (0, 4)


def test_annotated_without_a_box(run_with_background, tmp_path):
    workdir, config, _ = run_with_background
    names = json.loads((workdir / "classes.json").read_text())
    save_pictures(tmp_path / "all", {f"{names[i]}/a.png": (30, 30 + i) for i in (2, 4, 6, 8)})
    annotate.annotate(config, str(workdir), str(tmp_path / "all"))
    out = workdir / "annotations"
    coco = read_coco(str(out / "instances.json"))
    assert coco.names == tuple(names[5:])
    found = {one.file.split("/")[0]: len(one.objects(one.size)) for one in coco.pictures}
    assert found == {names[2]: 0, names[4]: 0, names[6]: 1, names[8]: 1}
    assert json.loads((out / "summary.json").read_text())["without_object"] == 2
