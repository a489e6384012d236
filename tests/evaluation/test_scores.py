import dataclasses

import numpy as np
import pytest

from ega_jax.data.source import DataError, Source
from ega_jax.evaluation.scores import Scores
from ega_jax.localization import UNITS, thresholds

SIZE = 16
THRESHOLDS = thresholds(0.1)


def _source(boxes=True, masks=True):
    mask = np.zeros((SIZE, SIZE), bool)
    mask[4:12, 4:12] = True
    return Source(
        name="made/test",
        image_ids=("a", "b", "c", "d"),
        labels=np.array([0, 1, 2, 0], np.int32),
        class_names=tuple("uvwxyz"),
        load_image=lambda index: None,
        image_sizes=np.full((4, 2), 2 * SIZE),
        boxes=(np.array([[8, 8, 23, 23]]),) * 4 if boxes else None,
        load_mask=(lambda i, size: (mask, np.zeros_like(mask))) if masks else None,
    )


def _right_map():
    score_map = np.zeros((SIZE, SIZE))
    score_map[4:12, 4:12] = 1.0
    return score_map


def _probabilities(order):
    return np.linspace(1, 0, 6)[np.argsort(order)]


def _scored(source, indices=range(4)):
    scores = Scores.empty(source, THRESHOLDS)
    wrong = 1 - _right_map()
    rows = [
        (_right_map(), _probabilities([0, 1, 2, 3, 4, 5])),  # class and box right
        (wrong, _probabilities([1, 0, 2, 3, 4, 5])),  # class right only
        (_right_map(), _probabilities([3, 2, 0, 1, 4, 5])),  # second class, box right
        (_right_map(), _probabilities([1, 2, 3, 4, 5, 0])),  # not among five, box right
    ]
    for i in indices:
        scores.add(source, i, *rows[i])
    return scores


def test_figures_of_a_hand_made_split():
    figures = _scored(_source()).figures(0.2)
    assert figures["images"] == 4
    assert figures["top1_cls_err"] == 50.0
    assert figures["top5_cls_err"] == 25.0
    assert figures["fixed"]["threshold"] == 0.2
    assert figures["fixed"]["corloc_err"] == 25.0
    assert figures["fixed"]["top1_loc_err"] == 75.0
    assert figures["fixed"]["top5_loc_err"] == 50.0
    assert figures["oracle"]["max_box_acc"]["50"] == 75.0
    assert "val" not in figures
    assert "top1_cls_err_single" not in figures


def test_five_classes_have_no_five_best():
    source = _source()
    scores = Scores.empty(source, THRESHOLDS)
    for i in range(4):
        scores.add(source, i, _right_map(), np.array([0.5, 0.2, 0.1, 0.1, 0.1]))
    figures = scores.figures(0.2)
    assert figures["top1_cls_err"] == 50.0
    assert "top5_cls_err" not in figures
    for kind in ("fixed", "oracle"):
        assert "top1_loc_err" in figures[kind] and "top5_loc_err" not in figures[kind]
    assert "top5_loc_err" not in figures["oracle"]["thresholds"]
    assert "top5" not in scores.records.to_arrays()


@pytest.mark.parametrize(
    ("boxes", "masks", "absent"),
    [
        (False, True, {"fixed", "val", "oracle", "in_boxes"}),
        (True, False, {"pxap", "in_masks"}),
        (False, False, {"fixed", "val", "oracle", "pxap", "in_boxes", "in_masks"}),
    ],
)
def test_what_a_split_cannot_give_is_absent(boxes, masks, absent):
    source = _source(boxes, masks)
    scores = _scored(source)
    figures = scores.figures(0.2, validation=scores)
    assert not absent & figures.keys()
    every = {"fixed", "val", "oracle", "pxap", "in_boxes", "in_masks", "images", "top1_cls_err"}
    assert every - absent <= figures.keys()


def test_maps_alone_give_no_classification():
    source = _source()
    scores = Scores.empty(source, THRESHOLDS)
    scores.add(source, 0, _right_map())
    figures = scores.figures(0.2, validation=scores)
    assert figures["fixed"]["corloc_err"] == 0.0
    assert figures["pxap"] == 100.0
    assert not any("top" in str(key) for key in (*figures, *figures["fixed"], *figures["oracle"]))
    assert not any("top" in key for key in figures["val"]["thresholds"])


def test_ten_crops_decide_and_the_whole_image_is_reported_beside_them():
    source = _source()
    scores = Scores.empty(source, THRESHOLDS)
    right, wrong = _probabilities([0, 1, 2, 3, 4, 5]), _probabilities([1, 0, 2, 3, 4, 5])
    scores.add(source, 0, _right_map(), right, wrong)
    figures = scores.figures(0.2)
    assert figures["top1_cls_err"] == 0.0
    assert figures["top1_cls_err_single"] == 100.0
    assert figures["fixed"]["top1_loc_err"] == 0.0


