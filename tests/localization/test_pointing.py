"""Where maps are bright: by hand, against a plain count, and what a map must not win."""

import numpy as np
import pytest

from ega_jax import localization
from ega_jax.localization import PointingCounts

SIZE = 224


def region(x0=50, y0=60, x1=99, y1=109, size=SIZE):
    return localization.region_of(np.array([[x0, y0, x1, y1]]), size)


def peak(x, y, size=SIZE, ground=0.0):
    score_map = np.full((size, size), ground)
    score_map[y, x] = 1.0
    return score_map


def shares(score_map, where, ignore=None):
    """Hit with and without tolerance, energy, and whether the map is brighter outside."""
    outcome = localization.pointing_outcome(score_map, where, ignore)
    assert outcome.dtype == np.int32
    return (outcome / localization.UNITS).tolist()


@pytest.mark.parametrize(
    ("x", "y", "hit", "exact"),
    [
        (50, 60, 1, 1),  # corners are of the box
        (99, 109, 1, 1),
        (100, 109, 1, 0),
        (114, 80, 1, 0),  # 15 pixels beside it
        (115, 80, 0, 0),
        (70, 45, 1, 0),
        (70, 44, 0, 0),
        (108, 121, 1, 0),  # 9 and 12 pixels off a corner: 15
        (109, 121, 0, 0),
        (0, 0, 0, 0),
        (223, 223, 0, 0),
    ],
)
def test_the_maximum_is_in_a_box_or_beside_it(x, y, hit, exact):
    assert shares(peak(x, y), region())[:2] == [hit, exact]


@pytest.mark.parametrize(("size", "beside"), [(112, 7), (448, 30), (32, 2), (8, 0)])
def test_the_tolerance_grows_with_the_map(size, beside):
    where = region(0, 0, 1, 1, size)
    assert shares(peak(1 + beside, 0, size), where)[0] == 1
    assert shares(peak(2 + beside, 0, size), where)[0] == 0


def test_any_of_several_boxes_is_pointed_at_and_all_of_them_hold_the_energy():
    boxes = np.array([[0, 0, 9, 9], [5, 5, 14, 14], [200, 200, 219, 223]])
    union = localization.region_of(boxes, SIZE)
    assert union.sum() == 100 + 100 - 25 + 20 * 24
    score_map = peak(210, 220, ground=0.5)
    hit, exact, energy, outside = shares(score_map, union)
    assert (hit, exact, outside) == (1, 1, 0)
    expected = (0.5 * union.sum() + 0.5) / (0.5 * SIZE**2 + 0.5)
    assert energy == pytest.approx(expected, abs=1 / localization.UNITS)


def test_boxes_that_reach_beyond_the_map():
    assert localization.region_of(np.array([[6, 6, 9, 12]]), 8).sum() == 4
    assert localization.region_of(np.zeros((0, 4), int), 8).sum() == 0


def test_of_several_maxima_the_share_that_hits_counts():
    score_map = peak(50, 60) + peak(100, 70) + peak(200, 200) + peak(0, 223)
    assert shares(score_map, region()) == [0.5, 0.25, 0.25, 0.0]


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_a_constant_map_points_nowhere(value):
    """Whatever the box: even one of nearly the whole image."""
    where = region(0, 0, SIZE - 1, SIZE - 2)
    energy = where.mean() if value else 0
    expected = [0, 0, pytest.approx(energy, abs=1e-6), 0]
    assert shares(np.full((SIZE, SIZE), value), where) == expected


def test_an_inverted_map_has_no_energy_and_points_elsewhere():
    where = region()
    assert shares(where.astype(float), where) == [1, 1, 1, 0]
    hit, exact, energy, outside = shares(1 - where.astype(float), where)
    assert (exact, energy, outside) == (0, 0, 1)
    assert 0 < hit < 0.15  # of its maxima, that are all around, those near the box


def test_brighter_is_meant_of_the_means():
    where = region(0, 0, SIZE - 1, 55)  # a quarter of the map
    score_map = np.where(where, 0.4, 0.3)
    _, _, energy, outside = shares(score_map, where)
    assert energy < 0.5 and outside == 0
    assert shares(np.where(where, 0.3, 0.4), where)[3] == 1
    assert shares(peak(3, 3), np.ones((SIZE, SIZE)))[3] == 0  # nothing is outside


