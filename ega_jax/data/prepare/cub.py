"""CUB-200-2011 and CUBV2: the metadata that follow from the files of their owners.

The segmentations of CUB-200-2011, if they are there, become masks beside the boxes of the training
and test images, so that PxAP can be had too. CUBV2 has none.

Paper (of the data set): a pixel's grey level tells how many of five annotators took it for the
bird. / Here: it is the bird's if any did, since the field's evaluator reads every mask as `> 0.5`
and so would these. The files stay as they are.
"""

import os
import re

from ega_jax.data.files.listing import walk
from ega_jax.data.files.metadata import MASKS_FILE
from ega_jax.data.files.write_metadata import csv, metadata_texts
from ega_jax.data.prepare import archives
from ega_jax.data.prepare.published import (
    FIELD,
    DataSet,
    Sizes,
    Split,
    clip,
    read_texts,
    table,
)
from ega_jax.data.source import DataError

_OWNERS = "CUB_200_2011.tgz from https://www.vision.caltech.edu/datasets/cub_200_2011/"
_SEGMENTATIONS_OWNERS = "https://data.caltech.edu/records/w9d68-gec53"
_TABLES = {  # columns, with the number of the image
    "images.txt": 2,
    "image_class_labels.txt": 2,
    "train_test_split.txt": 2,
    "bounding_boxes.txt": 5,
}
_SEGMENTATIONS = "segmentations"
_SEGMENTATIONS_ARCHIVE = re.compile(r"(?i)segmentations")
_CUBV2_BOXES = "CUBV2_boxes.txt"
_CUBV2_IMAGE = re.compile(r"\d{3}\.[^/]+/\d+\.jpg")  # CUB's own names begin with the species
_FIRST_CUBV2 = 11_789  # CUBV2 counts on from CUB


class CUB(DataSet):
    """CUB-200-2011 for training and test, CUBV2 for validation: `<class>/<image>.jpg`.

    Masks are `segmentations/<class>/<image>.png`.
    """

    name = "CUB"
    num_classes = 200
    published = {"train": 5994, "val": 1000, "test": 5794}
    where = {"train": _OWNERS, "val": f"CUBV2.tar, see {FIELD}", "test": _OWNERS}

    def place(self, parts: tuple[str, ...]) -> str:
        """Returns the last two parts, for a segmentation the last three."""
        if parts[-1].endswith(".png"):
            return "/".join(parts[-3:]) if _SEGMENTATIONS in parts[-3:-2] else ""
        return "/".join(parts[-2:])

    def plan(self, split: str) -> Split:
        """Makes a split of the field's metadata, or else of the owners' files."""
        plan = super().plan(split)
        if plan.problem:
            self._plan_from_owners(plan, split)
        if split != "val" and not plan.problem and not plan.masks and self._has_segmentations():
            _add_segmentations(plan)
        if plan.masks:
            plan.where += f"; the masks are in segmentations.tgz from {_SEGMENTATIONS_OWNERS}"
        return plan

    def _has_segmentations(self) -> bool:
        """Says whether segmentations are meant to be laid out: there are some, or their archive."""
        if not hasattr(self, "_segmented"):  # once for both splits
            self._segmented = os.path.isdir(os.path.join(self.out, _SEGMENTATIONS)) or any(
                _SEGMENTATIONS in parts[:-1]
                or (archives.is_archive(path) and _SEGMENTATIONS_ARCHIVE.search(parts[-1]))
                for parts, path in walk(self.source)
            )
        return self._segmented

    def _plan_from_owners(self, plan: Split, split: str) -> None:
        if split == "val":
            boxes = read_texts(self.source, re.compile(_CUBV2_BOXES), re.compile("(?!)"))
            if boxes:
                plan.pattern, plan.problem = _CUBV2_IMAGE, ""
                plan.texts = lambda sizes: cubv2_metadata(boxes[_CUBV2_BOXES], sizes)
            else:
                plan.problem += f", or {_CUBV2_BOXES} from its folder release"
            return
        if not hasattr(self, "_texts"):  # once for both splits: it may mean to unpack all of CUB
            names = re.compile("|".join(map(re.escape, _TABLES)))
            self._texts = read_texts(self.source, names, re.compile(r"(?i)CUB_200_2011"))
        if missing := [name for name in _TABLES if name not in self._texts]:
            plan.problem += f", or {', '.join(missing)} as in {_OWNERS}"
            return
        images = owners_split(self._texts, split)
        plan.images, plan.problem = dict.fromkeys(images), ""
        plan.texts = lambda sizes: owners_metadata(images, sizes)


