"""What is known of a split once it is scored: counts, and the figures that they give."""

import dataclasses
from typing import Any

import numpy as np

from ega_jax import localization
from ega_jax.data.source import Source


@dataclasses.dataclass
class Scores:
    """Counts over the images of a split. All are sums: the counts of its parts add up to its own.

    Attributes:
      boxes: correct boxes by threshold; None if the split has no boxes.
      pixels: histograms of the scores inside and outside the objects; None if it has no masks.
      images: images scored.
      classified: images with a prediction: all, or 0 where only heat maps are scored.
      top1: images whose best class is the true one.
      top5: images whose true class is among the best five.
      cropped: images classified by ten crops, on which `top1` and `top5` then rest.
      top1_single: as `top1`, of the cropped images, by the whole image alone.
    """

    boxes: localization.BoxCounts | None
    pixels: localization.PixelCounts | None
    images: int = 0
    classified: int = 0
    top1: int = 0
    top5: int = 0
    cropped: int = 0
    top1_single: int = 0

    @classmethod
    def empty(cls, source: Source, thresholds: np.ndarray) -> "Scores":
        """Returns the counts of no image, of the kinds that `source` can be scored with."""
        return cls(
            boxes=None if source.boxes is None else localization.BoxCounts(thresholds),
            pixels=None if source.load_mask is None else localization.PixelCounts(thresholds),
        )

    def add(
        self,
        source: Source,
        index: int,
        score_map: np.ndarray,
        probabilities: np.ndarray | None = None,
        single: np.ndarray | None = None,
    ) -> None:
        """Counts one image.

        Args:
          source: the split.
          index: of the image.
          score_map: `[S, S]` in [0, 1], the map of its true class.
          probabilities: `[C]` of the classes; None if only the map is known.
          single: `[C]` by the whole image alone, where `probabilities` are by ten crops.
        """
        size = len(score_map)
        label = source.labels[index]
        top1 = top5 = False
        self.images += 1
        if probabilities is not None:
            order = np.argsort(-probabilities, kind="stable")
            top1, top5 = bool(order[0] == label), bool(label in order[:5])
            self.classified += 1
            self.top1 += top1
            self.top5 += top5
        if single is not None:
            self.cropped += 1
            self.top1_single += bool(single.argmax() == label)
        if self.boxes is not None:
            boxes = localization.scale_boxes(source.boxes[index], source.image_sizes[index], size)
            self.boxes.add(score_map, boxes, top1, top5)
        if self.pixels is not None:
            self.pixels.add(score_map, *source.load_mask(index, size))

    def merge(self, other: "Scores") -> "Scores":
        """Returns the counts of both parts of a split."""
        counts = {
            field.name: getattr(self, field.name) + getattr(other, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("boxes", "pixels")
        }
        return Scores(
            boxes=self.boxes and self.boxes.merge(other.boxes),
            pixels=self.pixels and self.pixels.merge(other.pixels),
            **counts,
        )

    @property
    def selection(self) -> float:
        """The figure that chooses the best checkpoint, higher is better, in percent.

        MaxBoxAccV2 where there are boxes, else PxAP where there are masks, else Top-1 accuracy.
        """
        if self.boxes is not None:
            return self.boxes.max_box_acc_v2()
        if self.pixels is not None:
            return self.pixels.pxap()
        return 100 * self.top1 / self.images

    def figures(self, threshold: float, validation: "Scores | None" = None) -> dict[str, Any]:
        """Computes every metric that the split allows, in percent.

        Args:
          threshold: the fixed one.
          validation: scores of the validation split, whose thresholds are carried over; None: the
            result has no `val`.

        Returns:
          `images`; with a classifier `top1_cls_err` and `top5_cls_err`, by ten crops if they were
          used, and then `top1_cls_err_single` by the whole image; with boxes `fixed`, `val` and
          `oracle`, as `localization.BoxCounts` gives them; with masks `pxap`.
        """
        result: dict[str, Any] = {"images": self.images}
        if self.classified:
            result["top1_cls_err"] = 100 - 100 * self.top1 / self.images
            result["top5_cls_err"] = 100 - 100 * self.top5 / self.images
            if self.cropped:
                result["top1_cls_err_single"] = 100 - 100 * self.top1_single / self.images
        if self.boxes is not None:
            kinds = {"fixed": self.boxes.at(threshold)}
            if validation is not None and validation.boxes is not None:
                kinds["val"] = self.boxes.carried_over(validation.boxes)
            kinds["oracle"] = self.boxes.oracle()
            for figures in kinds.values() if not self.classified else ():
                for name in ("top1_loc_err", "top5_loc_err"):
                    figures.pop(name)
                    figures.get("thresholds", {}).pop(name, None)
            result |= kinds
        if self.pixels is not None:
            result["pxap"] = self.pixels.pxap()
        return result