def test_an_answer_that_is_no_number_is_wrong():
    """Even of the first class, which sorting would put in front."""
    source = _source()
    scores = Scores.empty(source, THRESHOLDS)
    scores.add(source, 0, _right_map(), np.full(7, np.nan), np.full(7, np.nan))
    figures = scores.figures(0.2)
    assert source.labels[0] == 0
    assert figures["top1_cls_err"] == figures["top5_cls_err"] == 100.0
    assert figures["top1_cls_err_single"] == figures["fixed"]["top1_loc_err"] == 100.0
    assert figures["fixed"]["corloc_err"] == 0.0


def test_masks_that_vanish_in_the_map_are_named():
    source = dataclasses.replace(
        _source(boxes=False), load_mask=lambda i, size: np.zeros((2, size, size), bool)
    )
    scores = Scores.empty(source, THRESHOLDS)
    scores.add(source, 0, _right_map())
    with pytest.raises(DataError, match="no mask has a pixel of an object left"):
        scores.figures(0.2)


def test_parts_add_up_to_the_whole():
    source = _source()
    parts = _scored(source, [0, 3]).merge(_scored(source, [2, 1]))
    assert parts.figures(0.2, parts) == _scored(source).figures(0.2, _scored(source))


@pytest.mark.parametrize(
    ("boxes", "masks", "value"),
    [(True, True, 75.0), (False, True, None), (False, False, 50.0)],
)
def test_selection_prefers_boxes_then_masks_then_classes(boxes, masks, value):
    scores = _scored(_source(boxes, masks))
    expected = scores.pixels.pxap() if value is None else value
    assert scores.selection == pytest.approx(expected)


def test_an_inverted_map_chooses_no_checkpoint():
    """The contour of its hole overlaps the object by 64/100: right for MaxBoxAccV2, but at 0.7."""
    source = _source()
    inverted, poor, mixed = (Scores.empty(source, THRESHOLDS) for _ in range(3))
    dot = np.zeros((SIZE, SIZE))
    dot[4:8, 4:8] = 1.0
    dot[8:12, 8:12] = 0.5
    for i in range(4):
        inverted.add(source, i, 1 - _right_map())
        poor.add(source, i, dot)
        mixed.add(source, i, _right_map() if i else 1 - _right_map())
    assert inverted.boxes.max_box_acc_v2() == pytest.approx(200 / 3)
    assert inverted.selection == 0.0
    assert mixed.selection == 75.0
    # Without an inverted map it is MaxBoxAccV2 itself.
    assert poor.selection == poor.boxes.max_box_acc_v2() > 0
    figures = inverted.figures(0.2)
    assert figures["in_boxes"]["brighter_outside"] == 100.0
    assert figures["in_boxes"]["energy"] == figures["in_masks"]["pointing_game_0px"] == 0.0
    assert mixed.figures(0.2)["in_masks"]["energy"] == 75.0


def test_fields_are_sums():
    fields = {field.name: field.default for field in dataclasses.fields(Scores)}
    parts = ("boxes", "pixels", "in_boxes", "in_masks", "records")
    assert all(fields[name] == 0 for name in fields if name not in parts)


@pytest.mark.parametrize(("boxes", "masks"), [(True, True), (True, False), (False, False)])
def test_parts_travel_as_arrays(boxes, masks):
    source = _source(boxes, masks)
    parts = [_scored(source, [3, 0]), Scores.empty(source, THRESHOLDS), _scored(source, [2, 1])]
    arrived = [Scores.from_arrays(part.to_arrays()) for part in parts]
    merged = arrived[0].merge(arrived[1]).merge(arrived[2])
    whole, actual = _scored(source).to_arrays(), merged.to_arrays()
    assert whole.keys() == actual.keys()
    for name in whole:
        np.testing.assert_array_equal(actual[name], whole[name])
        assert actual[name].dtype == whole[name].dtype
    assert actual["records/index"].tolist() == [0, 1, 2, 3]
    assert merged.figures(0.2, merged) == _scored(source).figures(0.2, _scored(source))
    assert parts[0].images == 2  # merging changes none


def test_rows_say_what_was_found_of_each_image():
    rows = _scored(_source(), [1, 3, 2, 0]).records.to_arrays()
    assert rows["prediction"].tolist() == [0, 1, 3, 1]
    np.testing.assert_allclose(rows["probability"], 1)
    assert rows["top1"].tolist() == [True, True, False, False]
    assert rows["top5"].tolist() == [True, True, True, False]
    assert rows["highest"].tolist() == [255] * 4
    assert rows["foreground"].sum(axis=1).tolist() == [64] * 4
    assert (rows["foreground"] + rows["background"]).sum(axis=1).tolist() == [SIZE**2] * 4
    assert rows["largest"].dtype == np.uint8
    np.testing.assert_array_equal(rows["in_boxes"], rows["in_masks"])  # the same pixels
    assert (rows["in_boxes"][:, 1:] / UNITS).tolist() == [
        [1, 1, 0],
        [0, 0, 1],
        [1, 1, 0],
        [1, 1, 0],
    ]
