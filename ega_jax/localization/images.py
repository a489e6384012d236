"""One image from its map to what is counted of it: all that scoring computes, without the sums.

What goes in and what comes out are small arrays, so that other processes can do the work.
"""

from typing import NamedTuple

import numpy as np

from ega_jax.localization.box_metrics import BoxOutcome, box_outcome
from ega_jax.localization.mask_metrics import pixel_outcome
from ega_jax.localization.pointing import pointing_outcome, region_of
from ega_jax.localization.score_maps import score_map


class ImageMap(NamedTuple):
    """The map of an image, and where the objects are.

    Attributes:
      cam: `[h, w]` class activation map, of any range; or a score map `[S, S]` in [0, 1].
      size: side S of the score map to be made of `cam`; None if `cam` is one already.
      boxes: `[B, 4]` ground-truth boxes in pixels of the score map; None if there are none.
      mask: `[S, S]` bool; None if there is none.
      ignore: `[S, S]` bool, pixels that count as nothing; None as `mask`.
    """

    cam: np.ndarray
    size: int | None = None
    boxes: np.ndarray | None = None
    mask: np.ndarray | None = None
    ignore: np.ndarray | None = None


class ImageOutcome(NamedTuple):
    """What is counted of an image.

    Attributes:
      map_size: side of its score map.
      boxes: for `BoxCounts.add_outcome`; None without ground-truth boxes.
      pixels: for `PixelCounts.add_outcome`; None without a mask.
      in_boxes: for `PointingCounts.add_outcome`, with all boxes as its region; None as `boxes`.
      in_masks: the same with the mask; None as `pixels`.
    """

    map_size: int
    boxes: BoxOutcome | None
    pixels: tuple[np.ndarray, np.ndarray] | None
    in_boxes: np.ndarray | None
    in_masks: np.ndarray | None


def score_image(image: ImageMap, thresholds: np.ndarray) -> ImageOutcome:
    """Scores the map of one image at the thresholds [T].

    Raises:
      ValueError: The boxes are malformed, or the masks have another shape than the map.
    """
    heat = image.cam if image.size is None else score_map(image.cam, image.size)
    boxes = pixels = in_boxes = in_masks = None
    if image.boxes is not None:
        boxes = box_outcome(heat, image.boxes, thresholds)
        in_boxes = pointing_outcome(heat, region_of(image.boxes, len(heat)))
    if image.mask is not None:
        pixels = pixel_outcome(heat, image.mask, image.ignore, thresholds)
        in_masks = pointing_outcome(heat, image.mask, image.ignore)
    return ImageOutcome(len(heat), boxes, pixels, in_boxes, in_masks)
