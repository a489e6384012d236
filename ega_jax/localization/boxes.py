"""Boxes of a score map at many thresholds, as the reference evaluator draws them.

The reference thresholds the 8-bit map, calls `cv2.findContours` and takes the bounding rectangle of
every contour (multi-contour mode) or of the one with the largest area. Here a component tree gives
the same boxes at all thresholds at once; OpenCV measures only the few contours whose rank depends
on the holes they enclose.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from ega_jax.localization.component_tree import Components, foreground_components, hole_components
from ega_jax.localization.score_maps import quantize


class ThresholdBoxes(NamedTuple):
    """Boxes of one map at many thresholds. Thresholds that give the same foreground share a level.

    Boxes are int32 `x0, y0, x1, y1` in pixels of the map; `x1` and `y1` are one past the last pixel
    unless that is outside the map. A level without foreground has the one box 0, 0, 0, 0.

    Attributes:
      largest: `[L, 4]` box of the contour with the largest area.
      contours: `[N, 4]` boxes of all contours, also of those around holes, level by level.
      starts: `[L]` index of the first box of every level in `contours`; no level is empty.
      level_of: `[T]` the level of every threshold.
    """

    largest: np.ndarray
    contours: np.ndarray
    starts: np.ndarray
    level_of: np.ndarray

    def contours_at(self, index: int) -> np.ndarray:
        """Returns the boxes [n, 4] of all contours at the threshold of this index."""
        level = self.level_of[index]
        return np.split(self.contours, self.starts[1:])[level]

    def largest_at(self, index: int) -> np.ndarray:
        """Returns the box [4] of the largest contour at the threshold of this index."""
        return self.largest[self.level_of[index]]


def boxes_at_thresholds(score_map: np.ndarray, thresholds: np.ndarray) -> ThresholdBoxes:
    """Computes the boxes of a score map at every threshold.

    The foreground at a threshold t is `q > int(t * max(q))` with q the 8-bit map.

    Args:
      score_map: `[H, W]` float64 in [0, 1].
      thresholds: `[T]` in [0, 1], any order.

    Returns:
      The boxes, equal to those of clovaai/wsolevaluation.

    Raises:
      ValueError: there is no threshold, or one is outside [0, 1].
    """
    # 16 bits whose upper byte is the 8-bit map, exactly: scaling by 256 does not round.
    heights = (np.asarray(score_map, np.float64) * (255 * 256)).astype(np.uint16)
    levels = (heights >> 8).astype(np.uint8)
    height, width = levels.shape
    wanted, level_of = levels_at(int(levels.max()), thresholds)
    parts = _at_levels(foreground_components(heights), wanted)
    holes = _at_levels(hole_components(heights), wanted)
    nonempty, largest_parts = _largest_parts(parts, holes, levels, wanted)
    empty = np.ones(len(wanted), bool)
    empty[nonempty] = False
    empty = np.flatnonzero(empty).astype(np.int16)

    # The contour of a hole runs over the foreground around it, one pixel further out.
    around_holes = holes.boxes + np.array([-1, -1, 1, 1], np.int32)
    boxes = np.concatenate((parts.boxes, around_holes, np.zeros((len(empty), 4), np.int32)))
    filled = len(boxes) - len(empty)
    np.minimum(boxes[:filled, 2] + 1, width - 1, out=boxes[:filled, 2])
    np.minimum(boxes[:filled, 3] + 1, height - 1, out=boxes[:filled, 3])
    largest = np.zeros((len(wanted), 4), np.int32)
    largest[nonempty] = boxes[largest_parts]

    level = np.concatenate((parts.level, holes.level, empty))
    order = np.argsort(level, kind="stable")
    starts = np.searchsorted(level[order], np.arange(len(wanted)))
    return ThresholdBoxes(largest, boxes[order], starts, level_of)


def boxes_at(score_map: np.ndarray, threshold: float, multi_contour: bool = True) -> np.ndarray:
    """Computes the boxes of a score map at one threshold.

    Args:
      score_map: `[H, W]` float64 in [0, 1].
      threshold: in [0, 1].
      multi_contour: all contours; otherwise the one with the largest area.

    Returns:
      `[n, 4]` int64, n >= 1, as in `ThresholdBoxes`.

    Raises:
      ValueError: the threshold is outside [0, 1].
    """
    levels = quantize(score_map)
    (level,), _ = levels_at(int(levels.max()), [threshold])
    boxes = _contour_boxes(levels > level, cv2.RETR_TREE if multi_contour else cv2.RETR_EXTERNAL)
    boxes[:, 2:] = np.minimum(boxes[:, 2:], np.array(levels.shape[::-1]) - 1)
    return boxes if multi_contour else boxes[:1]


def largest_box(score_map: np.ndarray, threshold: float, image_size: tuple[int, int]) -> np.ndarray:
    """Computes the box of the largest contour in pixels of the original image.

    Args:
      score_map: `[H, W]` float64 in [0, 1].
      threshold: in [0, 1].
      image_size: width and height of the original image.

    Returns:
      `[4]` int64 `x0, y0, x1, y1`, inside the image; 0, 0, 0, 0 where there is no foreground.

    Raises:
      ValueError: the threshold is outside [0, 1].
    """
    box = boxes_at(score_map, threshold, multi_contour=False)
    return boxes_in_images(box, score_map.shape[::-1], np.array([image_size]))[0]


def boxes_in_images(
    boxes: np.ndarray, map_size: tuple[int, int], image_sizes: np.ndarray
) -> np.ndarray:
    """Converts boxes from pixels of a score map to pixels of original images, by rounding.

    Args:
      boxes: `[N, 4]` `x0, y0, x1, y1`, one for each image.
      map_size: width and height of the score maps.
      image_sizes: `[N, 2]` width and height of the original images.

    Returns:
      `[N, 4]` int64, inside the images.
    """
    scale, last = image_sizes / np.array(map_size), image_sizes - 1
    inside = np.minimum(np.rint(boxes * np.tile(scale, 2)), np.tile(last, 2))
    return inside.astype(np.int64)


def levels_at(
    highest: int, thresholds: Sequence[float] | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the levels at which thresholds cut a map, as the reference passes them to OpenCV.

    Args:
      highest: highest level of the 8-bit map.
      thresholds: `[T]` in [0, 1], any order.

    Returns:
      The L different levels, increasing, and the index of that of every threshold [T]; int64.

    Raises:
      ValueError: there is no threshold, or one is outside [0, 1].
    """
    return _levels_at(highest, np.asarray(thresholds, np.float64).tobytes())


