"""Tables image by image and class by class, against figures and by hand."""

import csv

import numpy as np
import pytest

from ega_jax import localization
from ega_jax.data.source import Source
from ega_jax.evaluation import per_image
from ega_jax.evaluation.reports import report_splits
from ega_jax.evaluation.scores import Scores
from tests.helpers.scored_splits import IMAGES, make, score

SIZE = 20
THRESHOLDS = localization.thresholds(0.1)


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def hand_made(boxes=True, masks=True):
    """Three images twice as wide as their maps; the second is missed, the third in part."""
    mask = np.zeros((SIZE, SIZE), bool)
    mask[2:12, 2:12] = True
    return Source(
        name="made",
        image_ids=("b/1.jpg", "a, b.jpg", "c.jpg"),
        labels=np.array([2, 0, 2], np.int32),
        class_names=("zero", "one", "two", "three", "four", "five"),
        load_image=lambda index: None,
        image_sizes=np.array([[2 * SIZE, SIZE]] * 3),
        boxes=(np.array([[0, 0, 1, 1], [4, 2, 25, 12]]),) * 3 if boxes else None,
        load_mask=(lambda i, size: (mask, np.zeros_like(mask))) if masks else None,
    )


def block(x0, y0, x1, y1, value=1.0):
    score_map = np.zeros((SIZE, SIZE))
    score_map[y0:y1, x0:x1] = value
    return score_map


def scored(source, classify=True):
    scores = Scores.empty(source, THRESHOLDS)
    maps = [block(2, 2, 12, 12), block(14, 14, 19, 19), block(2, 2, 12, 7)]
    # The part of the third map that is weak counts at low thresholds only.
    maps[2] = np.maximum(maps[2], block(2, 2, 12, 12, 0.35))
    for index, row in ((2, [0.1, 0.7, 0.2]), (0, [0.1, 0.3, 0.6]), (1, [0.5, 0.3, 0.2])):
        probabilities = np.array([*row, 0.0, 0.0, 0.0])
        scores.add(source, index, maps[index], probabilities if classify else None)
    return scores


def test_table_by_hand(tmp_path):
    source = hand_made()
    table = per_image.per_image(scored(source), source, 0.5, 0.3)
    per_image.write_csv(tmp_path / "t.csv", table)
    first, second, third = read(tmp_path / "t.csv")
    assert first == {
        "image_id": "b/1.jpg", "label": "2", "prediction": "2", "probability": "0.600000",
        "top1": "1", "top5": "1", "threshold": "0.5", "x0": "4", "y0": "2", "x1": "24", "y1": "12",
        "iou": "1.000000", "correct": "1", "mask_threshold": "0.3", "mask_iou": "1.000000",
        "pointing_game": "1.000000", "pointing_game_0px": "1.000000", "energy": "1.000000",
        "brighter_outside": "0", "mask_pointing_game": "1.000000",
        "mask_pointing_game_0px": "1.000000", "mask_energy": "1.000000",
        "mask_brighter_outside": "0",
    }  # fmt: skip
    assert second["image_id"] == "a, b.jpg"
    assert [second[name] for name in ("x0", "iou", "correct")] == ["28", "0.000000", "0"]
    # Its maxima lie 2 to 6 pixels beside the box's last column and row; 1.3 are tolerated.
    assert [second[f"{mask}pointing_game"] for mask in ("", "mask_")] == ["0.000000"] * 2
    assert [second[f"{mask}brighter_outside"] for mask in ("", "mask_")] == ["1", "1"]
    assert float(second["mask_iou"]) == 0
    assert third["y1"] == "7" and third["top1"] == "0" and third["prediction"] == "1"
    assert float(third["iou"]) == pytest.approx(6 / 11, abs=1e-6)  # 11 x 6 of 11 x 11 pixels
    assert third["mask_iou"] == "1.000000"  # 0.35 is above 0.3
    low = per_image.per_image(scored(source), source, 0.2)
    assert low["iou"][2] == 1 and low["mask_iou"][2] == 1 and low["mask_threshold"][2] == 0.2


def test_classes_by_hand(tmp_path):
    source = hand_made()
    table = per_image.per_image(scored(source), source, 0.5)
    classes = per_image.per_class(table, source.class_names)
    per_image.write_csv(tmp_path / "c.csv", classes)
    zero, two = read(tmp_path / "c.csv")  # class one has no image
    assert zero == {
        "label": "0", "class": "zero", "images": "1", "top1_cls_err": "0.000000",
        "top5_cls_err": "0.000000", "corloc_err": "100.000000", "top1_loc_err": "100.000000",
        "mean_iou": "0.000000", "mean_mask_iou": "0.000000",
        "pointing_game": "0.000000", "pointing_game_0px": "0.000000", "energy": "0.000000",
        "brighter_outside": "100.000000", "mask_pointing_game": "0.000000",
        "mask_pointing_game_0px": "0.000000", "mask_energy": "0.000000",
        "mask_brighter_outside": "100.000000",
    }  # fmt: skip
    assert two["images"] == "2" and two["top1_cls_err"] == two["top1_loc_err"] == "50.000000"
    assert two["corloc_err"] == "0.000000"
    assert float(two["mean_iou"]) == pytest.approx((1 + 6 / 11) / 2, abs=1e-6)
    assert per_image.worst(classes).splitlines() == [
        "  worst classes, top1_cls_err: two 50.0, zero 0.0",
        "  worst classes, corloc_err: zero 100.0, two 0.0",
    ]


