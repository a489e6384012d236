"""Pixel average precision (PxAP), pooled over the pixels of the whole data set."""

from collections.abc import Callable, Mapping, Sequence
from typing import Self

import numpy as np

from ega_jax.localization.weighting import weighted_sums


class PixelCounts:
    """Histograms of the scores of foreground and of background pixels.

    The sums of the counts of parts of a data set are the counts of the whole.

    Attributes:
      thresholds: `[T]` float64, increasing, in [0, 1).
      foreground: [T + 2] int64, foreground pixels with a score in `[edges[i], edges[i + 1])`, for
        the edges `thresholds, 1, 2, 3`.
      background: [T + 2] int64, the same of the background.

    Source: clovaai/wsolevaluation.
    """

    def __init__(self, thresholds: Sequence[float] | np.ndarray):
        """Starts at zero for these thresholds [T].

        Raises:
          ValueError: They do not increase, or are not in [0, 1).
        """
        self.thresholds = np.array(thresholds, np.float64)
        steps = np.diff(self.thresholds, append=1)
        if not self.thresholds.size or self.thresholds[0] < 0 or not (steps > 0).all():
            raise ValueError("Give at least one threshold, all in [0, 1), in increasing order.")
        self._edges = _edges(self.thresholds)
        self.foreground = np.zeros(len(self._edges) - 1, np.int64)
        self.background = np.zeros(len(self._edges) - 1, np.int64)

    def add(
        self, score_map: np.ndarray, mask: np.ndarray, ignore: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Adds one image.

        Args:
          score_map: `[S, S]` float64 in [0, 1].
          mask: `[S, S]`, foreground where it is not zero.
          ignore: `[S, S]`; pixels where it is not zero and `mask` is are left out.

        Returns:
          What was counted of the image: its own `foreground` and `background`.

        Raises:
          ValueError: The shapes differ.
        """
        outcome = pixel_outcome(score_map, mask, ignore, self.thresholds)
        self.add_outcome(*outcome)
        return outcome

    def add_outcome(self, foreground: np.ndarray, background: np.ndarray) -> None:
        """Adds one image whose pixels were counted already, as `pixel_outcome` gives them."""
        self.foreground += foreground
        self.background += background

    def add_shared(
        self, score_map: np.ndarray, foreground: np.ndarray, background: np.ndarray
    ) -> None:
        """Adds images that share one score map, by the sums of their masks.

        The counts are those of `add` for every image.

        Args:
          score_map: `[S, S]` float64 in [0, 1].
          foreground: `[S, S]` int64, in how many images the pixel is foreground.
          background: `[S, S]` int64, in how many it is neither foreground nor ignored.

        Raises:
          ValueError: The shapes differ.
        """
        if not score_map.shape == foreground.shape == background.shape:
            raise ValueError(
                f"The score map has shape {score_map.shape}, the sums of the masks have "
                f"{foreground.shape} and {background.shape}; resize the masks to the map first."
            )
        self.foreground += np.histogram(score_map, self._edges, weights=foreground)[0]
        self.background += np.histogram(score_map, self._edges, weights=background)[0]

    def merge(self, other: Self) -> Self:
        """Returns the counts of both.

        Raises:
          ValueError: They were taken at different thresholds.
        """
        if not np.array_equal(self.thresholds, other.thresholds):
            raise ValueError(
                "Counts at different thresholds do not add up; use the same interval for both."
            )
        merged = type(self)(self.thresholds)
        merged.foreground = self.foreground + other.foreground
        merged.background = self.background + other.background
        return merged

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Returns the attributes as arrays, to be saved or summed over processes."""
        return {
            "thresholds": self.thresholds.copy(),
            "foreground": self.foreground.copy(),
            "background": self.background.copy(),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """Restores what `to_arrays` gave."""
        counts = cls(arrays["thresholds"])
        counts.foreground = np.array(arrays["foreground"], np.int64)
        counts.background = np.array(arrays["background"], np.int64)
        return counts

    def best_iou_threshold(self) -> float:
        """Returns the first threshold with the highest IoU of all masks together, pooled."""
        bins = range(len(self.thresholds))
        ious = [mask_ious(self.foreground, self.background, index) for index in bins]
        return float(self.thresholds[np.argmax(ious)])

    def pxap(self) -> float:
        """Returns the area under the precision-recall curve of the pixels, in percent.

        Sum over falling thresholds of precision times the gain in recall, without interpolation.
        Like the reference it starts from the second highest bin; the highest, [2, 3), is empty.

        Raises:
          ValueError: There is no foreground pixel.
        """
        if not self.foreground.any():
            raise ValueError(
                "No foreground pixel was counted, so recall is undefined; check the mask files."
            )
        true_positives = np.cumsum(self.foreground[::-1])
        positives = true_positives + np.cumsum(self.background[::-1])
        precision = true_positives / np.maximum(positives, 1)
        recall = true_positives / true_positives[-1]
        return float(100 * np.sum(precision[1:] * np.diff(recall)))


def pixel_outcome(
    score_map: np.ndarray, mask: np.ndarray, ignore: np.ndarray | None, thresholds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Counts the pixels of one image.

    Args:
      score_map: `[S, S]` float64 in [0, 1].
      mask: `[S, S]`, foreground where it is not zero.
      ignore: `[S, S]`; pixels where it is not zero and `mask` is are left out.
      thresholds: `[T]` as in `PixelCounts`.

    Returns:
      `foreground` and `background` [T + 2] int64 as in `PixelCounts`.

    Raises:
      ValueError: The shapes differ.
    """
    foreground = np.asarray(mask) != 0
    ignored = np.zeros_like(foreground) if ignore is None else np.asarray(ignore) != 0
    if not score_map.shape == foreground.shape == ignored.shape:
        raise ValueError(
            f"The score map has shape {score_map.shape}, the mask {foreground.shape} and the "
            f"ignore mask {ignored.shape}; resize the masks to the map, by nearest neighbour."
        )
    edges = _edges(thresholds)
    inside = np.histogram(score_map[foreground], edges)[0]
    outside = np.histogram(score_map[~(foreground | ignored)], edges)[0]
    return inside, outside


def _edges(thresholds):
    """Returns the edges [T + 3] of the histograms."""
    return np.concatenate((thresholds, [1.0, 2.0, 3.0]))


def mask_ious(foreground: np.ndarray, background: np.ndarray, index: int) -> np.ndarray:
    """Computes the IoU of the object and the pixels with a score of at least a threshold.

    Args:
      foreground: [..., T + 2] as in `PixelCounts`.
      background: [..., T + 2] the same.
      index: of the threshold.

    Returns:
      [...] float64 in [0, 1]; zero where there is neither object nor pixel.
    """
    found, wrong = (part[..., index:].sum(axis=-1) for part in (foreground, background))
    union = foreground.sum(axis=-1) + wrong  # the object, and what was found besides
    return found / np.maximum(union, 1)


def weighted_pixels(
    thresholds: np.ndarray, foreground: np.ndarray, background: np.ndarray, weights: np.ndarray
) -> list[PixelCounts]:
    """Counts the pixels of images, each image as often as its weight says.

    Args:
      thresholds: `[T]` as in `PixelCounts`.
      foreground: [N, T + 2] of every image.
      background: [N, T + 2] of every image.
      weights: `[B, N]` float32, whole numbers.

    Returns:
      B counts, to seven digits.
    """

    def rows_of(part: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        return lambda some: part[some].astype(np.float32)

    inside, outside = (weighted_sums(weights, rows_of(part)) for part in (foreground, background))
    return [
        PixelCounts.from_arrays({"thresholds": thresholds, "foreground": f, "background": b})
        for f, b in zip(inside, outside, strict=True)
    ]
