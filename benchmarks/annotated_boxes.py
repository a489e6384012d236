r"""Boxes that `--mode=annotate` made against true ones, and what their confidence is worth.

    python -m benchmarks.annotated_boxes --boxes=RUN/annotations/boxes.csv --metadata=META \
        --split=test

Prints, of the surest box of each picture, the share with an IoU of at least 0.5, for all pictures
and for the half with the highest confidence; the rank correlation (Spearman) of confidence and IoU;
the same by fifths of the confidence; and what a box in the middle of every picture would reach.
"""

import argparse
import csv
from collections.abc import Sequence

import numpy as np

from ega_jax.data.files import splits
from ega_jax.data.files.metadata import read_metadata
from ega_jax.data.source import DataError
from ega_jax.localization import box_ious

_FIFTHS = 5
_MIDDLE = 0.7  # of the sides, half of the picture


def main(argv: list[str] | None = None) -> None:
    """Prints the figures of a split."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--boxes", required=True, help="boxes.csv of an annotation")
    parser.add_argument("--metadata", required=True, help="folder of the splits' true boxes")
    parser.add_argument("--split", default="test", choices=("train", "val", "test"))
    options = parser.parse_args(argv)
    confidence, ious, middle = compare(options.boxes, options.metadata, options.split)
    report(confidence, ious, middle)


def compare(boxes: str, metadata: str, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Looks up the IoU of each picture's surest box with the true box that it fits best.

    Args:
      boxes: path of `boxes.csv`.
      metadata: folder of the splits' metadata.
      split: the one whose pictures are taken.

    Returns:
      `[N]` confidences, `[N]` IoUs, and `[N]` those of a box in the middle. A picture without a box
      has 0 of the first two.

    Raises:
      DataError: there are no true boxes, or no picture of the split was annotated.
    """
    folder = splits.metadata_folder(metadata, split)
    truth = read_metadata(folder) if folder else None
    if truth is None or truth.boxes is None:
        raise DataError(f"{metadata} has no boxes of {split}")
    true_boxes = dict(zip(truth.image_ids, truth.boxes_per_image(), strict=True))
    best: dict[str, dict[str, str]] = {}
    with open(boxes, encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["image"] in true_boxes:
                best.setdefault(row["image"], row)
                if float(row["confidence"] or 0) > float(best[row["image"]]["confidence"] or 0):
                    best[row["image"]] = row
    if not best:
        raise DataError(f"{boxes} has no picture of {folder}; annotate the folder that it is of")
    rows = []
    for image_id, row in best.items():
        truths = true_boxes[image_id]
        width, height = int(row["width"]), int(row["height"])
        middle = box_ious(middle_box(width, height), truths).max()
        iou = 0.0
        if row["x0"]:
            box = np.array([[int(row[name]) for name in ("x0", "y0", "x1", "y1")]])
            iou = box_ious(box, truths).max()
        rows.append((float(row["confidence"] or 0), iou, middle))
    confidence, ious, middle = np.array(rows).T
    return confidence, ious, middle


def middle_box(width: int, height: int) -> np.ndarray:
    """Returns the box in the middle that takes half of a picture, `[1, 4]`."""
    sides = np.array([width, height])
    edges = np.concatenate([(1 - _MIDDLE) / 2 * sides, (1 + _MIDDLE) / 2 * sides])
    return edges.round().astype(int)[None]


def report(confidence: np.ndarray, ious: np.ndarray, middle: np.ndarray) -> None:
    """Prints what `compare` gave."""
    order = np.argsort(-confidence, kind="stable")
    print(f"pictures                   {len(ious)}")
    print(f"IoU >= 0.5, all            {_share(ious):.1f} %")
    print(f"IoU >= 0.5, surest half    {_share(ious[order[: (len(ious) + 1) // 2]]):.1f} %")
    print(f"IoU >= 0.5, middle box     {_share(middle):.1f} %")
    print(f"mean IoU                   {ious.mean():.3f}")
    print(f"rank correlation           {rank_correlation(confidence, ious):.2f}")
    print("fifth  confidence     IoU >= 0.5  mean IoU")
    for number, some in enumerate(np.array_split(order, min(_FIFTHS, len(order))), start=1):
        low, high = confidence[some].min(), confidence[some].max()
        share = _share(ious[some])
        print(f"{number:<6} {low:.3f} - {high:.3f}  {share:8.1f} %  {ious[some].mean():8.3f}")


def rank_correlation(
    one: Sequence[float] | np.ndarray, other: Sequence[float] | np.ndarray
) -> float:
    """Computes Spearman's rank correlation; equal values share the mean of their ranks."""
    return float(np.corrcoef(_ranks(np.asarray(one)), _ranks(np.asarray(other)))[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[index]


def _share(ious: np.ndarray) -> float:
    return 100 * float((ious >= 0.5).mean())


if __name__ == "__main__":
    main()
