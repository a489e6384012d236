"""Box outcomes image by image, from which counts follow for any weighting of the images.

With 1000 thresholds each image takes 1.2 KB (2.2 KB if the map is wider than 256 pixels): at most
256 levels, each with a box and six bits. 50,000 images are 60 MB.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Self

import numpy as np

from ega_jax.localization.box_metrics import HALF, IOU_THRESHOLDS, BoxCounts, BoxOutcome
from ega_jax.localization.boxes import levels_at
from ega_jax.localization.weighting import weighted_sums

_KINDS = (2, len(IOU_THRESHOLDS))  # largest and any contour, for every delta


@dataclasses.dataclass(frozen=True)
class BoxOutcomes:
    """What the boxes of N images are worth at all thresholds.

    Attributes:
      thresholds: `[T]` float64.
      highest: `[N]` uint8, highest level of the 8-bit map; with the thresholds it gives the levels.
      largest: `[N, K, 4]` box of the largest contour at every level, in pixels of the map; K is the
        largest possible number of levels, of which an image may have fewer.
      correct: [N, ceil(6 K / 8)] uint8, the bits of [2, 3, K], `BoxOutcome.correct`.
    """

    thresholds: np.ndarray
    highest: np.ndarray
    largest: np.ndarray
    correct: np.ndarray

    @classmethod
    def of_rows(cls, rows: Mapping[str, np.ndarray], thresholds: np.ndarray) -> Self:
        """Takes the columns of rows that `pack` made, at the thresholds [T]."""
        return cls(thresholds, rows["highest"], rows["largest"], rows["correct"])

    def largest_at(self, threshold: float) -> np.ndarray:
        """Returns the box [N, 4] int64 of every image's largest contour at one threshold.

        Args:
          threshold: The nearest of the thresholds is meant.
        """
        index = int(np.abs(self.thresholds - threshold).argmin())
        level = np.zeros(len(self.highest), np.int64)
        for highest in np.unique(self.highest):
            level[self.highest == highest] = levels_at(highest, self.thresholds)[1][index]
        return self.largest[np.arange(len(level)), level].astype(np.int64)

    def weighted(self, weights: np.ndarray, top1: np.ndarray, top5: np.ndarray) -> list[BoxCounts]:
        """Counts the images, each as often as its weight says.

        Args:
          weights: `[B, N]` float32, whole numbers.
          top1: `[N]` bool, whether the best class is the label.
          top5: `[N]` bool, whether the label is among the five best classes.

        Returns:
          B counts.
        """
        totals = np.zeros((len(weights), 8, len(self.thresholds)), np.float32)
        for highest in np.unique(self.highest):  # nearly always 255 alone
            images = np.flatnonzero(self.highest == highest)
            levels, level_of = levels_at(highest, self.thresholds)
            open_ = functools.partial(self._columns, images, len(levels), top1, top5)
            sums = weighted_sums(weights[:, images], open_)
            totals += sums.reshape(len(weights), 8, -1)[:, :, level_of]
        return [
            BoxCounts.from_arrays(
                {
                    "thresholds": self.thresholds,
                    "single": total[:3],
                    "multi": total[3:6],
                    "top1": total[6],
                    "top5": total[7],
                    "images": number,
                }
            )
            for total, number in zip(totals, weights.sum(axis=1), strict=True)
        ]

    def _columns(self, images, size, top1, top5, some):
        """Lays open what is correct at the first levels: [n, 8 * size] float32."""
        images = images[some]
        shape = (len(images), *_KINDS, self.largest.shape[1])
        bits = np.unpackbits(self.correct[images], axis=1, count=np.prod(shape[1:]))
        bits = bits.reshape(shape)[..., :size]
        largest = bits[:, 0, HALF]
        classified = [largest & top[images, None] for top in (top1, top5)]
        parts = [bits.reshape(len(images), -1), *classified]
        return np.concatenate(parts, axis=1, dtype=np.float32)


def pack(outcome: BoxOutcome, num_thresholds: int, map_size: int) -> dict[str, np.ndarray]:
    """Makes one row of `highest`, `largest` and `correct` of `BoxOutcomes`.

    Args:
      outcome: of the image.
      num_thresholds: T.
      map_size: side of the score map, which decides on the type of the boxes.
    """
    size, used = min(num_thresholds, 256), len(outcome.largest)
    largest = np.zeros((size, 4), np.min_scalar_type(map_size - 1))
    largest[:used] = outcome.largest
    correct = np.zeros((*_KINDS, size), bool)
    correct[..., :used] = outcome.correct
    return {
        "highest": np.array(outcome.highest, np.uint8),
        "largest": largest,
        "correct": np.packbits(correct),
    }
