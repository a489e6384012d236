"""Where a map is bright: the pointing game, its energy form, and maps that are inverted.

Other than the metrics of boxes, these look at the scores inside and outside the objects, so that a
map which is dark on the object and bright around it does not pass for a good one. An image's
figures are whole multiples of 1 / UNITS: sums over images are exact, in any order.
"""

from collections.abc import Mapping
from typing import Self

import cv2
import numpy as np

from ega_jax.localization.weighting import weighted_sums

UNITS = 2**20  # what counts as one image
POINTING = ("pointing_game", "pointing_game_0px", "energy", "brighter_outside")
_TOLERANCE, _SIDE = 15, 224  # of the pointing game, in pixels of a map with such sides
_HIT, _EXACT, _ENERGY, OUTSIDE = range(len(POINTING))


class PointingCounts:
    """Sums over images of where their maps are bright.

    Attributes:
      sums: `[4]` int64, of what `pointing_outcome` gives for an image.
      images: number of images.
    """

    def __init__(self) -> None:
        """Starts at zero."""
        self.sums = np.zeros(len(POINTING), np.int64)
        self.images = 0

    def add(
        self, score_map: np.ndarray, region: np.ndarray, ignore: np.ndarray | None = None
    ) -> np.ndarray:
        """Adds one image; arguments, result and errors are those of `pointing_outcome`."""
        outcome = pointing_outcome(score_map, region, ignore)
        self.add_outcome(outcome)
        return outcome

    def add_outcome(self, outcome: np.ndarray) -> None:
        """Adds one image whose map was looked at already, as `pointing_outcome` gives it."""
        self.sums += outcome
        self.images += 1

    def merge(self, other: Self) -> Self:
        """Returns the sums of both."""
        merged = type(self)()
        merged.sums = self.sums + other.sums
        merged.images = self.images + other.images
        return merged

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Returns the attributes as arrays, to be saved or summed over processes."""
        return {"sums": self.sums.copy(), "images": np.array(self.images)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """Restores what `to_arrays` gave."""
        counts = cls()
        counts.sums = np.array(arrays["sums"], np.int64)
        counts.images = int(arrays["images"])
        return counts

    def figures(self) -> dict[str, float]:
        """Returns the means over the images, in percent.

        Keys: `pointing_game` with the tolerance of 15 pixels of 224, `pointing_game_0px` without,
        `energy`, and `brighter_outside`, the share of images whose map is; see `pointing_outcome`.

        Raises:
          ValueError: No image was counted.
        """
        if not self.images:
            raise ValueError("No image was counted; call add for every image.")
        means = 100 * self.sums / (UNITS * self.images)
        return dict(zip(POINTING, means.tolist(), strict=True))


def pointing_outcome(
    score_map: np.ndarray, region: np.ndarray, ignore: np.ndarray | None = None
) -> np.ndarray:
    """Finds out where the map of one image is bright.

    * The pointing game (Zhang et al., ECCV 2016): whether the maximum of the map lies in the
      region, or no further from it than 15 pixels of a map of 224; and the same without tolerance.
      A constant map has no maximum and points nowhere.
    * The energy-based pointing game (Wang et al., CVPR workshop 2020): the share of the sum of the
      scores that is inside the region; 0 for a map of zeros.
    * Whether the map is brighter outside: the mean score of the pixels outside the region is higher
      than that inside.

    Paper: the maximum of the map. / Here: where several pixels share it, the mean over them, which
    is the expectation for one that is drawn at random.

    Args:
      score_map: `[S, S]` float64 in [0, 1].
      region: `[S, S]`, the objects where it is not zero, see `region_of`. Without any such pixel
        the image counts as missed: everything is 0.
      ignore: `[S, S]`; pixels where it is not zero and `region` is are left out.

    Returns:
      `[4]` int32 in the order of `POINTING`, in units of 1 / UNITS.

    Raises:
      ValueError: The shapes differ.
    """
    region = np.asarray(region) != 0
    if score_map.shape != region.shape or ignore is not None and np.shape(ignore) != region.shape:
        raise ValueError(
            f"The score map has shape {score_map.shape}, the region {region.shape} and what is "
            f"ignored {np.shape(ignore)}; resize the masks to the map, by nearest neighbour."
        )
    counts = np.ones_like(region) if ignore is None else region | (np.asarray(ignore) == 0)
    shares = np.zeros(len(POINTING))
    number = np.count_nonzero(region)
    if not number:
        return shares.astype(np.int32)
    # Products and sums, which are faster than picking the pixels, and no BLAS: its last bits
    # depend on the number of threads.
    scores = score_map if ignore is None else score_map * counts
    inside, total = (score_map * region).sum(), scores.sum()
    if total > 0:
        shares[_ENERGY] = inside / total
    highest = scores.max()
    if score_map.min(where=counts, initial=highest) < highest:
        others = np.count_nonzero(counts) - number
        shares[OUTSIDE] = others > 0 and inside / number < (total - inside) / others
        maxima = np.flatnonzero(score_map == highest)
        y, x = np.divmod(maxima[counts.ravel()[maxima]], score_map.shape[1])
        shares[_EXACT] = region[y, x].mean()
        reach = _TOLERANCE * len(score_map)  # in units of 1 / _SIDE pixels
        shares[_HIT] = (_squared_distances(region, y, x) * _SIDE**2 <= reach**2).mean()
    return np.rint(UNITS * shares).astype(np.int32)


def _squared_distances(region, y, x):
    """Measures from pixels to the region, in pixels; what is beyond the tolerance is just far."""
    reach = _TOLERANCE * len(region) // _SIDE + 1
    top, left = max(y.min() - reach, 0), max(x.min() - reach, 0)
    around = ~region[top : y.max() + reach + 1, left : x.max() + reach + 1]
    distances = cv2.distanceTransform(around.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # Whole numbers, whatever OpenCV's version makes of the last bits of their roots.
    return np.rint(distances[y - top, x - left].astype(np.float64) ** 2)


def region_of(boxes: np.ndarray, size: int) -> np.ndarray:
    """Draws the union of boxes.

    Args:
      boxes: `[B, 4]` ground-truth boxes in pixels of the map (`scale_boxes`), corners included.
      size: height and width S of the map.

    Returns:
      `[S, S]` bool.
    """
    region = np.zeros((size, size), bool)
    for x0, y0, x1, y1 in boxes:
        region[y0 : y1 + 1, x0 : x1 + 1] = True
    return region


def weighted_pointing(outcomes: np.ndarray, weights: np.ndarray) -> list[PointingCounts]:
    """Sums images, each as often as its weight says.

    Args:
      outcomes: `[N, 4]` of every image.
      weights: `[B, N]` float32, whole numbers.

    Returns:
      B counts.
    """
    sums = weighted_sums(weights, lambda some: outcomes[some].astype(np.float64))
    images = weights.sum(axis=1)
    return [
        PointingCounts.from_arrays({"sums": total, "images": number})
        for total, number in zip(sums, images, strict=True)
    ]
