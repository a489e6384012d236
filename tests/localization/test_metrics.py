import json

import numpy as np
import pytest

from ega_jax import localization
from ega_jax.localization import BoxCounts, PixelCounts

THRESHOLDS = localization.thresholds(0.1)
KEYS = ("30", "50", "70")


def block(x0, y0, x1, y1, value=1.0, size=20):
    """A score map whose box is `x0, y0, x1, y1`: the last pixel is one before x1, y1."""
    score_map = np.zeros((size, size))
    score_map[y0:y1, x0:x1] = value
    return score_map


def examples(seed, count):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        low = rng.integers(0, 20, (rng.integers(1, 4), 2))
        boxes = np.concatenate((low, low + rng.integers(4, 12, low.shape)), axis=1)
        score_map = localization.score_map(rng.random((5, 5)), 32)
        yield score_map, boxes, bool(rng.random() < 0.5), bool(rng.random() < 0.9)


def counts_of(examples, thresholds=THRESHOLDS):
    counts = BoxCounts(thresholds)
    for example in examples:
        counts.add(*example)
    return counts


def assert_same(one, other):
    one, other = one.to_arrays(), other.to_arrays()
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


def test_box_ious_count_the_last_pixel():
    ious = localization.box_ious(
        [[0, 0, 9, 9], [0, 0, 0, 0]], [[0, 0, 9, 9], [5, 0, 14, 9], [10, 0, 19, 9], [0, 0, 1, 1]]
    )
    np.testing.assert_allclose(ious, [[1, 50 / 150, 0, 4 / 100], [1 / 100, 0, 0, 1 / 4]])


def test_scale_boxes_truncates():
    scaled = localization.scale_boxes(np.array([[0, 9, 99, 49]]), (100, 50), 224)
    assert scaled.tolist() == [[0, int(9 * 224 / 50), int(99 * 224 / 100), int(49 * 224 / 50)]]


@pytest.mark.parametrize(
    "boxes, message",
    [([[1, 2, 3]], "shape"), ([[5, 0, 4, 9]], "inverted"), ([[0, -1, 4, 9]], "negative")],
)
def test_malformed_boxes(boxes, message):
    with pytest.raises(ValueError, match=message):
        localization.scale_boxes(boxes, (10, 10))
    with pytest.raises(ValueError, match=message):
        BoxCounts(THRESHOLDS).add(np.zeros((4, 4)), boxes)


def test_iou_equal_to_delta_is_correct():
    counts = BoxCounts([0.0])
    counts.add(block(0, 0, 4, 9), [[0, 0, 9, 9]])  # 5 x 10 of 10 x 10
    assert counts.single.tolist() == [[1], [1], [0]]


def test_images_that_share_a_map_count_as_one_after_the_other(monkeypatch):
    monkeypatch.setattr(localization.box_metrics, "_CHUNK", 500)  # several chunks
    images = list(examples(3, 30))
    for score_map in (images[0][0], block(4, 4, 20, 20, size=32), np.zeros((32, 32))):
        plain, shared = BoxCounts(THRESHOLDS), BoxCounts(THRESHOLDS)
        for _, boxes, *_ in images:
            plain.add(score_map, boxes)
        found = localization.boxes_at_thresholds(score_map, THRESHOLDS)
        shared.add_shared(found, [boxes for _, boxes, *_ in images])
        assert_same(plain, shared)
        shared.add_shared(found, [])
        assert_same(plain, shared)


def test_images_that_share_a_map_need_boxes_and_the_same_thresholds():
    found = localization.boxes_at_thresholds(block(0, 0, 4, 4), THRESHOLDS)
    good = np.array([[0, 0, 3, 3]])
    with pytest.raises(ValueError, match="Image 1 .* no ground-truth box"):
        BoxCounts(THRESHOLDS).add_shared(found, [good, np.zeros((0, 4), int)])
    with pytest.raises(ValueError, match="inverted"):
        BoxCounts(THRESHOLDS).add_shared(found, [good, np.array([[5, 0, 4, 9]])])
    with pytest.raises(ValueError, match="found at 10 thresholds, these counts have 1"):
        BoxCounts([0.5]).add_shared(found, [good])


def test_pixels_of_images_that_share_a_map():
    rng = np.random.default_rng(0)
    score_map = localization.score_map(rng.random((5, 5)), 12)
    masks, ignores = rng.random((2, 9, 12, 12)) < 0.3
    ignores &= ~masks
    plain, shared = PixelCounts(THRESHOLDS), PixelCounts(THRESHOLDS)
    for mask, ignore in zip(masks, ignores, strict=True):
        plain.add(score_map, mask, ignore)
    shared.add_shared(score_map, masks.sum(axis=0), (~(masks | ignores)).sum(axis=0))
    assert_same(plain, shared)
    with pytest.raises(ValueError, match="resize the masks"):
        shared.add_shared(score_map, masks[0, :5], masks[0, :5])


