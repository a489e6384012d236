"""Localization metrics of boxes: CorLoc, Top-1 and Top-5 localization, MaxBoxAcc, MaxBoxAccV2.

Every image adds one or zero to integer counts per threshold, so the counts of parts of a data set
can be summed, in any order, and give the figures of the whole.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from ega_jax.localization.boxes import ThresholdBoxes, boxes_at_thresholds, levels_at
from ega_jax.localization.iou import best_ious, check_boxes
from ega_jax.localization.score_maps import quantize

IOU_THRESHOLDS = (0.3, 0.5, 0.7)
_KEYS = ("30", "50", "70")
_COUNTS = ("single", "multi", "top1", "top5", "images")
HALF = 1  # index of IoU 0.5, the one of CorLoc and Top-k localization
_CHUNK = 2**16  # pairs of boxes compared at once: what a processor's cache holds


class BoxOutcome(NamedTuple):
    """What the boxes of one image are worth at the L levels of `boxes.levels_at`.

    Attributes:
      highest: highest level of the 8-bit map, which with the thresholds gives the levels.
      largest: `[L, 4]` int32 box of the largest contour, in pixels of the map.
      correct: `[2, 3, L]` bool, whether that box (0) and whether any contour's (1) is correct, for
        every delta.
    """

    highest: int
    largest: np.ndarray
    correct: np.ndarray


class BoxCounts:
    """Counts of correctly localized images at T thresholds of the score map.

    A box is correct if its IoU with one of the ground-truth boxes reaches delta = 0.3, 0.5, 0.7.
    Paper: IoU greater than 0.5. / Here: at least, as in clovaai/wsolevaluation.

    Attributes:
      thresholds: `[T]` float64.
      single: `[3, T]` int64, images whose largest contour has a correct box, for every delta.
      multi: `[3, T]` int64, images of which any contour has a correct box, for every delta.
      top1: `[T]` int64, images of `single` at 0.5 that are also classified correctly.
      top5: `[T]` int64, images of `single` at 0.5 whose label is among the five best classes.
      images: number of all images.
    """

    def __init__(self, thresholds: Sequence[float] | np.ndarray):
        """Starts at zero for these thresholds [T], each in [0, 1]."""
        self.thresholds = np.array(thresholds, np.float64)
        size = len(self.thresholds)
        self.single = np.zeros((len(IOU_THRESHOLDS), size), np.int64)
        self.multi = np.zeros((len(IOU_THRESHOLDS), size), np.int64)
        self.top1 = np.zeros(size, np.int64)
        self.top5 = np.zeros(size, np.int64)
        self.images = 0
        self._level_of: dict[int, np.ndarray] = {}

    def add(
        self,
        score_map: np.ndarray,
        boxes: np.ndarray,
        top1_correct: bool = False,
        top5_correct: bool = False,
    ) -> BoxOutcome:
        """Adds one image.

        With maps of the ground-truth class, as here, an image counts as Top-1 (Top-5) localized if
        its class is predicted (is among the five best) and the box of that map is correct.

        Args:
          score_map: `[S, S]` float64 in [0, 1], map of the ground-truth class.
          boxes: `[B, 4]` ground-truth boxes in pixels of the map (`scale_boxes`), B >= 1.
          top1_correct: Whether the best class is the label.
          top5_correct: Whether the label is among the five best classes.

        Returns:
          What was counted of the image.

        Raises:
          ValueError: There is no ground-truth box, or one is malformed.
        """
        outcome = box_outcome(score_map, boxes, self.thresholds)
        self.add_outcome(outcome, top1_correct, top5_correct)
        return outcome

    def add_outcome(
        self, outcome: BoxOutcome, top1_correct: bool = False, top5_correct: bool = False
    ) -> None:
        """Adds one image whose boxes were scored already, maybe by another process.

        Args:
          outcome: of the image, at the thresholds of these counts.
          top1_correct: as in `add`.
          top5_correct: as in `add`.
        """
        level_of = self._level_of.get(outcome.highest)
        if level_of is None:  # at most 256 different ones
            _, level_of = levels_at(outcome.highest, self.thresholds)
            self._level_of[outcome.highest] = level_of
        single, multi = outcome.correct.astype(np.int64)[:, :, level_of]
        self._add(single, multi, 1, bool(top1_correct), bool(top5_correct))

    def add_shared(self, found: ThresholdBoxes, boxes: Sequence[np.ndarray]) -> None:
        """Adds images that share one score map, whose boxes are then found only once.

        The counts are those of `add` for every image, without classification.

        Args:
          found: Boxes of the map at the thresholds of these counts (`boxes_at_thresholds`).
          boxes: Per image its ground-truth boxes, as in `add`.

        Raises:
          ValueError: An image has no ground-truth box, or one is malformed; or the boxes were found
            at another number of thresholds.
        """
        if len(found.level_of) != len(self.thresholds):
            raise ValueError(
                f"The boxes were found at {len(found.level_of)} thresholds, these counts have "
                f"{len(self.thresholds)}; use the same for both."
            )
        size = max(1, _CHUNK // len(found.contours))
        for first in range(0, len(boxes), size):
            chunk = boxes[first : first + size]
            numbers = [len(of_image) for of_image in chunk]
            if not all(numbers):
                raise ValueError(
                    f"Image {first + numbers.index(0)} (from 0) has no ground-truth box and so no "
                    "localization; leave it out."
                )
            starts = np.cumsum([0, *numbers[:-1]])
            correct = _correct(found, check_boxes(np.concatenate(chunk)), starts)
            single, multi = correct.sum(axis=2)[:, :, found.level_of]
            self._add(single, multi, len(chunk))

    def _add(self, single, multi, images, top1_correct=False, top5_correct=False):
        """Adds `single` and `multi` [3, T] of some images, classified alike."""
        self.single += single
        self.multi += multi
        self.top1 += single[HALF] * top1_correct
        self.top5 += single[HALF] * top5_correct
        self.images += images

    def merge(self, other: Self) -> Self:
        """Returns the counts of both.

        Raises:
          ValueError: They were taken at different thresholds.
        """
        _check_same_thresholds(self, other)
        mine, theirs = self.to_arrays(), other.to_arrays()
        sums = {name: mine[name] + theirs[name] for name in _COUNTS}
        return self.from_arrays({"thresholds": self.thresholds, **sums})

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Returns the attributes as arrays, to be saved or summed over processes."""
        return {name: np.array(getattr(self, name)) for name in ("thresholds", *_COUNTS)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """Restores what `to_arrays` gave."""
        counts = cls(arrays["thresholds"])
        for name in _COUNTS:
            setattr(counts, name, np.array(arrays[name], np.int64))
        counts.images = int(arrays["images"])
        return counts

    def at(self, threshold: float = 0.2) -> dict[str, Any]:
        """Returns the figures at one threshold for all metrics, in percent.

        Keys: `threshold`, `top1_loc_err`, `top5_loc_err`, `corloc_err`, `box_acc` ("30", "50",
        "70"; largest contour), `box_acc_v2` (any contour, mean over delta). Errors are 100 minus
        accuracy.

        Raises:
          ValueError: The threshold is not one of those counted, or no image was.
        """
        (index,) = np.nonzero(np.isclose(self.thresholds, threshold, rtol=0, atol=1e-9))
        if not len(index):
            nearest = self.thresholds[np.abs(self.thresholds - threshold).argmin()]
            raise ValueError(
                f"Nothing was counted at the threshold {threshold}, the nearest is {nearest:.6g}; "
                "choose an interval of the thresholds that divides it."
            )
        every = [int(index[0])] * len(IOU_THRESHOLDS)
        best = {"top1": every[0], "top5": every[0], "single": every, "multi": every}
        return {"threshold": float(threshold), **self._figures(best)}

    def carried_over(self, validation: Self) -> dict[str, Any]:
        """Returns the figures at the thresholds that are best on another split, in percent.

        Every metric has its own: the first threshold with the highest accuracy. Keys as in
        `at`; `threshold` is that of CorLoc, `thresholds` holds those of the others.

        Raises:
          ValueError: The splits were counted at different thresholds, or one has no images.
        """
        _check_same_thresholds(self, validation)
        best = validation._best()
        single = self.thresholds[best["single"]]
        chosen = {
            "top1_loc_err": float(self.thresholds[best["top1"]]),
            "top5_loc_err": float(self.thresholds[best["top5"]]),
            "box_acc": dict(zip(_KEYS, single.tolist(), strict=True)),
            "box_acc_v2": dict(zip(_KEYS, self.thresholds[best["multi"]].tolist(), strict=True)),
        }
        return {
            "threshold": float(single[HALF]),
            "thresholds": chosen,
            **self._figures(best),
        }

    def oracle(self) -> dict[str, Any]:
        """Returns the figures at the thresholds that are best on this very split, in percent.

        As `carried_over` this split itself, with `max_box_acc` and `max_box_acc_v2` for
        `box_acc` and `box_acc_v2`: they are MaxBoxAcc and MaxBoxAccV2 of clovaai/wsolevaluation.

        Raises:
          ValueError: No image was counted.
        """
        figures = self.carried_over(self)
        for part in (figures, figures["thresholds"]):
            for name in ("box_acc", "box_acc_v2"):
                part[f"max_{name}"] = part.pop(name)
        return figures

    def max_box_acc_v2(self) -> float:
        """Returns MaxBoxAccV2 in percent.

        Raises:
          ValueError: No image was counted.
        """
        return self.oracle()["max_box_acc_v2"]

    def _best(self):
        """Returns the index of the best threshold for every metric (and delta)."""
        if not self.images:
            raise ValueError("No image to choose a threshold on; call add for every image.")
        return {
            "top1": int(self.top1.argmax()),
            "top5": int(self.top5.argmax()),
            "single": self.single.argmax(axis=1).tolist(),
            "multi": self.multi.argmax(axis=1).tolist(),
        }

    def _figures(self, at):
        """Reads the figures at given indices of thresholds."""
        if not self.images:
            raise ValueError("No image was counted; call add for every image.")
        deltas = np.arange(len(IOU_THRESHOLDS))
        single = (100 * self.single[deltas, at["single"]] / self.images).tolist()
        multi = 100 * self.multi[deltas, at["multi"]] / self.images
        return {
            "top1_loc_err": float(100 - 100 * self.top1[at["top1"]] / self.images),
            "top5_loc_err": float(100 - 100 * self.top5[at["top5"]] / self.images),
            "corloc_err": 100 - single[HALF],
            "box_acc": dict(zip(_KEYS, single, strict=True)),
            "box_acc_v2": float(multi.mean()),
        }


def box_outcome(score_map: np.ndarray, boxes: np.ndarray, thresholds: np.ndarray) -> BoxOutcome:
    """Scores the boxes of one image at all thresholds.

    Args:
      score_map: `[S, S]` float64 in [0, 1], map of the ground-truth class.
      boxes: `[B, 4]` ground-truth boxes in pixels of the map (`scale_boxes`), B >= 1.
      thresholds: `[T]`, each in [0, 1].

    Raises:
      ValueError: There is no ground-truth box, or one is malformed.
    """
    boxes = check_boxes(boxes)
    if not len(boxes):
        raise ValueError("An image without a ground-truth box has no localization; leave it out.")
    found = boxes_at_thresholds(score_map, thresholds)
    correct = _correct(found, boxes, np.zeros(1, np.int64))
    return BoxOutcome(int(quantize(score_map.max())), found.largest, correct[:, :, 0])


def _correct(found, truths, starts):
    """Compares N images with the same boxes `found`; `truths` and `starts` as in `best_ious`.

    Returns:
      `[2, 3, N, L]` bool, whether the largest and whether any box is correct.
    """
    delta = np.array(IOU_THRESHOLDS)[:, None, None]
    single = best_ious(found.largest, truths, starts) >= delta  # [3, N, L]
    multi = single
    if len(found.contours) > len(found.largest):
        ious = best_ious(found.contours, truths, starts)
        multi = np.maximum.reduceat(ious, found.starts, axis=1) >= delta
    return np.stack([single, multi])


def _check_same_thresholds(one, other):
    """Raises ValueError if two counts were taken at different thresholds."""
    if not np.array_equal(one.thresholds, other.thresholds):
        raise ValueError(
            f"Counts at {len(one.thresholds)} and {len(other.thresholds)} thresholds, or at "
            "different ones, do not add up; use the same interval for both."
        )
