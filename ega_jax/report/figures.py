"""Figures, curves and classes of runs, in the order in which the page shows them."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from ega_jax import localization
from ega_jax.evaluation.tables import THRESHOLDS
from ega_jax.report.charts import Chart, Series, chart
from ega_jax.report.events import Curve
from ega_jax.report.runs import Reported
from ega_jax.runtime.nested import flatten

# Names for people, in the order of the page; an arrow says which way is better.
METRICS = {
    "top1_cls_err": "Top-1 classification error\u00a0↓",
    "top5_cls_err": "Top-5 classification error\u00a0↓",
    "top1_cls_err_single": "Top-1 classification error, one crop\u00a0↓",
    "top1_loc_err": "Top-1 localization error\u00a0↓",
    "top5_loc_err": "Top-5 localization error\u00a0↓",
    "corloc_err": "CorLoc error\u00a0↓",
    "box_acc/30": "Box accuracy, IoU ≥ 0.3\u00a0↑",
    "box_acc/50": "Box accuracy, IoU ≥ 0.5\u00a0↑",
    "box_acc/70": "Box accuracy, IoU ≥ 0.7\u00a0↑",
    "box_acc_v2": "BoxAccV2\u00a0↑",
    "threshold": "Threshold (CorLoc)",
    "pxap": "PxAP\u00a0↑",
    "in_boxes/pointing_game": "Pointing game, boxes\u00a0↑",
    "in_boxes/pointing_game_0px": "Pointing game, boxes, no tolerance\u00a0↑",
    "in_boxes/energy": "Energy in boxes\u00a0↑",
    "in_boxes/brighter_outside": "Brighter outside boxes\u00a0↓",
    "in_masks/pointing_game": "Pointing game, masks\u00a0↑",
    "in_masks/pointing_game_0px": "Pointing game, masks, no tolerance\u00a0↑",
    "in_masks/energy": "Energy in masks\u00a0↑",
    "in_masks/brighter_outside": "Brighter outside masks\u00a0↓",
}
COLUMNS = {"fixed": "fixed", "val": "from validation", "oracle": "best on this split"}

_CLASSES = {
    "class": "Class",
    "images": "Images",
    "top1_cls_err": "Top-1 cls err",
    "top5_cls_err": "Top-5 cls err",
    "corloc_err": "CorLoc err",
    "top1_loc_err": "Top-1 loc err",
    "mean_iou": "Mean IoU",
    "mean_mask_iou": "Mean mask IoU",
    "pointing_game": "Pointing game",
    "mask_pointing_game": "Pointing game, masks",
}


# By what the table of classes is sorted, the first of these that there is.
_SORTED = {
    "corloc_err": ", the worst located first",
    "mean_mask_iou": ", the worst located first",
    "top1_cls_err": ", the worst classified first",
}


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure: its value, and `[low, high]` of its interval if that is known."""

    value: float
    interval: tuple[float, float] | None = None


@dataclasses.dataclass(frozen=True)
class Row:
    """A metric.

    Attributes:
      name: for people.
      depends: whether it depends on the threshold.
      at: by kind of threshold a figure for each run, None where it is unknown; under `free` if it
        does not depend on it.
    """

    name: str
    depends: bool
    at: dict[str, list[Figure | None]]


def rows(runs: Sequence[Reported], split: str) -> list[Row]:
    """Lists the metrics of a split that any of the runs has."""
    known = [_figures(run, split) for run in runs]
    result = []
    for name, label in METRICS.items():
        free = [one.get(name) for one in known]
        at = {kind: [one.get(f"{kind}/{name}") for one in known] for kind in THRESHOLDS}
        if any(free):
            result.append(Row(label, False, {"free": free}))
        elif any(map(any, at.values())):
            result.append(Row(label, True, at))
    return result


def _figures(run: Reported, split: str) -> dict[str, Figure]:
    """Returns the figures by name; what is `max_box_acc` at the best threshold is `box_acc`."""
    intervals = flatten(run.results.get("intervals", {}).get(split, {}))
    return {
        name.replace("/max_", "/"): Figure(value, intervals.get(name))
        for name, value in flatten(run.results.get(split, {})).items()
    }


