import cv2
import numpy as np
import pytest

from ega_jax import localization
from ega_jax.localization import boxes as boxes_module

THRESHOLDS = localization.thresholds(0.001)


def plain_boxes(score_map, threshold):
    """The reference's procedure at one threshold: boxes of all contours, box of the largest."""
    levels = (score_map * 255).astype(np.uint8)
    _, binary = cv2.threshold(levels, int(threshold * levels.max()), 255, cv2.THRESH_BINARY)
    contours, _ = cv2.findContours(binary, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return [(0, 0, 0, 0)], (0, 0, 0, 0)

    def box(contour):
        x, y, width, height = cv2.boundingRect(contour)
        last_x, last_y = levels.shape[1] - 1, levels.shape[0] - 1
        return x, y, min(x + width, last_x), min(y + height, last_y)

    return [box(c) for c in contours], box(max(contours, key=cv2.contourArea))


def check(score_map, thresholds):
    found = localization.boxes_at_thresholds(score_map, thresholds)
    for index, threshold in enumerate(thresholds):
        every, largest = plain_boxes(score_map, threshold)
        assert sorted(map(tuple, found.contours_at(index).tolist())) == sorted(every)
        assert tuple(found.largest_at(index).tolist()) == largest
        at = localization.boxes_at(score_map, threshold).tolist()
        assert sorted(map(tuple, at)) == sorted(every)
        one = localization.boxes_at(score_map, threshold, multi_contour=False).tolist()
        assert one == [list(largest)]


def scaled(array):
    return localization.score_map(array, len(array))


def drawing(text):
    return np.array([[int(c) for c in row] for row in text.split()]) / 9


@pytest.mark.parametrize("seed", range(12))
def test_smooth_maps(seed):
    rng = np.random.default_rng(seed)
    check(localization.score_map(rng.random((5 + seed, 9)), 56), THRESHOLDS[::4])


@pytest.mark.parametrize("cut", (-1, 0, 0.7))
def test_rectified_smooth_maps(cut):
    cam = np.random.default_rng(3).standard_normal((14, 14))
    score_map = np.maximum(localization.resize_map(cam, 112), cut)
    check(scaled(np.minimum(score_map, 1.2)), THRESHOLDS[::4])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("smoothing", (0, 0.5, 1))
def test_noisy_maps(seed, smoothing):
    noise = np.random.default_rng(seed).random((48, 48))  # up to 450 basins, more than a byte holds
    check(
        scaled(cv2.GaussianBlur(noise, (5, 5), smoothing) if smoothing else noise), THRESHOLDS[::4]
    )


def test_noisy_map_with_more_branches_than_32_bits_keep_apart():
    check(np.random.default_rng(0).random((300, 300)), (0.2, 0.5, 0.8))


@pytest.mark.parametrize("values", (2, 3, 5, 20))
def test_tiny_maps_with_flat_zones_and_ties(values):
    rng = np.random.default_rng(values)
    for _ in range(120):
        shape = rng.integers(1, 13, 2)
        score_map = rng.integers(0, values, shape) / (values - 1)
        check(score_map * rng.choice((1, 0.3)), THRESHOLDS[:: 1000 // 40])


@pytest.mark.parametrize("density", (0.05, 0.2, 0.4, 0.6, 0.8, 0.95))
def test_many_equal_components_and_holes(density):
    rng = np.random.default_rng(7)
    for _ in range(10):
        mask = rng.random((31, 31)) < density
        check(mask * rng.choice((0.4, 0.7, 1.0), (31, 31)), [0, 0.3, 0.5, 0.8])


@pytest.mark.parametrize("value", (0.0, 0.001, 0.5, 1.0))
def test_constant_maps(value):
    check(np.full((9, 9), value), [0, 0.2, 0.999])


def test_thresholds_in_any_order_with_gaps_and_one():
    thresholds = np.delete(np.linspace(0, 1, 256), [7, 254])[::-1]
    check(scaled(np.random.default_rng(0).random((16, 16))), np.append(thresholds, 0.5))


def test_line_has_no_area_but_a_box():
    found = localization.boxes_at(drawing("00000 09990 00000 00900 00000"), 0.2, False)
    assert found.tolist() == [[2, 3, 3, 4]]  # equal areas, 0: the lower component comes first


def test_box_ends_one_past_the_last_pixel_but_inside_the_map():
    score_map = drawing("0000 0990 0990 0099")
    assert localization.boxes_at(score_map, 0.5).tolist() == [[1, 1, 3, 3]]


def test_hole_is_a_contour():
    ring = drawing("000000 099990 090090 090090 099990 000000")
    found = localization.boxes_at_thresholds(ring, [0.5])
    assert found.contours_at(0).tolist() == [[1, 1, 5, 5], [1, 1, 5, 5]]


def test_ring_counts_what_it_encloses():
    rows = "99999000 90009000 90009000 90009000 99999000 00000000 00009999 00009999"
    score_map = drawing(rows)  # own area of the ring 0, inside it 16; of the block 3
    assert localization.boxes_at_thresholds(score_map, [0.5]).largest.tolist() == [[0, 0, 5, 5]]


def test_foreground_is_strictly_above_the_threshold():
    score_map = np.array([[0.0, 51.0], [52.0, 255.0]]) / 255
    assert localization.boxes_at(score_map, 0.2).tolist() == [[0, 1, 1, 1]]
    assert localization.boxes_at(score_map, 0.1999).tolist() == [[0, 0, 1, 1]]


def test_thresholds_share_levels():
    found = localization.boxes_at_thresholds(scaled(np.eye(9)), THRESHOLDS)
    assert len(found.largest) == len(found.starts) == 255
    assert found.level_of.tolist() == (THRESHOLDS * 255).astype(int).tolist()


def test_opencv_is_left_with_few_contours(monkeypatch):
    calls = []
    find = cv2.findContours
    monkeypatch.setattr(
        boxes_module.cv2, "findContours", lambda *args: calls.append(args[0].size) or find(*args)
    )
    rng = np.random.default_rng(0)
    localization.boxes_at_thresholds(localization.score_map(rng.random((14, 14))), THRESHOLDS)
    assert len(calls) < 10
    calls.clear()
    localization.boxes_at_thresholds(scaled(rng.random((64, 64))), THRESHOLDS)
    assert sum(calls) < 255 * 64 * 64 / 4  # pixels, of 255 whole maps


def test_largest_box_in_pixels_of_the_image():
    score_map = drawing("0000 0990 0990 0000")
    assert localization.largest_box(score_map, 0.2, (40, 20)).tolist() == [10, 5, 30, 15]
    full = np.ones((4, 4))
    assert localization.largest_box(full, 0.2, (8, 4)).tolist() == [0, 0, 6, 3]
    assert localization.largest_box(0 * full, 0.2, (8, 4)).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("thresholds", ([], [-0.1], [0.5, 1.1], [np.nan]))
def test_impossible_thresholds(thresholds):
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        localization.boxes_at_thresholds(np.ones((4, 4)), thresholds)
