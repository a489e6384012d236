"""Reference lines that cost no training: answers that never look at the image.

    python -m ega_jax.main --mode=baseline --metadata=metadata/CUB

Two of them, both scored by the evaluator of every other mode:

* `centre_gaussian`, the row "Center" of the field's tables (Choe et al., CVPR 2020): one isotropic
  Gaussian in the middle as the score map of all images.
* `centre_box`, one box in the middle of all images, of whatever size is best for a metric.

A method whose boxes are not better than these has found nothing out about where objects are.

The published row is 59.7 for CUB and 52.5 for ImageNet, in a table whose other rows are
MaxBoxAccV2. It is another metric: MaxBoxAcc at IoU 0.5, with the first box of every ImageNet image
as its only one, gives 59.72 and 52.52 here. (With all boxes ImageNet has 54.08.) In MaxBoxAccV2
this Gaussian has 56.97 and 53.45, and the best centred boxes of all sizes, to the pixel, 57.11 on
CUB. PxAP of OpenImages, 45.8, needs its masks and has not been compared.
"""

import dataclasses
import logging
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ega_jax import localization
from ega_jax.data.source import DataError, Source
from ega_jax.evaluation.scores import Scores

logger = logging.getLogger(__name__)

SIGMA = 0.25  # of the Gaussian, as a share of the side of the map
_MAX_SIDES = 56  # sizes of the box that are tried, along each side


