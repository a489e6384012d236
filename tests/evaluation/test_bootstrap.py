"""Intervals: each resample must be what scoring its images one by one would give."""

import dataclasses

import numpy as np
import pytest

from ega_jax import localization
from ega_jax.evaluation import bootstrap
from ega_jax.runtime.nested import flatten
from tests.helpers.scored_splits import IMAGES, make, score


@pytest.mark.parametrize("interval", [0.001, 0.1])
@pytest.mark.parametrize("classify", [True, False])
def test_a_resample_is_its_images_scored_one_by_one(interval, classify):
    made, thresholds = make(), localization.thresholds(interval)
    scores = score(made, range(IMAGES), thresholds, classify)
    rng = np.random.default_rng(5)
    for resample in bootstrap.draw(scores, 4, seed=5):
        expected = score(made, rng.integers(0, IMAGES, IMAGES), thresholds, classify)
        assert resample.figures(0.2, scores) == expected.figures(0.2, scores)


@pytest.mark.slow
def test_intervals_are_percentiles_of_figures_whose_thresholds_are_chosen_anew(monkeypatch):
    made, thresholds = make(), localization.thresholds(0.1)
    validation = score(make(1), range(IMAGES), thresholds)
    scores = score(made, range(IMAGES), thresholds)
    rng, figures = np.random.default_rng(0), []
    for _ in range(50):
        drawn = score(made, rng.integers(0, IMAGES, IMAGES), thresholds)
        figures.append(flatten(drawn.figures(0.2, validation)))
    monkeypatch.setattr(bootstrap, "_CHUNK", 20)  # several, the last one shorter
    monkeypatch.setattr(localization.weighting, "_CHUNK", 7)
    intervals = flatten(bootstrap.intervals(scores, 0.2, validation, resamples=50))
    for name, interval in intervals.items():
        assert interval == pytest.approx(np.percentile([f[name] for f in figures], [2.5, 97.5]))
    reported = flatten(scores.figures(0.2, validation)).keys()
    assert {n for n in reported if "threshold" not in n} - {"images"} == intervals.keys()
    assert len({f["oracle/threshold"] for f in figures}) > 1  # a fixed one would be another figure


def test_interval_of_a_share_is_that_of_theory():
    made = make(images=400, boxes=False, masks=False)
    scores = score(made, range(400), localization.thresholds(0.1))
    low, high = bootstrap.intervals(scores, 0.2)["top1_cls_err"]
    error = scores.figures(0.2)["top1_cls_err"]
    half = 1.96 * np.sqrt(error * (100 - error) / 400)
    assert (low, high) == pytest.approx((error - half, error + half), abs=0.7)


def test_same_seed_same_intervals_and_order_of_scoring_does_not_matter():
    made, thresholds = make(), localization.thresholds(0.1)
    one, other = (score(made, order, thresholds) for order in (range(IMAGES), range(39, -1, -1)))
    assert bootstrap.intervals(one, 0.2, resamples=9) == bootstrap.intervals(
        other, 0.2, resamples=9
    )
    assert bootstrap.intervals(one, 0.2, resamples=9) != bootstrap.intervals(
        one, 0.2, resamples=9, seed=1
    )


def test_resamples_without_any_pixel_of_an_object_count_for_the_other_figures():
    source, maps, probabilities = make(images=3)

    def only_first(index, size):
        return np.full((size, size), index == 0), np.zeros((size, size), bool)

    made = (dataclasses.replace(source, load_mask=only_first), maps, probabilities)
    scores = score(made, range(3), localization.thresholds(0.1))
    resamples = list(bootstrap.draw(scores, 30))
    assert {resample.pixels is None for resample in resamples} == {True, False}
    assert bootstrap.intervals(scores, 0.2, resamples=30).keys() == {
        "top1_cls_err", "top5_cls_err", "fixed", "oracle", "pxap", "in_boxes", "in_masks"
    }  # fmt: skip
