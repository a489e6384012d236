"""`--mode=baseline`: the lines of answers that never look at the image."""

import logging
import os
from collections.abc import Sequence
from typing import Any

from etils import epath

from ega_jax import localization
from ega_jax.data.files.folder import split_sources
from ega_jax.data.files.masks import BINARY
from ega_jax.data.source import DataError
from ega_jax.evaluation.centre import BoxSizes, Truth, centre_gaussian, score_shared
from ega_jax.evaluation.tables import table
from ega_jax.runtime import files

logger = logging.getLogger(__name__)


def baseline(
    metadata: str,
    *,
    workdir: str,
    images: str | None = None,
    masks: str | None = None,
    mask_values: str = BINARY,
    background: Sequence[str] = (),
    map_size: int = 224,
    threshold: float = 0.2,
    threshold_interval: float = 0.001,
) -> dict[str, Any]:
    """Scores the Gaussian and the box against the field's metadata; writes `results.json`.

    Args:
      metadata: folder of one split, or of `test` and, for what is carried over, `val`.
      workdir: receives `results.json`.
      images: folder of the images, needed only if `image_sizes.txt` is missing.
      masks: folder that mask paths are relative to; default: `images`.
      mask_values: what values mean in masks, `binary` or `trimap`.
      background: names of classes without an object, whose images are not scored.
      map_size: side of the square on which boxes and masks are compared (reference: 224).
      threshold: the fixed one. What the Gaussian reaches there depends on its sigma alone.
      threshold_interval: distance of the thresholds tried.

    Returns:
      What `results.json` holds: `metadata`, and for `centre_gaussian` and `centre_box` the figures
      of `validation`, if there is one, and `test`, as `Scores.figures` and `BoxSizes.figures` give
      them.

    Raises:
      DataError: the metadata or the masks cannot be used; names the file.
    """
    thresholds = localization.thresholds(threshold_interval)
    sources = split_sources(
        metadata, images=images, masks=masks, mask_values=mask_values, background=background
    )
    truths = {split: Truth.of(source, map_size) for split, source in sources.items()}
    if truths["test"].boxes is None and truths["test"].foreground is None:
        raise DataError(
            f"{metadata}: localization.txt of the split to evaluate is missing or empty; give its "
            "boxes or masks, there is nothing to compare with otherwise"
        )
    score_map = centre_gaussian(map_size)
    gaussians = {split: score_shared(score_map, t, thresholds) for split, t in truths.items()}
    sizes = {split: BoxSizes.of(truth) for split, truth in truths.items()}

    results: dict[str, Any] = {"metadata": os.path.abspath(metadata)}
    results["centre_gaussian"] = {
        name: gaussians[split].figures(threshold, validation)
        for name, split, validation in _evaluations(gaussians)
    }
    results["centre_box"] = {
        name: sizes[split].figures(validation) for name, split, validation in _evaluations(sizes)
    }
    for line in ("centre_gaussian", "centre_box"):
        for name, figures in results[line].items():
            logger.info("%s, %s:\n%s", line, name, table(figures))
    files.write_json(epath.Path(workdir) / "results.json", results)
    return results


def _evaluations(parts: dict[str, Any]) -> list[tuple[str, str, Any]]:
    """Lists what is reported: its name, the split, and what is carried over to it."""
    validation = parts.get("val")
    rows = [] if validation is None else [("validation", "val", None)]
    return [*rows, ("test", "test", validation)]
