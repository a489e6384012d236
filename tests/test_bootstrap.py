"""Intervals: each resample must be what scoring its images one by one would give."""

import dataclasses

import numpy as np
import pytest

from ega_jax import bootstrap, localization
from ega_jax.data.source import Source
from ega_jax.scores import Scores
from ega_jax.tables import flatten

SIZE, IMAGES, CLASSES = 24, 40, 7


def make(seed=0, images=IMAGES, boxes=True, masks=True):
    """A split, and a map and class probabilities for each of its images."""
    rng = np.random.default_rng(seed)
    low = rng.integers(0, 12, (images, 2, 2))
    truths = np.concatenate((low, low + rng.integers(4, 12, low.shape)), axis=2)
    inside = rng.random((images, SIZE, SIZE)) < 0.3
    source = Source(
        name="made",
        image_ids=tuple(map(str, range(images))),
        labels=rng.integers(0, CLASSES, images).astype(np.int32),
        class_names=tuple(map(str, range(CLASSES))),
        load_image=lambda index: None,
        image_sizes=np.full((images, 2), SIZE),
        boxes=tuple(truths) if boxes else None,
        load_mask=(lambda i, size: (inside[i], ~inside[i] & (i % 3 == 0))) if masks else None,
    )
    maps = [localization.score_map(rng.random((4, 4)), SIZE) for _ in range(images)]
    maps[1] = maps[1] * 0.4  # not all reach the highest level, and one has no foreground
    maps[2] = np.zeros_like(maps[2])
    return source, maps, rng.dirichlet(np.ones(CLASSES), images)


def score(made, indices, thresholds, classify=True):
    source, maps, probabilities = made
    scores = Scores.empty(source, thresholds)
    for index in indices:
        scores.add(source, index, maps[index], probabilities[index] if classify else None)
    return scores


@pytest.mark.parametrize("interval", [0.001, 0.1])
@pytest.mark.parametrize("classify", [True, False])
def test_a_resample_is_its_images_scored_one_by_one(interval, classify):
    made, thresholds = make(), localization.thresholds(interval)
    scores = score(made, range(IMAGES), thresholds, classify)
    rng = np.random.default_rng(5)
    for resample in bootstrap.draw(scores, 4, seed=5):
        expected = score(made, rng.integers(0, IMAGES, IMAGES), thresholds, classify)
        assert resample.figures(0.2, scores) == expected.figures(0.2, scores)


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
        "top1_cls_err", "top5_cls_err", "fixed", "oracle", "pxap"
    }  # fmt: skip