def test_hand_computed_figures():
    counts = BoxCounts([0.0, 0.2, 0.5])
    # Its box fits above 0.3 and is swamped by the ground below.
    first = np.maximum(block(2, 2, 11, 11), 0.3 + 0 * block(0, 0, 1, 1))
    counts.add(first, [[2, 2, 11, 11]], top1_correct=True, top5_correct=True)
    # The larger of two contours is wrong; the smaller fits.
    second = block(0, 0, 9, 9) + block(12, 12, 17, 17)
    counts.add(second, [[12, 12, 17, 17]], top1_correct=True, top5_correct=True)
    # Correct, at the low thresholds only (the map is 0.4 where the object is); not classified.
    third = block(1, 1, 10, 10, 0.4) + block(19, 0, 20, 1)
    counts.add(third, [[1, 1, 10, 10]], top1_correct=False, top5_correct=True)
    # Never correct.
    counts.add(block(0, 0, 3, 3), [[10, 10, 18, 18]])

    assert counts.single[1].tolist() == [1, 1, 1]
    assert counts.multi[1].tolist() == [2, 2, 2]
    assert counts.top1.tolist() == [0, 0, 1]
    assert counts.top5.tolist() == [1, 1, 1]
    fixed = counts.at(0.2)
    assert fixed == {
        "threshold": 0.2,
        "top1_loc_err": 100.0,
        "top5_loc_err": 75.0,
        "corloc_err": 75.0,
        "box_acc": {"30": 25.0, "50": 25.0, "70": 25.0},
        "box_acc_v2": 50.0,
    }
    assert counts.at(0.5)["top1_loc_err"] == 75.0
    oracle = counts.oracle()
    assert oracle["top1_loc_err"] == 75.0 and oracle["thresholds"]["top1_loc_err"] == 0.5
    assert oracle["corloc_err"] == 75.0 and oracle["threshold"] == 0.0
    assert oracle["max_box_acc"] == {"30": 25.0, "50": 25.0, "70": 25.0}
    assert oracle["max_box_acc_v2"] == counts.max_box_acc_v2() == 50.0
    assert "box_acc" not in oracle and "max_box_acc" in oracle["thresholds"]
    json.dumps([fixed, oracle])


def test_counts_equal_a_plain_count():
    images = list(examples(1, 15))
    counts = counts_of(images)
    for t, threshold in enumerate(THRESHOLDS):
        single, multi, top1, top5 = np.zeros(3), np.zeros(3), 0, 0
        for score_map, boxes, in_top1, in_top5 in images:
            largest = localization.boxes_at(score_map, threshold, multi_contour=False)
            every = localization.boxes_at(score_map, threshold)
            found = localization.box_ious(largest, boxes).max() >= np.array([0.3, 0.5, 0.7])
            single += found
            multi += localization.box_ious(every, boxes).max() >= np.array([0.3, 0.5, 0.7])
            top1 += found[1] and in_top1
            top5 += found[1] and in_top5
        np.testing.assert_array_equal(counts.single[:, t], single)
        np.testing.assert_array_equal(counts.multi[:, t], multi)
        assert counts.top1[t] == top1 and counts.top5[t] == top5


def test_order_and_parts_do_not_matter():
    images = list(examples(2, 12))
    whole = counts_of(images)
    assert_same(whole, counts_of(images[::-1]))
    parts = [counts_of(images[:5]), counts_of([]), counts_of(images[5:])]
    assert_same(whole, parts[0].merge(parts[1]).merge(parts[2]))
    assert_same(whole, BoxCounts.from_arrays(whole.to_arrays()))
    assert parts[0].images == 5  # merging changes neither


def test_thresholds_are_carried_over():
    test, validation = counts_of(examples(3, 12)), counts_of(examples(4, 12))
    carried = test.carried_over(validation)
    best = validation.single.argmax(axis=1)
    np.testing.assert_allclose(
        [carried["box_acc"][key] for key in KEYS], 100 * test.single[range(3), best] / 12
    )
    assert carried["threshold"] == THRESHOLDS[best[1]]
    assert carried["corloc_err"] == 100 - carried["box_acc"]["50"]
    best = validation.multi.argmax(axis=1)
    assert carried["box_acc_v2"] == pytest.approx(100 * test.multi[range(3), best].mean() / 12)
    top1 = test.top1[validation.top1.argmax()]
    assert carried["top1_loc_err"] == pytest.approx(100 - 100 * top1 / 12)
    oracle = test.oracle()
    assert oracle["corloc_err"] <= carried["corloc_err"]
    assert oracle["max_box_acc_v2"] >= carried["box_acc_v2"]


