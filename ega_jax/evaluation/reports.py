"""What a run leaves of the splits it scored: figures, their intervals, tables."""

import logging
import os
from collections.abc import Mapping
from typing import Any

import ml_collections
import numpy as np
from etils import epath

from ega_jax.data.source import Source
from ega_jax.evaluation import bootstrap, drawing, gallery, per_image, score_files
from ega_jax.evaluation.evaluator import Evaluator
from ega_jax.evaluation.overlays import pictures
from ega_jax.evaluation.scores import Scores
from ega_jax.evaluation.tables import table
from ega_jax.runtime import distributed

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
    """Writes `per_image_`, `per_class_<split>.csv`, `scores_<split>.npz`, and logs the figures.

    Args:
      scores: of `val`, `test` or both, with their records.
      sources: the same splits.
      workdir: receives the files.
      threshold: the fixed one.
      resamples: for the intervals (`bootstrap.intervals`); 0: none.

    Returns:
      The part of `results.json` that is about splits: the figures of `validation` and `test`, in
      `intervals` the same names with `[low, high]` for figures, and in `warnings` what `inversion`
      says of them, which is also logged.
    """
    figures: dict[str, Any] = {}
    intervals: dict[str, Any] = {}
    warnings: list[str] = []
    validation = scores.get("val")
    box_threshold, mask_threshold = threshold, _mask_threshold(validation, threshold)
    if validation is not None and validation.boxes is not None:
        box_threshold = validation.boxes.oracle()["threshold"]
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
        score_files.save(epath.Path(workdir) / f"scores_{name}.npz", scores[split])
        lines = [table(figures[name], intervals.get(name)), per_image.worst(classes)]
        logger.info("%s:\n%s", name, "\n".join(filter(None, lines)))
        if warning := inversion(figures[name]):
            warnings.append(f"{name}: {warning}")
            logger.warning("%s", warnings[-1])
    if any(one.pixels is not None for one in scores.values()):
        figures["mask_threshold"] = mask_threshold
    return figures | ({"intervals": intervals} if resamples else {}) | {"warnings": warnings}


def inversion(figures: Mapping[str, Any]) -> str | None:
    """Says that the maps of a split are inverted; None if they are not.

    It does if more than half of the images have a map whose mean outside the objects is higher than
    inside, by boxes or by masks. Maps that are noise are as often brighter here as there.

    Args:
      figures: as `Scores.figures` gives them.
    """
    found = [
        f"{share:.0f} % of the maps are brighter outside the true {objects} than inside"
        for name, objects in (("in_boxes", "boxes"), ("in_masks", "masks"))
        if name in figures and (share := figures[name]["brighter_outside"]) > 50
    ]
    if not found:
        return None
    return (
        f"{' and '.join(found)}: they are inverted, or know nothing of the objects. MaxBoxAccV2 "
        "does not see that, as it takes contours of holes for boxes; look at the pointing game."
    )


def report(
    evaluator: "Evaluator",
    variables: dict,
    step: int,
    sources: Mapping[str, Source],
    workdir: str,
    *,
    validation: Scores | None = None,
    kept: gallery.Gallery | None = None,
    writer: Any = None,
) -> dict:
    """Scores the test split, draws pictures, writes tables, and prints the figures.

    Args:
      evaluator: of the network.
      variables: its parameters and statistics.
      step: of the checkpoint.
      sources: `test`, and `val` for the thresholds carried over; either may be absent.
      workdir: receives `pictures/*.png`, `report.npz` and the files of `per_image.py`.
      validation: scores of the validation split, if they are known already.
      kept: the images that were kept for the report meanwhile.
      writer: also receives the pictures, if given.

    Returns:
      What `results.json` holds, without times; without figures on all processes but the lead.
    """
    config = evaluator.config
    scores: dict[str, Scores] = {}
    kept = kept or evaluator.gallery(sources)
    if validation is not None:
        scores["val"] = validation
    elif "val" in sources:
        scores["val"], _ = evaluator.score(
            variables,
            sources["val"],
            maps=maps_folder(config, workdir),
            gallery=None if "test" in sources else kept,
        )
    if "test" in sources:
        count = min(config.eval.pictures, len(sources["test"]))
        keep = np.linspace(0, len(sources["test"]) - 1, count).round().astype(int).tolist()
        scores["test"], examples = evaluator.score(
            variables, sources["test"], keep, maps=maps_folder(config, workdir), gallery=kept
        )
    shown = kept and kept.to_arrays(scores[kept.split])
    results = {"config": config.to_dict(), "step": step}
    if not distributed.is_lead():
        return results
    if shown:
        gallery.save(workdir, shown)
    results |= report_splits(
        scores,
        sources,
        workdir,
        threshold=config.eval.threshold,
        resamples=config.eval.bootstrap,
    )
    if "test" in sources:
        threshold = results["test"].get("val", {}).get("threshold", config.eval.threshold)
        of_masks = _mask_threshold(scores.get("val"), config.eval.threshold)
        for name, sheet in pictures(sources["test"], examples, threshold, of_masks).items():
            drawing.save_png(epath.Path(workdir) / "pictures" / f"{name}.png", sheet)
            if writer:
                writer.write_images(step, {name: sheet[None]})
    return results


def _mask_threshold(validation: Scores | None, fixed: float) -> float:
    """Returns the threshold of masks that validation finds; a fixed one where it cannot."""
    pixels = None if validation is None else validation.pixels
    return fixed if pixels is None else pixels.best_iou_threshold()


def maps_folder(config: ml_collections.ConfigDict, workdir: str | os.PathLike) -> epath.Path | None:
    """Returns where an evaluation leaves its score maps; None if it does not."""
    return epath.Path(workdir) / "maps" if config.eval.save_maps else None