def _add_segmentations(plan: Split) -> None:
    """Adds a mask to every image, and the file that lists them to the metadata."""
    masks = {image: f"{_SEGMENTATIONS}/{image.removesuffix('.jpg')}.png" for image in plan.images}
    plan.masks = {mask: image for image, mask in masks.items()}
    texts = plan.texts

    def with_masks(sizes: Sizes) -> dict[str, str]:
        return texts(sizes) | {MASKS_FILE: csv([(*pair, "") for pair in masks.items()])}

    plan.texts = with_masks


def owners_split(texts: dict[str, str], split: str) -> dict[str, tuple[int, tuple[int, ...]]]:
    """Reads the training or test split of CUB's own files.

    Args:
      texts: `images.txt`, `image_class_labels.txt`, `train_test_split.txt`, `bounding_boxes.txt`.
      split: `train` or `test`.

    Returns:
      For each image, in the order of `images.txt`, its label from 0 and its box as x, y, w, h.

    Raises:
      DataError: a file has other lines than it should.
    """
    images, classes, training, boxes = (
        table(texts[name], columns, name) for name, columns in _TABLES.items()
    )
    wanted = {"train": "1", "test": "0"}[split]
    result = {}
    for number, (path,) in images.items():
        try:
            if training[number] == [wanted]:
                box = tuple(int(float(value)) for value in boxes[number])
                result[path] = (int(classes[number][0]) - 1, box)
        except (KeyError, ValueError) as error:
            raise DataError(
                f"image {number} ({path}) of images.txt: no line, or no number, in one of "
                f"{', '.join(list(_TABLES)[1:])} ({error}); get the files again"
            ) from error
    return result


def owners_metadata(images: dict[str, tuple[int, tuple[int, ...]]], sizes: Sizes) -> dict[str, str]:
    """Makes the metadata files of what `owners_split` read; x1 is x + w, inside the image."""
    labels = {path: label for path, (label, _) in images.items()}
    boxes = {path: [_xyxy(box, sizes[path])] for path, (_, box) in images.items()}
    return metadata_texts(labels, sizes, boxes)


def cubv2_metadata(text: str, sizes: Sizes) -> dict[str, str]:
    """Makes CUBV2's metadata files of `CUBV2_boxes.txt`.

    It is headed `image_id,x0,y0,x1,y1` but holds x, y, width, height, rounded: x1 and y1 are up to
    one pixel away from those of the field's metadata. Its ids number the images in sorted order.

    Args:
      text: the file.
      sizes: of CUBV2's images, and of others, which are left alone.

    Raises:
      DataError: it has a line that is no box, or none for one of the images.
    """
    paths = sorted(path for path in sizes if _CUBV2_IMAGE.fullmatch(path))
    rows = [line.split(",") for line in text.split()[1:]]
    try:
        values = {int(row[0]): tuple(int(value) for value in row[1:5]) for row in rows}
        boxes = {path: values[number] for number, path in enumerate(paths, start=_FIRST_CUBV2)}
        boxed = {path: [_xyxy(box, sizes[path])] for path, box in boxes.items()}
    except (KeyError, ValueError) as error:
        raise DataError(
            f"{_CUBV2_BOXES} has a line other than id,x,y,width,height or none for an image "
            f"({error}); get it again"
        ) from error
    if len(values) != len(paths):
        raise DataError(
            f"{_CUBV2_BOXES} has {len(values)} boxes for {len(paths)} images, and only the order "
            "tells which is whose; get what is missing, or use the field's metadata/val"
        )
    labels = {path: int(path[:3]) - 1 for path in paths}
    return metadata_texts(labels, sizes, boxed)


def _xyxy(box: tuple[int, ...], size: tuple[int, int]) -> tuple[int, int, int, int]:
    x, y, width, height = box
    return clip((x, y, x + width, y + height), size)