def test_max_box_acc_v2_takes_the_best_threshold_for_every_delta():
    counts = counts_of(examples(5, 20))
    expected = 100 * counts.multi.max(axis=1).mean() / 20
    assert counts.oracle()["max_box_acc_v2"] == pytest.approx(expected)


def test_box_count_errors():
    counts = BoxCounts(THRESHOLDS)
    for figures in (lambda: counts.at(0.2), counts.oracle, counts.max_box_acc_v2):
        with pytest.raises(ValueError, match="No image"):
            figures()
    with pytest.raises(ValueError, match="nearest is 0.2"):
        counts.at(0.23)
    with pytest.raises(ValueError, match="without a ground-truth box"):
        counts.add(np.zeros((4, 4)), np.zeros((0, 4)))
    with pytest.raises(ValueError, match="same interval"):
        counts.merge(BoxCounts([0.5]))
    with pytest.raises(ValueError, match="same interval"):
        counts.carried_over(BoxCounts([0.5]))


def test_pxap_of_a_perfect_map():
    mask = block(3, 4, 9, 12) > 0
    pixels = PixelCounts(THRESHOLDS)
    pixels.add(mask.astype(float), mask)
    assert pixels.pxap() == pytest.approx(100.0)


@pytest.mark.parametrize("value", (0.0, 0.5, 1.0))
def test_pxap_of_a_constant_map(value):
    mask = block(3, 4, 9, 12) > 0
    pixels = PixelCounts(THRESHOLDS)
    pixels.add(np.full(mask.shape, value), mask)
    assert pixels.pxap() == pytest.approx(100 * mask.mean())


def test_pxap_by_hand():
    pixels = PixelCounts([0.0, 0.5])
    pixels.add(np.array([[1.0, 0.9, 0.4, 0.1]]), np.array([[1, 0, 1, 0]]))
    # Bins from the top: [1, 2) one of one; [0.5, 1) a background pixel; [0, 0.5) one of two.
    assert pixels.pxap() == pytest.approx(100 * (0.5 * 1 + 0.5 * 2 / 4))


def test_ignored_pixels_are_dropped_unless_foreground():
    mask, ignore = np.array([[1, 1, 0, 0]]), np.array([[0, 1, 1, 0]])
    pixels = PixelCounts([0.0, 0.5])
    pixels.add(np.array([[0.2, 0.7, 0.9, 0.6]]), mask, ignore)
    assert pixels.foreground.tolist() == [1, 1, 0, 0]
    assert pixels.background.tolist() == [0, 1, 0, 0]


def test_scores_on_an_edge_belong_to_the_bin_above():
    thresholds = localization.thresholds(0.001)
    pixels = PixelCounts(thresholds)
    pixels.add(thresholds[None], np.ones((1, 1000)))
    pixels.add(np.nextafter(thresholds, -1).clip(0)[None], np.ones((1, 1000)))
    assert pixels.foreground.tolist() == [3] + 998 * [2] + [1, 0, 0]


def test_pixel_counts_of_parts_add_up():
    rng = np.random.default_rng(0)
    images = [(rng.random((8, 8)), rng.random((8, 8)) < 0.4) for _ in range(5)]
    whole, one, other = (PixelCounts(THRESHOLDS) for _ in range(3))
    for image in images[::-1]:
        whole.add(*image)
    for image in images[:2]:
        one.add(*image)
    for image in images[2:]:
        other.add(*image)
    assert_same(whole, one.merge(other))
    assert_same(whole, PixelCounts.from_arrays(whole.to_arrays()))
    assert whole.pxap() == one.merge(other).pxap()


def test_pixel_count_errors():
    pixels = PixelCounts(THRESHOLDS)
    pixels.add(np.zeros((4, 4)), np.zeros((4, 4)))
    with pytest.raises(ValueError, match="No foreground pixel"):
        pixels.pxap()
    with pytest.raises(ValueError, match="resize the masks"):
        pixels.add(np.zeros((4, 4)), np.zeros((5, 4)))
    with pytest.raises(ValueError, match="same interval"):
        pixels.merge(PixelCounts([0.5]))
    for thresholds in ([], [0.5, 0.2], [0.5, 1.0], [-0.1, 0.5]):
        with pytest.raises(ValueError, match="increasing order"):
            PixelCounts(thresholds)