def test_ignored_pixels_are_no_maximum_and_have_no_energy():
    where, ignore = region(), region(100, 60, 149, 109)
    score_map = 0.5 * peak(60, 70) + peak(120, 70) + 0.25 * peak(0, 0)
    assert shares(score_map, where)[1] == 0
    expected = [1, 1, pytest.approx(2 / 3, abs=1e-6), 0]
    assert shares(score_map, where, ignore) == expected
    # What is of an object counts, ignored or not; what is left may be constant.
    assert shares(score_map, where, np.ones_like(where)) == [1, 1, 1, 0]
    assert shares(peak(120, 70), where, ignore) == [0, 0, 0, 0]


def test_an_image_without_a_pixel_of_an_object_is_missed():
    assert shares(peak(0, 0), np.zeros((SIZE, SIZE))) == [0, 0, 0, 0]


def examples(seed, count, size=40):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        score_map = localization.score_map(rng.random((5, 5)), size)
        if rng.random() < 0.5:
            score_map = np.floor(4 * score_map) / 4  # with ties
        yield score_map, rng.random((size, size)) < 0.01, rng.random((size, size)) < 0.3


def test_outcomes_equal_a_plain_count():
    for score_map, where, ignore in examples(0, 40):
        counts = where | ~ignore
        highest = score_map[counts].max()
        objects = np.argwhere(where)
        distances = np.array(
            [
                np.hypot(*(objects - pixel).T).min()
                for pixel in np.argwhere((score_map == highest) & counts)
            ]
        )
        inside, outside = score_map[where], score_map[counts & ~where]
        expected = [
            (distances <= 15 * 40 / 224).mean(),
            (distances == 0).mean(),
            inside.sum() / (inside.sum() + outside.sum()),
            float(inside.mean() < outside.mean()),
        ]
        assert shares(score_map, where, ignore) == pytest.approx(expected, abs=1e-6)


def test_order_and_parts_do_not_matter_to_the_last_bit():
    images = list(examples(1, 30))
    whole, one, other = (PointingCounts() for _ in range(3))
    outcomes = np.stack([whole.add(*image) for image in images[::-1]])[::-1]
    for image in images[:11]:
        one.add(*image)
    for image in images[11:]:
        other.add(*image)
    merged = one.merge(PointingCounts()).merge(other)
    assert merged.figures() == whole.figures()
    assert PointingCounts.from_arrays(whole.to_arrays()).figures() == whole.figures()
    assert one.images == 11  # merging changes neither
    assert list(whole.figures()) == list(localization.POINTING)
    means = 100 * outcomes.mean(axis=0) / localization.UNITS
    np.testing.assert_allclose(list(whole.figures().values()), means)


def test_weighted_images_count_as_often_as_their_weights_say(monkeypatch):
    monkeypatch.setattr(localization.weighting, "_CHUNK", 7)
    images = list(examples(2, 20))
    outcomes = np.stack([localization.pointing_outcome(*image) for image in images])
    weights = np.random.default_rng(0).integers(0, 4, (3, 20)).astype(np.float32)
    for row, weighted in zip(
        weights, localization.weighted_pointing(outcomes, weights), strict=True
    ):
        plain = PointingCounts()
        for image, times in zip(images, row.astype(int), strict=True):
            for _ in range(times):
                plain.add(*image)
        assert weighted.figures() == plain.figures()


def test_errors():
    with pytest.raises(ValueError, match="No image was counted"):
        PointingCounts().figures()
    with pytest.raises(ValueError, match=r"\(4, 4\), the region \(5, 5\).*resize the masks"):
        localization.pointing_outcome(np.zeros((4, 4)), np.zeros((5, 5)))
    with pytest.raises(ValueError, match=r"ignored \(5, 5\); resize the masks"):
        localization.pointing_outcome(np.zeros((4, 4)), np.zeros((4, 4)), np.zeros((5, 5)))
