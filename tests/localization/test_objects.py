"""Objects of a map: their boxes, pixels and peaks, by hand-made maps."""

import numpy as np
import pytest

from ega_jax import localization
from tests.helpers.score_maps import two_objects


def test_boxes_are_those_of_the_evaluator_but_for_their_last_pixel():
    """The reference's ends one later, and in the map's last pixel where it touches its edge."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        score_map = localization.score_map(rng.random((6, 6)), 48)
        for threshold in (0.1, 0.4, 0.7):
            size = 90, 61
            every = localization.find_objects(score_map, threshold, size, max_objects=None)
            one = localization.find_objects(score_map, threshold, size)
            np.testing.assert_array_equal(every.boxes[:1], one.boxes)
            largest = localization.largest_box(score_map, threshold, size)
            inside = one.boxes[0, 2:] < np.array(size) - 1  # else the evaluator cuts off in the map
            np.testing.assert_array_equal(one.boxes[0, :2], largest[:2])
            np.testing.assert_array_equal(one.boxes[0, 2:][inside], largest[2:][inside] - 1)


@pytest.mark.parametrize("size", [(48, 48), (96, 240), (33, 17)])
def test_boxes_are_around_the_pixels_that_an_object_covers(size):
    """To the nearest pixel of the image; where these are larger than the map's, there is one."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        score_map = localization.score_map(rng.random((6, 6)), 48)
        found = localization.find_objects(score_map, 0.5, size, max_objects=None)
        for number, box in enumerate(found.boxes):
            (rows, columns), last = np.nonzero(found.parts == number + 1), np.array(size) - 1
            first = np.array([columns.min(), rows.min()]) * size / 48
            end = np.array([columns.max() + 1, rows.max() + 1]) * size / 48
            assert (np.abs(box[:2] - first) <= 0.5).all() or (box[:2] == last).any()
            assert (np.abs(box[2:] + 1 - end) <= 1).all()
            if min(size) >= 48:
                assert (np.abs(box[2:] + 1 - end) <= 0.5).all()


def test_boxes_reach_the_last_pixel():
    """As far as the mirrored map's reach the first one."""
    score_map = np.zeros((16, 16))
    score_map[10:, 9:] = 1
    size = 400, 300
    (box,) = localization.find_objects(score_map, 0.5, size).boxes
    assert box.tolist() == [225, 188, 399, 299]
    (mirrored,) = localization.find_objects(score_map[::-1, ::-1], 0.5, size).boxes
    assert mirrored.tolist() == [0, 0, 174, 111]
    assert (mirrored[2:] - mirrored[:2]).tolist() == (box[2:] - box[:2]).tolist() == [174, 111]
    (whole,) = localization.find_objects(np.ones((16, 16)), 0.5, size).boxes
    assert whole.tolist() == [0, 0, 399, 299]


def test_several_without_the_small_ones():
    score_map = two_objects()
    boxes, parts, peaks = localization.find_objects(
        score_map, 0.5, (64, 32), max_objects=5, smallest=0.05
    )
    assert boxes.tolist() == [[4, 2, 27, 13], [40, 20, 51, 23]]
    np.testing.assert_array_equal(parts == 1, (score_map == 1))
    np.testing.assert_array_equal(parts == 2, (score_map == 0.8))
    assert peaks.tolist() == [1, 0.8]
    every = localization.find_objects(score_map, 0.5, (64, 32), max_objects=None)
    assert len(every.boxes) == 3
    assert len(localization.find_objects(score_map, 0.5, (64, 32), max_objects=1).boxes) == 1


def test_nothing_is_no_object():
    boxes, parts, peaks = localization.find_objects(np.zeros((8, 8)), 0.5, (8, 8))
    assert boxes.shape == (0, 4) and peaks.shape == (0,) and not parts.any()


def test_no_object_is_asked_for():
    """As where a picture is taken for one of a class without an object."""
    boxes, parts, peaks = localization.find_objects(two_objects(), 0.5, (8, 8), max_objects=0)
    assert boxes.shape == (0, 4) and peaks.shape == (0,) and not parts.any()


def test_a_threshold_of_the_map_itself_parts_two_levels():
    score_map = np.zeros((20, 20))
    score_map[5:12, 5:12] = 0.8
    threshold = localization.own_threshold(score_map)
    assert 0 <= threshold < 1
    (box,) = localization.find_objects(score_map, threshold, (20, 20)).boxes
    assert box.tolist() == [5, 5, 11, 11]


@pytest.mark.parametrize("size", [(16, 16), (50, 21)])
def test_regions_in_pixels_of_the_image(size):
    _, parts, _ = localization.find_objects(two_objects(), 0.5, size, max_objects=2)
    first, second = (localization.region_in_image(parts, i, size) for i in range(2))
    assert first.shape == size[::-1] and first.any() and second.any()
    assert not (first & second).any()


@pytest.mark.parametrize("size", [(7, 7), (160, 3), (3, 160), (16, 16)])
def test_no_region_is_empty(size):
    """Of objects smaller than a pixel of a small or narrow image."""
    for row in range(0, 16, 3):
        for column in range(0, 16, 3):
            score_map = np.zeros((16, 16))
            score_map[row : row + 2, column] = 1
            _, parts, _ = localization.find_objects(score_map, 0.5, size)
            region = localization.region_in_image(parts, 0, size)
            y, x = np.argwhere(region).mean(axis=0) + 0.5
            assert abs(x / size[0] - (column + 0.5) / 16) <= 1 / min(size[0], 16)
            assert abs(y / size[1] - (row + 1) / 16) <= 1 / min(size[1], 16)
