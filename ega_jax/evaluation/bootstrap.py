"""Confidence intervals of all figures of a split, by resampling its images.

A resample is N images drawn from the N with replacement. Its counts give its figures as the counts
of the split give the split's, so thresholds that are the best of the split (`oracle`) are chosen
again within every resample; those carried over from validation stay as they are. The interval is
the middle 95 % of the figures of all resamples. It says how much a figure depends on which images
are in the split, not how much on the seed of the training.

1000 resamples take 0.7 s of one core for 5000 images and 4 s for 50,000, 8 s with masks: 3 to 6 %
of what the evaluator needs to find the boxes of the same maps (`python -m benchmarks.reports`). At
1000 thresholds and maps of 224 pixels a row has 1.2 KB with boxes and 4 KB with masks: 63
and 264 MB for 50,000 images without and with masks, and while it works twice that.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from ega_jax import localization
from ega_jax.evaluation.scores import Scores, has_objects
from ega_jax.runtime.nested import flatten

PERCENTILES = (2.5, 97.5)
_CHUNK = 250  # resamples at once: their counts at 1000 thresholds take 16 MB


def intervals(
    scores: Scores,
    threshold: float,
    validation: Scores | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Computes 95 % percentile intervals of all figures but those of ten crops against one.

    Args:
      scores: of the split, with its records.
      threshold: the fixed one.
      validation: scores of the validation split, for `val`.
      resamples: number of resamples.
      seed: of the draws; the same gives the same intervals.

    Returns:
      `[low, high]`, nested as in `Scores.figures`, thresholds and numbers left out. A resample of
      very few images that happens to have no pixel of an object counts for everything but `pxap`.
    """
    values: dict[str, list[float]] = {}
    for resample in draw(scores, resamples, seed):
        for name, value in flatten(resample.figures(threshold, validation)).items():
            values.setdefault(name, []).append(value)
    result: dict[str, Any] = {}
    for name, figures in values.items():
        *folders, last = name.split("/")
        if last in ("images", "threshold") or "thresholds" in folders:
            continue
        inner = result
        for folder in folders:
            inner = inner.setdefault(folder, {})
        inner[last] = np.percentile(figures, PERCENTILES).tolist()
    return result


def draw(scores: Scores, resamples: int, seed: int = 0) -> Iterator[Scores]:
    """Yields the counts of resamples.

    Args:
      scores: of a split of N images, with its records.
      resamples: number of resamples.
      seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    rows = scores.records.to_arrays()
    number = len(rows["index"])
    absent = np.zeros(number, bool)
    top1, top5 = rows.get("top1", absent), rows.get("top5", absent)
    located = has_objects(rows)
    if scores.boxes is not None:
        outcomes = localization.BoxOutcomes.of_rows(rows, scores.boxes.thresholds)
    for first in range(0, resamples, _CHUNK):
        size = min(_CHUNK, resamples - first)
        weights = np.stack(
            [np.bincount(rng.integers(0, number, number), minlength=number) for _ in range(size)],
            dtype=np.float32,
            casting="unsafe",
        )
        right = weights @ np.stack([top1, top5], axis=1).astype(np.float32)
        weights *= located
        boxes = pixels = [None] * size
        if scores.boxes is not None:
            boxes = outcomes.weighted(weights, top1, top5)
        if scores.pixels is not None:
            pixels = localization.weighted_pixels(
                scores.pixels.thresholds, rows["foreground"], rows["background"], weights
            )
        in_boxes, in_masks = (
            localization.weighted_pointing(rows[name], weights) if name in rows else [None] * size
            for name in ("in_boxes", "in_masks")
        )
        for i in range(size):
            some = bool(weights[i].any())  # false: no image with an object is in it
            yield Scores(
                boxes=boxes[i] if some else None,
                pixels=pixels[i] if pixels[i] and pixels[i].foreground.any() else None,
                in_boxes=in_boxes[i] if some else None,
                in_masks=in_masks[i] if some else None,
                images=number,
                classified=number if "top1" in rows else 0,
                ranked=number if "top5" in rows else 0,
                top1=int(right[i, 0]),
                top5=int(right[i, 1]),
            )
