"""The objects of a score map: their boxes, their pixels, and how hot they are."""

from typing import NamedTuple

import cv2
import numpy as np

from ega_jax.localization.boxes import levels_at
from ega_jax.localization.score_maps import quantize

SMALLEST = 0.1  # of the area of the largest object; what is smaller is dropped

# Share of Otsu's threshold, which parts the core of an object from the rest: a box goes around its
# rim as well. Measured on photographs, see docs/annotate.md.
_OF_OTSU = 0.7


class Objects(NamedTuple):
    """What is connected above a threshold, the largest first.

    Attributes:
      boxes: `[N, 4]` int64 x0, y0, x1, y1 in pixels of the image, the first and the last ones.
        (Those of `largest_box`, which are for scoring, end one pixel later, as the reference's do.)
      parts: `[H, W]` int32 over the map: 0 where nothing is, i + 1 on object i.
      peaks: `[N]` float64 in [0, 1], the highest score on each; 1 for the one where the map has its
        maximum.
    """

    boxes: np.ndarray
    parts: np.ndarray
    peaks: np.ndarray


def find_objects(
    score_map: np.ndarray,
    threshold: float,
    image_size: tuple[int, int],
    *,
    max_objects: int | None = 1,
    smallest: float = 0.0,
) -> Objects:
    """Finds the objects of a score map; what touches is one, holes are none.

    Args:
      score_map: `[H, W]` float64 in [0, 1].
      threshold: in [0, 1].
      image_size: width and height of the original image.
      max_objects: at most so many, the largest; None: all.
      smallest: those whose contour has a smaller area than this share of the largest one's are
        dropped, in [0, 1].

    Returns:
      The objects; none where nothing is above the threshold.

    Raises:
      ValueError: the threshold is outside [0, 1].
    """
    levels = quantize(score_map)
    contours = _contours(levels, threshold)
    parts = np.zeros(levels.shape, np.int32)
    if not contours:
        return Objects(np.zeros((0, 4), np.int64), parts, np.zeros(0))
    least = smallest * cv2.contourArea(contours[0])
    contours = [one for one in contours[:max_objects] if cv2.contourArea(one) >= least]
    foreground = _foreground(levels, threshold)
    for i in reversed(range(len(contours))):
        cv2.drawContours(parts, contours, i, i + 1, cv2.FILLED)
    parts *= foreground
    edges = np.array([cv2.boundingRect(one) for one in contours], np.int64).reshape(-1, 4)
    edges[:, 2:] += edges[:, :2]
    boxes = _pixels_between(edges, levels.shape[::-1], image_size)
    peaks = np.array([score_map[parts == i + 1].max() for i in range(len(boxes))])
    return Objects(boxes, parts, peaks)


def _pixels_between(
    edges: np.ndarray, map_size: tuple[int, ...], image_size: tuple[int, int]
) -> np.ndarray:
    """Returns the first and last pixels [N, 4] in the image between edges [N, 4] in the map."""
    scaled = np.rint(edges * np.tile(np.array(image_size) / map_size, 2)).astype(np.int64)
    last = np.array(image_size) - 1
    first = np.minimum(scaled[:, :2], last)
    return np.concatenate((first, np.clip(scaled[:, 2:] - 1, first, last)), axis=1)


def own_threshold(score_map: np.ndarray) -> float:
    """Chooses a threshold from a map alone: 0.7 of where its two sides differ most (Otsu, 1979).

    Args:
      score_map: `[H, W]` float64 in [0, 1].

    Returns:
      The threshold, in [0, 1].
    """
    levels = quantize(score_map)
    level, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    highest = int(levels.max())  # thresholds are shares of it
    return _OF_OTSU * level / highest if highest else 0.0


def region_in_image(parts: np.ndarray, number: int, image_size: tuple[int, int]) -> np.ndarray:
    """Brings the pixels of an object to the size of the image, with a smooth border.

    Of an object that is smaller than a pixel of the image, one pixel is left.

    Args:
      parts: of `Objects`.
      number: of the object, from 0.
      image_size: width and height of the image.

    Returns:
      `[H, W]` bool.
    """
    inside = (parts == number + 1).astype(np.float32)
    smaller = np.minimum(image_size, inside.shape[::-1]).tolist()
    inside = cv2.resize(inside, smaller, interpolation=cv2.INTER_AREA)  # shares of each pixel
    inside = cv2.resize(inside, image_size, interpolation=cv2.INTER_LINEAR)
    region = inside > 0.5
    if not region.any():
        region.flat[inside.argmax()] = True
    return region


def _foreground(levels: np.ndarray, threshold: float) -> np.ndarray:
    (level,), _ = levels_at(int(levels.max()), [threshold])
    return levels > level


def _contours(levels: np.ndarray, threshold: float) -> list[np.ndarray]:
    """Draws the outer contours above a threshold, the largest first, in the order of OpenCV."""
    foreground = _foreground(levels, threshold).astype(np.uint8)
    contours, _ = cv2.findContours(foreground, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return sorted(contours, key=cv2.contourArea, reverse=True)