@pytest.mark.parametrize(
    ("boxes", "masks", "classify", "columns"),
    [
        (False, False, True, "prediction probability top1 top5"),
        (
            True,
            False,
            False,
            "threshold x0 y0 x1 y1 iou correct "
            "pointing_game pointing_game_0px energy brighter_outside",
        ),
        (
            False,
            True,
            False,
            "mask_threshold mask_iou "
            "mask_pointing_game mask_pointing_game_0px mask_energy mask_brighter_outside",
        ),
    ],
)
def test_columns_that_the_split_cannot_give_are_absent(boxes, masks, classify, columns):
    source = hand_made(boxes, masks)
    table = per_image.per_image(scored(source, classify), source, 0.2)
    assert " ".join(table) == f"image_id label {columns}"
    assert all(len(column) == 3 for column in table.values())
    classes = per_image.per_class(table, source.class_names)
    assert ("corloc_err" in classes, "mean_mask_iou" in classes) == (boxes, masks)
    assert ("energy" in classes, "mask_energy" in classes) == (boxes, masks)
    assert ("top1_loc_err" in classes) == (boxes and classify)
    assert bool(per_image.worst(classes)) == (boxes or classify)


@pytest.mark.parametrize("with_validation", [True, False])
def test_tables_agree_with_figures(tmp_path, with_validation):
    """Image by image they add up to what `results.json` says, at every box of every map."""
    made, thresholds = make(), localization.thresholds(0.001)
    splits = {"test": made} | ({"val": make(1)} if with_validation else {})
    sources = {split: one[0] for split, one in splits.items()}
    scores = {split: score(one, range(IMAGES), thresholds) for split, one in splits.items()}
    results = report_splits(scores, sources, tmp_path, threshold=0.2, resamples=0)
    assert "intervals" not in results
    test = results["test"]
    at = test["val" if with_validation else "fixed"]
    images = read(tmp_path / "per_image_test.csv")
    assert [row["image_id"] for row in images] == list(sources["test"].image_ids)
    assert {row["threshold"] for row in images} == {f"{at['threshold']:.6g}"}
    correct = np.array([int(row["correct"]) for row in images])
    top1 = np.array([int(row["top1"]) for row in images])
    assert 100 - 100 * correct.mean() == pytest.approx(at["corloc_err"])
    assert 100 - 100 * top1.mean() == pytest.approx(test["top1_cls_err"])
    for row, score_map, size in zip(images, made[1], made[0].image_sizes, strict=True):
        box = localization.largest_box(score_map, at["threshold"], tuple(size))
        assert [int(row[name]) for name in ("x0", "y0", "x1", "y1")] == box.tolist()
        assert int(row["correct"]) == (float(row["iou"]) >= 0.5)
    classes = read(tmp_path / "per_class_test.csv")
    numbers = np.array([int(row["images"]) for row in classes])
    errors = np.array([float(row["corloc_err"]) for row in classes])
    assert (numbers * errors).sum() / IMAGES == pytest.approx(at["corloc_err"])
    if with_validation:
        own = results["validation"]["oracle"]["threshold"]
        rows = read(tmp_path / "per_image_validation.csv")
        assert {row["threshold"] for row in rows} == {f"{own:.6g}"}
        best = scores["val"].pixels.best_iou_threshold()
        assert {row["mask_threshold"] for row in images} == {f"{best:.6g}"}


def test_best_threshold_of_masks():
    pixels = localization.PixelCounts([0.0, 0.2, 0.5])
    pixels.add(np.array([[0.6, 0.3, 0.3, 0.1]]), np.array([[1, 1, 0, 0]]))
    # From 0: 2 of 4, from 0.2: 2 of 3, from 0.5: 1 of 2.
    assert pixels.best_iou_threshold() == 0.2
    inside, outside = pixels.foreground, pixels.background
    ious = [localization.mask_ious(inside, outside, i) for i in range(3)]
    np.testing.assert_allclose(ious, [2 / 4, 2 / 3, 1 / 2])


def test_intervals_stand_beside_the_figures(tmp_path, caplog):
    made = make()
    scores = {"test": score(made, range(IMAGES), THRESHOLDS)}
    with caplog.at_level("INFO", "ega_jax"):
        results = report_splits(scores, {"test": made[0]}, tmp_path, threshold=0.2, resamples=30)
    low, high = results["intervals"]["test"]["oracle"]["max_box_acc_v2"]
    assert low <= high and "validation" not in results["intervals"]
    (line,) = [row for row in caplog.text.splitlines() if "box_acc_v2" in row]
    assert f"[{low:.1f}, {high:.1f}]" in line
    assert "worst classes, corloc_err: " in caplog.text
    assert not list(tmp_path.glob(".*"))  # written aside and renamed