def centre_gaussian(size: int, sigma: float = SIGMA) -> np.ndarray:
    """Makes the score map of the centre baseline.

    Every threshold cuts a disc out of it, so boxes are squares around the middle whatever sigma
    is, and the best thresholds find the best of them. Sigma only decides which of the squares the
    255 levels of the evaluator contain: a narrow Gaussian loses the large ones, as it is below
    1/255 further than 3.3 sigma from the middle, and a wide one skips small ones. On CUB and
    ImageNet all sigmas from 0.2 to 3 sides have the same MaxBoxAcc and MaxBoxAccV2, while 0.1 has
    much less; PxAP depends on the order of the pixels alone, but for the width of its bins. Only
    the figures at a fixed threshold mean nothing without sigma.

    Paper: centred. / Here: at pixel size / 2, with which the published figures come out. Half a
    pixel up and left, exactly between the borders, CUB has 59.60 instead of 59.72.

    Args:
      size: height and width S of the map.
      sigma: standard deviation, as a share of S.

    Returns:
      `[S, S]` float64, from 0 to 1.
    """
    profile = np.exp(-((np.arange(size) - size // 2) ** 2) / (2 * (sigma * size) ** 2))
    return localization.score_map(np.outer(profile, profile), size)


@dataclasses.dataclass(frozen=True)
class Truth:
    """Where the objects of a split are, as far as answers need it that are one for all images.

    Attributes:
      images: number of images.
      size: side S of the maps, in pixels.
      boxes: per image `[K, 4]` in pixels of the map; None if the split has no boxes.
      foreground: `[S, S]` int64, in how many images a pixel is of an object; None without masks.
      background: `[S, S]` int64, in how many it is neither that nor ignored; None without masks.
      masks: per image the bits of its mask and of what is ignored `[2, S, S]`, 12.5 KB at 224
        pixels; None without masks.
    """

    images: int
    size: int
    boxes: Sequence[np.ndarray] | None = None
    foreground: np.ndarray | None = None
    background: np.ndarray | None = None
    masks: Sequence[np.ndarray] | None = None

    @classmethod
    def of(cls, source: Source, size: int) -> "Truth":
        """Collects the boxes and masks of a split, and sums its masks.

        Raises:
          DataError: a mask cannot be read, or no mask has a foreground pixel.
        """
        boxes = foreground = background = None
        masks: list[np.ndarray] | None = None
        if source.boxes is not None:
            boxes = [
                localization.scale_boxes(of_image, image_size, size)
                for of_image, image_size in zip(source.boxes, source.image_sizes, strict=True)
            ]
        if source.load_mask is not None:
            foreground, background = np.zeros((2, size, size), np.int64)
            masks = []
            for index in range(len(source)):
                mask, ignore = source.load_mask(index, size)
                foreground += mask
                background += ~(mask | ignore)
                masks.append(np.packbits([mask, ignore]))
            if not foreground.any():
                raise DataError(
                    f"{source.name}: no mask has a pixel of an object at {size} x {size}; check "
                    "the mask files that localization.txt lists"
                )
        return cls(len(source), size, boxes, foreground, background, masks)

    def load_masks(self) -> Iterator[np.ndarray]:
        """Yields per image its mask and what is ignored `[2, S, S]` bool."""
        shape = (2, self.size, self.size)
        for bits in self.masks:
            yield np.unpackbits(bits, count=np.prod(shape)).reshape(shape).astype(bool)


def score_shared(score_map: np.ndarray, truth: Truth, thresholds: np.ndarray) -> Scores:
    """Scores one map as that of every image: the counts of one image after the other, but fast.

    Args:
      score_map: `[S, S]` in [0, 1].
      truth: of the split.
      thresholds: `[T]` in [0, 1), increasing.
    """
    scores = Scores(boxes=None, pixels=None, images=truth.images)
    if truth.boxes is not None:
        scores.boxes = localization.BoxCounts(thresholds)
        scores.boxes.add_shared(
            localization.boxes_at_thresholds(score_map, thresholds), truth.boxes
        )
        scores.in_boxes = localization.PointingCounts()
        for boxes in truth.boxes:
            scores.in_boxes.add(score_map, localization.region_of(boxes, truth.size))
    if truth.foreground is not None:
        scores.pixels = localization.PixelCounts(thresholds)
        scores.pixels.add_shared(score_map, truth.foreground, truth.background)
        scores.in_masks = localization.PointingCounts()
        for mask, ignore in truth.load_masks():
            scores.in_masks.add(score_map, mask, ignore)
    return scores


@dataclasses.dataclass(frozen=True)
class BoxSizes:
    """What a box in the middle of all images reaches, for each of N sizes.

    The box is scored as a map of ones inside and zeros outside, so it is drawn as the evaluator
    draws all boxes: to one pixel past its last.

    Attributes:
      images: number of images.
      sizes: `[N, 2]` width and height, in percent of the image.
      counts: of correct images, for every size where other counts have thresholds; None if the
        split has no boxes.
      pxap: `[N]` in percent; None if it has no masks.
    """

    images: int
    sizes: np.ndarray
    counts: localization.BoxCounts | None = None
    pxap: np.ndarray | None = None

    @classmethod
    def of(cls, truth: Truth) -> "BoxSizes":
        """Scores the boxes of all sizes, in steps of about 2 % of the image."""
        blocks = centred_blocks(truth.size)
        counts = pxap = None
        if truth.boxes is not None:
            boxes = np.minimum(blocks, truth.size - 1)
            each = np.arange(len(blocks))
            counts = localization.BoxCounts(each / len(blocks))
            counts.add_shared(localization.ThresholdBoxes(boxes, boxes, each, each), truth.boxes)
        if truth.foreground is not None:
            pxap = _block_pxap(blocks, truth)
        sizes = 100 * (blocks[:, 2:] - blocks[:, :2]) / truth.size
        return cls(truth.images, sizes, counts, pxap)

    def figures(self, validation: "BoxSizes | None" = None) -> dict[str, Any]:
        """Computes every metric that the split allows, each at the size that is best for it.

        Args:
          validation: of the validation split, whose best sizes are carried over; None: the result
            has no `val`.

        Returns:
          `images`, and `val` and `oracle` (the size that is best on the split itself), in percent:
          with boxes the figures of `localization.BoxCounts`, with masks `pxap`, and `width` and
          `height` of the box by IoU and for `pxap`.
        """
        result: dict[str, Any] = {"images": self.images}
        for kind, chooser in (("val", validation), ("oracle", self)):
            if chooser is not None and (figures := self._at_best(chooser, kind)):
                result[kind] = figures
        return result

    def _at_best(self, chooser: "BoxSizes", kind: str) -> dict[str, Any]:
        """Reads the figures at the sizes that are best for `chooser`."""
        figures: dict[str, Any] = {}
        best: dict[str, int] = {}
        if self.counts is not None and chooser.counts is not None:
            counted = self.counts.carried_over(chooser.counts)
            # One box is the largest and any: the same size is best for both kinds of accuracy.
            chosen = counted["thresholds"]["box_acc"]
            best = {k: int(np.searchsorted(self.counts.thresholds, t)) for k, t in chosen.items()}
            prefix = "max_" if kind == "oracle" else ""
            figures["corloc_err"] = counted["corloc_err"]
            figures |= {prefix + name: counted[name] for name in ("box_acc", "box_acc_v2")}
        if self.pxap is not None and chooser.pxap is not None:
            best["pxap"] = int(chooser.pxap.argmax())
            figures["pxap"] = float(self.pxap[best["pxap"]])
        if best:
            figures["width"] = {name: float(self.sizes[i, 0]) for name, i in best.items()}
            figures["height"] = {name: float(self.sizes[i, 1]) for name, i in best.items()}
        return figures


def centred_blocks(size: int) -> np.ndarray:
    """Returns the blocks of pixels in the middle of a map, of all sizes that are tried.

    Args:
      size: height and width S of the map.

    Returns:
      `[N, 4]` int64 `x0, y0, x1, y1`, where x1 and y1 are one past the last pixel. The sides are S
      and less by steps that keep the block exactly in the middle, at most 56 of them.
    """
    sides = np.arange(size, 0, -2 * math.ceil(size / (2 * _MAX_SIDES)))[::-1]
    low = (size - sides) // 2
    y, x = (index.ravel() for index in np.indices((len(sides), len(sides))))
    return np.stack([low[x], low[y], low[x] + sides[x], low[y] + sides[y]], axis=1)


def _block_pxap(blocks: np.ndarray, truth: Truth) -> np.ndarray:
    """Computes PxAP `[N]` of maps of ones inside a block, zeros outside."""
    inside = {}
    for name in ("foreground", "background"):
        sums = np.pad(getattr(truth, name).cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
        x0, y0, x1, y1 = blocks.T
        within = sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0]
        # Pixels with a score in [0, 1), [1, 2), [2, 3); with two scores more thresholds tell none.
        inside[name] = np.stack([sums[-1, -1] - within, within, np.zeros_like(within)], axis=1)
    parts = zip(inside["foreground"], inside["background"], strict=True)
    arrays = ({"thresholds": [0.0], "foreground": f, "background": b} for f, b in parts)
    return np.array([localization.PixelCounts.from_arrays(a).pxap() for a in arrays])
