"""What is known of a split once it is scored: counts, and the figures that they give."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from ega_jax import localization
from ega_jax.data.source import DataError, Source
from ega_jax.evaluation.records import Records

_PARTS: dict[str, Any] = {
    "boxes": localization.BoxCounts,
    "pixels": localization.PixelCounts,
    "in_boxes": localization.PointingCounts,
    "in_masks": localization.PointingCounts,
    "records": Records,
}


@dataclasses.dataclass
class Scores:
    """Counts over the images of a split, and its images one by one.

    All counts are sums: those of its parts add up to its own.

    Attributes:
      boxes: correct boxes by threshold; None if the split has no boxes.
      pixels: histograms of the scores inside and outside the objects; None if it has no masks.
      in_boxes: where maps are bright, seen from the boxes; None as `boxes`.
      in_masks: the same, seen from the masks; None as `pixels`.
      records: one row for each image, see `add`; None where only counts are known.
      images: images scored.
      classified: images with a prediction: all, or 0 where only heat maps are scored.
      top1: images whose best class is the true one.
      ranked: images with more than five classes to choose from, on which `top5` rests.
      top5: images whose true class is among the best five.
      cropped: images classified by ten crops, on which `top1` and `top5` then rest.
      top1_single: as `top1`, of the cropped images, by the whole image alone.
    """

    boxes: localization.BoxCounts | None
    pixels: localization.PixelCounts | None
    in_boxes: localization.PointingCounts | None = None
    in_masks: localization.PointingCounts | None = None
    records: Records | None = None
    images: int = 0
    classified: int = 0
    top1: int = 0
    ranked: int = 0
    top5: int = 0
    cropped: int = 0
    top1_single: int = 0

    @classmethod
    def empty(cls, source: Source, thresholds: np.ndarray) -> "Scores":
        """Returns the counts of no image, of the kinds that `source` can be scored with."""
        objects = not source.background.issuperset(source.labels.tolist())
        boxes, masks = (
            objects and source.boxes is not None,
            objects and source.load_mask is not None,
        )
        return cls(
            boxes=localization.BoxCounts(thresholds) if boxes else None,
            pixels=localization.PixelCounts(thresholds) if masks else None,
            in_boxes=localization.PointingCounts() if boxes else None,
            in_masks=localization.PointingCounts() if masks else None,
            records=Records(),
        )

    def add(
        self,
        source: Source,
        index: int,
        score_map: np.ndarray,
        probabilities: np.ndarray | None = None,
        single: np.ndarray | None = None,
    ) -> None:
        """Counts one image and keeps a row of it in `records`.

        * `map_size`, the side of the map;
        * of the classes `prediction`, its `probability`, whether the label is `top1` and, of more
          than five, `top5`;
        * of boxes `highest`, `largest` and `correct` (`localization.BoxOutcomes`);
        * of masks `foreground` and `background` (`localization.PixelCounts`), with 1000 thresholds
          4 KB for each image, or 8 KB if the map is wider than 256 pixels;
        * `in_boxes` and `in_masks` (`localization.pointing_outcome`), of the one and the other;
        * `has_object`, where the split has classes without: an image of these is classified, and
          what its row says of boxes and masks is filling that nothing counts.

        Args:
          source: the split.
          index: of the image.
          score_map: `[S, S]` in [0, 1], the map of its true class.
          probabilities: `[C]` of the classes; None if only the map is known.
          single: `[C]` by the whole image alone, where `probabilities` are by ten crops.
        """
        image = self.request(source, index, score_map)
        outcome = localization.score_image(image, self.thresholds)
        self.add_outcome(source, index, outcome, probabilities, single)

    def request(
        self, source: Source, index: int, cam: np.ndarray, size: int | None = None
    ) -> localization.ImageMap:
        """Puts together what `localization.score_image` needs to know of an image.

        Args:
          source: the split.
          index: of the image.
          cam: `[h, w]` class map to be made a score map of `size`, or a score map `[S, S]` in
            [0, 1].
          size: side of the score map; None if it is one already.
        """
        side = size or len(cam)
        boxes, masks = None, (None, None)
        if not source.has_object(index):  # every row has the same columns: see `add`
            nothing = np.zeros((side, side), bool)
            if self.boxes is not None:
                boxes = np.array([[0, 0, side - 1, side - 1]])
            if self.pixels is not None:
                masks = nothing, nothing
            return localization.ImageMap(cam, size, boxes, *masks)
        if self.boxes is not None:
            boxes = localization.scale_boxes(source.boxes[index], source.image_sizes[index], side)
        if self.pixels is not None:
            masks = source.load_mask(index, side)
        return localization.ImageMap(cam, size, boxes, *masks)

    def add_outcome(
        self,
        source: Source,
        index: int,
        outcome: localization.ImageOutcome,
        probabilities: np.ndarray | None = None,
        single: np.ndarray | None = None,
    ) -> None:
        """Counts one image whose map was scored already; the arguments are those of `add`."""
        size = outcome.map_size
        label = source.labels[index]
        top1 = top5 = False
        row: dict[str, Any] = {"map_size": np.int32(size)}
        self.images += 1
        if probabilities is not None:
            order = np.argsort(-probabilities, kind="stable")
            answered = bool(np.isfinite(probabilities).all())  # else no class is the right one
            top1 = answered and bool(order[0] == label)
            self.classified += 1
            self.top1 += top1
            row |= {"prediction": np.int32(order[0]), "top1": top1}
            row["probability"] = np.float32(probabilities[order[0]])
            if len(order) > 5:
                top5 = answered and bool(label in order[:5])
                self.ranked += 1
                self.top5 += top5
                row["top5"] = top5
        if single is not None:
            self.cropped += 1
            self.top1_single += bool(np.isfinite(single).all() and single.argmax() == label)
        has_object = source.has_object(index)
        if source.background:
            row["has_object"] = has_object
        if self.boxes is not None:
            if has_object:
                self.boxes.add_outcome(outcome.boxes, top1, top5)
                self.in_boxes.add_outcome(outcome.in_boxes)
            row |= localization.pack(outcome.boxes, len(self.boxes.thresholds), size)
            row["in_boxes"] = outcome.in_boxes
        if self.pixels is not None:
            if has_object:
                self.pixels.add_outcome(*outcome.pixels)
                self.in_masks.add_outcome(outcome.in_masks)
            kind = np.min_scalar_type(size**2)
            pixels = (part.astype(kind) for part in outcome.pixels)
            row |= zip(("foreground", "background"), pixels, strict=True)
            row["in_masks"] = outcome.in_masks
        if self.records is not None:
            self.records.add(index, **row)

    @property
    def thresholds(self) -> np.ndarray:
        """The thresholds of the counts `[T]`; none if there is nothing to localize."""
        counts = [part.thresholds for part in (self.boxes, self.pixels) if part is not None]
        return counts[0] if counts else np.empty(0)

    def merge(self, other: "Scores") -> "Scores":
        """Returns the counts of both parts of a split."""
        parts = {name: getattr(self, name) for name in _PARTS}
        return Scores(
            **{
                name: None if part is None else part.merge(getattr(other, name))
                for name, part in parts.items()
            },
            **{name: getattr(self, name) + getattr(other, name) for name in _counts()},
        )

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Returns everything as arrays by `<part>/<name>`, to be saved or sent to a process."""
        arrays: dict[str, Any] = {name: np.int64(getattr(self, name)) for name in _counts()}
        for name in _PARTS:
            part = getattr(self, name)
            if part is not None:
                arrays |= {f"{name}/{key}": value for key, value in part.to_arrays().items()}
                arrays[name] = np.bool_(True)  # even a part without rows is there
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Scores":
        """Restores what `to_arrays` gave."""
        parts: dict[str, Any] = {}
        for name, kind in _PARTS.items():
            prefix = f"{name}/"
            own = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
            parts[name] = kind.from_arrays(own) if name in arrays else None
        return cls(**parts | {name: int(arrays[name]) for name in _counts()})

    @property
    def selection(self) -> float:
        """The figure that chooses the best checkpoint, higher is better, in percent.

        Where there are boxes, MaxBoxAccV2, but an image whose map is brighter outside its boxes
        than inside is wrong: by itself MaxBoxAccV2 takes the contour of a hole for a box. Else PxAP
        where there are masks, of which an inverted map has less than a constant one; else Top-1
        accuracy.
        """
        if self.boxes is not None:
            return self._upright_max_box_acc_v2()
        if self.pixels is not None:
            return self.pixels.pxap()
        return 100 * self.top1 / self.images

    def _upright_max_box_acc_v2(self) -> float:
        """Computes MaxBoxAccV2 with inverted maps counted as wrong, from the records."""
        rows = self.records.to_arrays()
        located = has_objects(rows)
        upright = (rows["in_boxes"][:, localization.OUTSIDE] == 0) & located
        if not upright.any():
            return 0.0
        outcomes = localization.BoxOutcomes.of_rows(rows, self.boxes.thresholds)
        unasked = np.zeros(len(upright), bool)  # classes have no part in it
        (counts,) = outcomes.weighted(upright[None].astype(np.float32), unasked, unasked)
        return float(counts.max_box_acc_v2() * upright.sum() / located.sum())

    def figures(self, threshold: float, validation: "Scores | None" = None) -> dict[str, Any]:
        """Computes every metric that the split allows, in percent.

        Args:
          threshold: the fixed one.
          validation: scores of the validation split, whose thresholds are carried over; None: the
            result has no `val`.

        Returns:
          `images`; with a classifier `top1_cls_err` and, of more than five classes,
          `top5_cls_err`, by ten crops if they were used, and then `top1_cls_err_single` by the
          whole image; with boxes `fixed`, `val` and `oracle`, as `localization.BoxCounts` gives
          them, and `in_boxes`; with masks `pxap` and `in_masks`. The last of both are what
          `localization.PointingCounts` gives.
        """
        result: dict[str, Any] = {"images": self.images}
        if self.classified:
            result["top1_cls_err"] = 100 - 100 * self.top1 / self.images
            if self.ranked:
                result["top5_cls_err"] = 100 - 100 * self.top5 / self.images
            if self.cropped:
                result["top1_cls_err_single"] = 100 - 100 * self.top1_single / self.images
        if self.boxes is not None:
            kinds = {"fixed": self.boxes.at(threshold)}
            if validation is not None and validation.boxes is not None:
                kinds["val"] = self.boxes.carried_over(validation.boxes)
            kinds["oracle"] = self.boxes.oracle()
            unknown = ["top1_loc_err"] * (not self.classified)
            unknown += ["top5_loc_err"] * (not self.ranked)
            for figures in kinds.values():
                for name in unknown:
                    figures.pop(name)
                    figures.get("thresholds", {}).pop(name, None)
            result |= kinds
        if self.pixels is not None:
            if not self.pixels.foreground.any():
                raise DataError(
                    "no mask has a pixel of an object left at the size of the maps; take larger "
                    "maps by --config.eval.map_size, or look at the masks"
                )
            result["pxap"] = self.pixels.pxap()
        for name in ("in_boxes", "in_masks"):
            if (pointing := getattr(self, name)) is not None:
                result[name] = pointing.figures()
        return result


def has_objects(rows: Mapping[str, np.ndarray]) -> np.ndarray:
    """Says of the rows of records which images have something to localize: `[N]` bool."""
    return rows.get("has_object", np.ones(len(rows["index"]), bool))


def _counts() -> list[str]:
    """Names the fields that are sums of their own."""
    return [field.name for field in dataclasses.fields(Scores) if field.name not in _PARTS]
