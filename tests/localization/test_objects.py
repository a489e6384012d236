"""Objects of a map: their boxes, pixels and stability, by hand-made maps."""

import numpy as np
import pytest

from ega_jax import localization


def two_objects():
    score_map = np.zeros((32, 32))
    score_map[2:14, 2:14] = 1
    score_map[6:9, 6:9] = 0  # a hole
    score_map[20:24, 20:26] = 0.8
    score_map[30, 30] = 0.9  # a speck
    return score_map


def test_boxes_are_those_of_the_evaluator():
    rng = np.random.default_rng(0)
    for _ in range(20):
        score_map = localization.score_map(rng.random((6, 6)), 48)
        for threshold in (0.1, 0.4, 0.7):
            size = 90, 61
            every = localization.find_objects(score_map, threshold, size, max_objects=None)
            expected = localization.object_boxes(score_map, threshold, size)
            np.testing.assert_array_equal(every.boxes, expected)
            one = localization.find_objects(score_map, threshold, size)
            largest = localization.largest_box(score_map, threshold, size)
            np.testing.assert_array_equal(one.boxes, largest[None])


def test_several_without_the_small_ones():
    score_map = two_objects()
    boxes, parts, stability = localization.find_objects(
        score_map, 0.5, (64, 32), max_objects=5, smallest=0.05
    )
    assert boxes.tolist() == [[4, 2, 28, 14], [40, 20, 52, 24]]
    np.testing.assert_array_equal(parts == 1, (score_map == 1))
    np.testing.assert_array_equal(parts == 2, (score_map == 0.8))
    assert stability.tolist() == [1, 1]
    every = localization.find_objects(score_map, 0.5, (64, 32), max_objects=None)
    assert len(every.boxes) == 3
    assert len(localization.find_objects(score_map, 0.5, (64, 32), max_objects=1).boxes) == 1


def test_a_box_that_moves_with_the_threshold_is_less_sure():
    y, x = np.mgrid[:64, :64]
    hill = np.clip(1 - np.hypot(x - 32, y - 32) / 40, 0, 1)
    plateau = (hill > 0.5).astype(float)
    (soft,) = localization.find_objects(hill, 0.5, (64, 64)).stability
    (hard,) = localization.find_objects(plateau, 0.5, (64, 64)).stability
    assert 0.5 < soft < 0.9 and hard == 1
    (faint,) = localization.find_objects(hill, 0.95, (64, 64)).stability
    assert faint < soft


def test_nothing_is_no_object():
    boxes, parts, stability = localization.find_objects(np.zeros((8, 8)), 0.5, (8, 8))
    assert boxes.shape == (0, 4) and stability.shape == (0,) and not parts.any()


def test_otsu_parts_two_levels():
    score_map = np.full((20, 20), 0.2)
    score_map[5:12, 5:12] = 0.8
    threshold = localization.otsu_threshold(score_map)
    assert 0.25 <= threshold < 1
    (box,) = localization.find_objects(score_map, threshold, (20, 20)).boxes
    assert box.tolist() == [5, 5, 12, 12]


@pytest.mark.parametrize("size", [(16, 16), (50, 21)])
def test_regions_in_pixels_of_the_image(size):
    _, parts, _ = localization.find_objects(two_objects(), 0.5, size, max_objects=2)
    first, second = (localization.region_in_image(parts, i, size) for i in range(2))
    assert first.shape == size[::-1] and first.any() and second.any()
    assert not (first & second).any()