@functools.lru_cache(maxsize=16)  # nearly all maps have the same
def _levels_at(highest, thresholds):
    """Does what `levels_at` says, for the bytes of the thresholds; the arrays are read only."""
    thresholds = np.frombuffer(thresholds)
    if not thresholds.size or not ((thresholds >= 0) & (thresholds <= 1)).all():
        raise ValueError(f"Give at least one threshold, all in [0, 1]; these are {thresholds}.")
    levels = (thresholds * highest).astype(np.int64)
    is_wanted = np.bincount(levels) > 0
    result = np.flatnonzero(is_wanted), (np.cumsum(is_wanted) - 1)[levels]
    for array in result:
        array.flags.writeable = False
    return result


def _at_levels(components, wanted):
    """Keeps the components at the wanted levels [L], and replaces levels by their index, int16."""
    index = np.full(256, -1, np.int16)
    index[wanted] = np.arange(len(wanted))
    level = index[components.level]
    kept = level >= 0
    if not kept.all():
        level, components = level[kept], Components(*(array[kept] for array in components))
    return components._replace(level=level)


def _largest_parts(parts, holes, levels, wanted):
    """Finds the component whose outer contour has the largest area, at every nonempty level.

    That area is the component's own and that of its holes with all they enclose: at most that of
    its box. Contours of holes need no look: none is larger than the one around it, which comes
    first in OpenCV's order.

    Returns:
      The indices of the nonempty levels [M] and of the components [M].
    """
    ends = np.searchsorted(parts.level, np.arange(len(wanted) + 1))
    counts = ends[1:] - ends[:-1]
    nonempty = np.flatnonzero(counts)
    first, counts = ends[nonempty], counts[nonempty]
    if not len(nonempty):
        return nonempty, first
    hole_areas = _box_areas(holes.boxes, 2)
    hole_starts = np.searchsorted(holes.level, np.arange(len(wanted) + 1))
    filling = np.bincount(holes.level, hole_areas, minlength=len(wanted))
    bound = np.minimum(parts.area + filling[parts.level], _box_areas(parts.boxes, 0))
    candidates = bound >= np.repeat(np.maximum.reduceat(parts.area, first), counts)
    numbers = np.add.reduceat(candidates, first, dtype=np.int64)
    candidates = np.flatnonzero(candidates)
    ends = np.cumsum(numbers)
    largest = candidates[ends - numbers]
    for i in np.flatnonzero(numbers > 1):
        level = nonempty[i]
        some = slice(*hole_starts[level : level + 2])
        rivals = candidates[ends[i] - numbers[i] : ends[i]]
        foreground = levels > wanted[level]
        areas = _outer_areas(
            parts.boxes[rivals], parts.area[rivals], holes.boxes[some], hole_areas[some], foreground
        )
        # OpenCV lists contours from the bottom up, and of equal ones the first in its list counts.
        largest[i] = rivals[np.lexsort((parts.order[rivals], areas))[-1]]
    return nonempty, largest


def _outer_areas(boxes, areas, hole_boxes, hole_areas, foreground):
    """Returns the areas [n] inside the outer contours; exact for the largest, lower bounds else."""
    inside = np.ones((len(boxes), len(hole_boxes)), bool)
    for k, compare in enumerate((np.greater, np.greater, np.less, np.less)):
        inside &= compare(hole_boxes[:, k], boxes[:, k, None])
    most = np.minimum(areas + inside.astype(np.float64) @ hole_areas, _box_areas(boxes, 0))
    areas = areas.copy()
    largest = areas.max()
    for i in np.argsort(-most, kind="stable"):
        if most[i] < largest:
            break
        if areas[i] == most[i]:
            continue
        x0, y0, x1, y1 = boxes[i].tolist()
        part = np.ascontiguousarray(foreground[y0 : y1 + 1, x0 : x1 + 1], np.uint8)
        whole = 0, 0, x1 - x0 + 1, y1 - y0 + 1
        # No other component can touch all four sides.
        areas[i] = next(
            cv2.contourArea(contour)
            for contour in cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
            if cv2.boundingRect(contour) == whole
        )
        largest = max(largest, areas[i])
    return areas


def _box_areas(boxes, margin):
    """Returns the areas [n] of inclusive boxes, measured between the centres, and a margin."""
    return (boxes[:, 2] - boxes[:, 0] + margin) * (boxes[:, 3] - boxes[:, 1] + margin)


def _contour_boxes(foreground: np.ndarray, mode: int) -> np.ndarray:
    """Draws the boxes [n, 4] of a foreground [H, W] bool with OpenCV, largest contour first."""
    contours, _ = cv2.findContours(foreground.astype(np.uint8), mode, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return np.zeros((1, 4), np.int64)
    contours = sorted(contours, key=cv2.contourArea, reverse=True)
    boxes = np.array([cv2.boundingRect(contour) for contour in contours], np.int64)
    boxes[:, 2:] += boxes[:, :2]
    return boxes