def charts(runs: Sequence[Reported]) -> list[Chart]:
    """Draws what there is: losses, validation, accuracy over the threshold, precision and recall.

    Args:
      runs: one, or two that are compared; of two, the second is dashed and fewer curves are shown.
    """
    alone = len(runs) == 1
    losses = [
        Series(*_named(run, tag.removeprefix("train/"), alone), *_steps(curve), colour, number > 0)
        for number, run in enumerate(runs)
        for colour, (tag, curve) in enumerate(_losses(run, alone).items())
    ]
    validation = [
        Series(*_named(run, name, alone), *_steps(run.curves[tag]), colour, number > 0)
        for number, run in enumerate(runs)
        for colour, (tag, name) in enumerate(_VALIDATION.items())
        if tag in run.curves
    ]
    made = [
        chart("Loss", losses, "step", "mean over images"),
        chart("Validation", validation, "step", "%", y_range=(0, 100)),
        chart(
            "Box accuracy over the threshold",
            [one for number, run in enumerate(runs) for one in _accuracy(run, number, alone)],
            "threshold",
            "% of images",
            x_range=(0, 1),
            y_range=(0, 100),
            over_threshold=True,
        ),
        chart(
            "Precision and recall of pixels",
            [one for number, run in enumerate(runs) for one in _pixels(run, number, alone)],
            "recall, %",
            "precision, %",
            x_range=(0, 100),
            y_range=(0, 100),
        ),
    ]
    return [one for one in made if one is not None]


_VALIDATION = {
    "val/top1_cls_err": "Top-1 classification error",
    "val/oracle/corloc_err": "CorLoc error, best threshold",
    "val/oracle/max_box_acc_v2": "MaxBoxAccV2",
    "val/pxap": "PxAP",
}


def _losses(run: Reported, alone: bool) -> dict[str, Curve]:
    """Chooses the loss and, of a run alone, its terms, those that are curves of their own."""
    chosen: dict[str, Curve] = {}
    for tag in ("train/loss", *(sorted(run.curves) if alone else ())):
        is_term = tag.startswith(("train/loss", "train/ce_", "train/entropy_"))
        if is_term and tag != "train/entropy_share" and tag in run.curves:
            if run.curves[tag] not in chosen.values():
                chosen[tag] = run.curves[tag]
    return chosen


def _named(run: Reported, name: str, alone: bool) -> tuple[str]:
    return (name if alone else f"{run.name}: {name}",)


def _steps(curve: Sequence[tuple[int, float]]) -> tuple[list[float], list[float]]:
    return [float(step) for step, _ in curve], [value for _, value in curve]


def _accuracy(run: Reported, number: int, alone: bool) -> list[Series]:
    single, images = run.count("boxes/single"), run.count("boxes/images")
    if single is None or not images:
        return []
    at = run.count("boxes/thresholds")
    return [
        Series(
            *_named(run, f"IoU ≥ {delta:g}", alone), at, 100 * correct / images, colour, number > 0
        )
        for colour, (delta, correct) in enumerate(
            zip(localization.IOU_THRESHOLDS, single, strict=True)
        )
    ]


def _pixels(run: Reported, number: int, alone: bool) -> list[Series]:
    foreground, background = run.count("pixels/foreground"), run.count("pixels/background")
    if foreground is None or not foreground.any():
        return []
    found = np.cumsum(foreground[::-1])
    positives = found + np.cumsum(background[::-1])
    some = positives > 0
    recall, precision = 100 * found[some] / found[-1], 100 * found[some] / positives[some]
    return [Series(*_named(run, "pixels", alone), recall, precision, number, number > 0)]


def class_table(run: Reported) -> tuple[list[str], list[list[str]], str]:
    """Returns the headings and lines of the table of classes, and how they are sorted, in words."""
    columns = [name for name in _CLASSES if run.classes and name in run.classes[0]]
    worst = next((name for name in _SORTED if name in columns), None)
    sign = 1 if worst == "mean_mask_iou" else -1

    def badness(row: Mapping[str, str]) -> float:
        return sign * float(row[worst]) if worst and row[worst] else math.inf

    lines = [
        [_cell(name, row[name]) for name in columns] for row in sorted(run.classes, key=badness)
    ]
    return [_CLASSES[name] for name in columns], lines, _SORTED.get(worst, "")


def _cell(name: str, text: str) -> str:
    if name in ("class", "images") or not text:
        return text
    return f"{float(text):.2f}" if name.startswith("mean_") else f"{float(text):.1f}"
