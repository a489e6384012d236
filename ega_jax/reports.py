"""What a run leaves of the splits it scored: figures, their intervals, tables."""

import logging
import os
from collections.abc import Mapping
from typing import Any

from etils import epath

from ega_jax import bootstrap, per_image
from ega_jax.data.source import Source
from ega_jax.scores import Scores
from ega_jax.tables import table

logger = logging.getLogger(__name__)

NAMES = {"val": "validation", "test": "test"}  # of the splits, in results.json and file names


def report_splits(
    scores: Mapping[str, Scores],
    sources: Mapping[str, Source],
    workdir: str | os.PathLike,
    *,
    threshold: float,
    resamples: int,
) -> dict[str, Any]:
    """Writes `per_image_<split>.csv` and `per_class_<split>.csv`, and logs the figures.

    Args:
      scores: of `val`, `test` or both, with their records.
      sources: the same splits.
      workdir: receives the files.
      threshold: the fixed one.
      resamples: for the intervals (`bootstrap.intervals`); 0: none.

    Returns:
      The part of `results.json` that is about splits: the figures of `validation` and `test`, and
      in `intervals` the same names with `[low, high]` for figures.
    """
    figures: dict[str, Any] = {}
    intervals: dict[str, Any] = {}
    validation = scores.get("val")
    box_threshold = mask_threshold = threshold
    if validation is not None and validation.boxes is not None:
        box_threshold = validation.boxes.oracle()["threshold"]
    if validation is not None and validation.pixels is not None:
        mask_threshold = validation.pixels.best_iou_threshold()
    for split, name in NAMES.items():
        if split not in scores:
            continue
        settings = (threshold, validation if split == "test" else None)
        figures[name] = scores[split].figures(*settings)
        if resamples:
            intervals[name] = bootstrap.intervals(scores[split], *settings, resamples=resamples)
        images = per_image.per_image(scores[split], sources[split], box_threshold, mask_threshold)
        classes = per_image.per_class(images, sources[split].class_names)
        per_image.write_csv(epath.Path(workdir) / f"per_image_{name}.csv", images)
        per_image.write_csv(epath.Path(workdir) / f"per_class_{name}.csv", classes)
        lines = [table(figures[name], intervals.get(name)), per_image.worst(classes)]
        logger.info("%s:\n%s", name, "\n".join(filter(None, lines)))
    return figures | ({"intervals": intervals} if resamples else {})
