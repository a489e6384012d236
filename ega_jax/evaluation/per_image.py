"""Results image by image and class by class, as tables and as CSV files.

`per_image_<split>.csv` has a line for every image, in the order of evaluation:

| column | |
| --- | --- |
| `image_id`, `label` | as in the data set; labels count from 0, `classes.json` has their names |
| `prediction`, `probability` | best class, by ten crops if they are used; how probable, 0 to 1 |
| `top1`, `top5` | 1 if the label is the best class, is among the best five; else 0 |
| `threshold` | at which the box is cut out of the map of the true class |
| `x0`, `y0`, `x1`, `y1` | box of the largest contour, in pixels of the original image |
| `iou` | with the true box that it fits best, as the evaluator measures it, on the map |
| `correct` | 1 if that is at least 0.5, else 0 |
| `pointing_game` | 1 if the maximum of the map is in a true box or within 15 of 224 pixels of it |
| `pointing_game_0px` | 1 if it is in one; both a share where several pixels are the maximum |
| `energy` | share of the map's sum that is in the true boxes, 0 to 1 |
| `brighter_outside` | 1 if the map is brighter outside the true boxes than inside, on average |
| `mask_threshold` | a pixel with at least this score counts as object |
| `mask_iou` | of these pixels with the true mask, 0 to 1 |
| `mask_pointing_game`, ... | as the four above, with the mask for the boxes |

An image of a class without an object (`data.background_classes`) has empty cells from `threshold`
on.
Columns that the split cannot give (no classifier, boxes, masks; `top5` of at most five classes) are
absent. The threshold is that of CorLoc's `val` in `results.json`, or the fixed one if there is no
validation split. The mask's has the best IoU of all masks of the validation split together, or is
the fixed one too.

`per_class_<split>.csv` has a line for every class with an image, in the order of the labels:
`label`, `class`, `images`, then in percent `top1_cls_err`, `top5_cls_err`, `corloc_err` and
`top1_loc_err`, the latter at the threshold above (that in `results.json` is at its own), `mean_iou`
and `mean_mask_iou`, 0 to 1, and in percent the means of `pointing_game` and the columns like it;
empty where they are empty for every image.
"""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ega_jax import localization
from ega_jax.data.source import Source
from ega_jax.evaluation.scores import Scores, has_objects
from ega_jax.runtime import files

Table = dict[str, Any]  # columns of equal length, by name

_FORMATS = {"threshold": ".6g", "mask_threshold": ".6g"}  # others: six decimals
_WORST = 3


def per_image(
    scores: Scores, source: Source, threshold: float, mask_threshold: float | None = None
) -> Table:
    """Lists the images of a split; see the module's docstring.

    Args:
      scores: of the split, with its records.
      source: the split.
      threshold: of the boxes, one of those counted.
      mask_threshold: of the masks, one of those counted; None: the same.

    Returns:
      The columns, as arrays `[N]`; masked where cells are empty.
    """
    rows = scores.records.to_arrays()
    index = rows["index"]
    result: Table = {
        "image_id": np.array(source.image_ids, object)[index],
        "label": source.labels[index],
    }
    if scores.classified:
        names = ("prediction", "probability", "top1", "top5")
        result |= {name: rows[name] for name in names if name in rows}
    located: Table = {}
    if scores.boxes is not None:
        located |= _boxes(scores, source, rows, threshold)
        located |= _pointing(rows["in_boxes"], "")
    if scores.pixels is not None:
        at = threshold if mask_threshold is None else mask_threshold
        bin_of = int(np.abs(scores.pixels.thresholds - at).argmin())
        ious = localization.mask_ious(rows["foreground"], rows["background"], bin_of)
        located |= {"mask_threshold": np.full(len(index), at), "mask_iou": ious}
        located |= _pointing(rows["in_masks"], "mask_")
    if not (has_object := has_objects(rows)).all():
        located = {name: np.ma.array(x, mask=~has_object) for name, x in located.items()}
    return result | located


def _pointing(outcomes: np.ndarray, prefix: str) -> Table:
    shares = [*outcomes.T / localization.UNITS]
    shares[localization.OUTSIDE] = shares[localization.OUTSIDE].astype(bool)
    return {prefix + name: share for name, share in zip(localization.POINTING, shares, strict=True)}


def _boxes(
    scores: Scores, source: Source, rows: Mapping[str, np.ndarray], threshold: float
) -> Table:
    outcomes = localization.BoxOutcomes.of_rows(rows, scores.boxes.thresholds)
    boxes = outcomes.largest_at(threshold)
    side = int(rows["map_size"][0])
    sizes = np.asarray(source.image_sizes)[rows["index"]]
    ious = np.zeros(len(boxes))
    for i, index in enumerate(rows["index"]):
        if not source.has_object(index):
            continue
        truths = localization.scale_boxes(source.boxes[index], sizes[i], side)
        ious[i] = localization.box_ious(boxes[i : i + 1], truths).max()
    corners = localization.boxes_in_images(boxes, (side, side), sizes)
    return {
        "threshold": np.full(len(boxes), threshold),
        **dict(zip(("x0", "y0", "x1", "y1"), corners.T, strict=True)),
        "iou": ious,
        "correct": ious >= 0.5,
    }


def per_class(images: Table, class_names: Sequence[str]) -> Table:
    """Sums a table of images up by class; see the module's docstring.

    Args:
      images: as `per_image` gives it.
      class_names: in the order of the labels.
    """
    labels = images["label"]
    numbers = np.bincount(labels, minlength=len(class_names))
    used = np.flatnonzero(numbers)

    def mean(values: np.ndarray) -> np.ndarray:
        there = ~np.ma.getmaskarray(values)
        known = np.bincount(labels[there], minlength=len(class_names))[used]
        values = np.asarray(values, np.float64)[there]
        sums = np.bincount(labels[there], values, minlength=len(class_names))[used]
        if known.all():
            return sums / known
        return np.ma.array(sums / np.maximum(known, 1), mask=known == 0)

    result: Table = {
        "label": used,
        "class": np.array(class_names, object)[used],
        "images": numbers[used],
    }
    if "top1" in images:
        result["top1_cls_err"] = 100 - 100 * mean(images["top1"])
    if "top5" in images:
        result["top5_cls_err"] = 100 - 100 * mean(images["top5"])
    if "correct" in images:
        result["corloc_err"] = 100 - 100 * mean(images["correct"])
        if "top1" in images:
            result["top1_loc_err"] = 100 - 100 * mean(images["correct"] & images["top1"])
        result["mean_iou"] = mean(images["iou"])
    if "mask_iou" in images:
        result["mean_mask_iou"] = mean(images["mask_iou"])
    for name in images:
        if name.removeprefix("mask_") in localization.POINTING:
            result[name] = 100 * mean(images[name])
    return result


def worst(classes: Table) -> str:
    """Names in a line or two the classes with the highest errors, the first ones where equal."""
    lines = []
    for name in ("top1_cls_err", "corloc_err"):
        if name in classes:
            errors = np.ma.filled(classes[name], -np.inf)
            order = np.argsort(-errors, kind="stable")[:_WORST]
            order = [i for i in order if errors[i] > -np.inf]
            few = ", ".join(f"{classes['class'][i]} {classes[name][i]:.1f}" for i in order)
            lines.append(f"  worst classes, {name}: {few}")
    return "\n".join(lines)


def write_csv(path: str | os.PathLike, table: Table) -> None:
    """Writes a table with its column names in the first line; whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table)
    writer.writerows(zip(*(_texts(name, column) for name, column in table.items()), strict=True))
    files.write_text(path, text.getvalue())


def _texts(name: str, column: np.ndarray) -> list[Any]:
    if column.dtype.kind == "f":
        form = _FORMATS.get(name, ".6f")
        return ["" if value is None else format(value, form) for value in column.tolist()]
    return column.astype(int).tolist() if column.dtype.kind == "b" else column.tolist()
