"""Reads the metadata of a split: the field's four text files and two more, no image needed.

The layout is that of wsolevaluation (Choe et al., "Evaluating Weakly Supervised Object Localization
Methods Right"): comma-separated lines without a header, in a folder per split.

| file | a line | |
| --- | --- | --- |
| `image_ids.txt` | `image` | the order of evaluation |
| `class_labels.txt` | `image,label` | labels count from 0 |
| `image_sizes.txt` | `image,width,height` | may be empty or absent |
| `localization.txt` | `image,x0,y0,x1,y1` | boxes: one line per box |
| | `image,mask,ignore` | or masks: one line per object, `ignore` on the first only, if any |
| `masks.txt` | `image,mask,ignore` | masks beside the boxes of `localization.txt` |
| `class_names.txt` | `name` | of the classes, in the order of the labels; here or a folder above |

The column `ignore` may be left out. Numbers may end in `.0`. What Windows wrote with backslashes is
read with slashes.

`localization.txt` may be empty or absent, as it is for training; otherwise every image has a line.
So may `masks.txt` and `class_names.txt`, which the field does not have.
"""

import dataclasses
import math
import os
import pathlib
import re

import numpy as np
from etils import epath

from ega_jax.data.files.listing import path_fault
from ega_jax.data.files.text_lines import read_lines
from ega_jax.data.source import DataError

MASKS_FILE = "masks.txt"
_NUMBER = re.compile(r" *([+-]?[0-9]{1,30})(?:\.0*)? *")
_INT32 = range(-(2**31), 2**31)


@dataclasses.dataclass(frozen=True)
class Metadata:
    """What the text files of one split say.

    Attributes:
      folder: where they are, for messages.
      image_ids: N unique ids, the paths below the image folder, in evaluation order.
      labels: `[N]` int32.
      image_sizes: `[N, 2]` int64, width and height; None if the files leave them out.
      boxes: `[M, 4]` int64, xyxy in pixels, in the order of the lines; None without boxes.
      box_images: `[M]` int64, the position in `image_ids` that each box belongs to.
      masks: per image the paths of its object masks below the mask folder; None without masks.
        Boxes and masks may be there both.
      ignore_masks: per image the path of its ignore mask, empty if it has none.
    """

    folder: pathlib.Path
    image_ids: tuple[str, ...]
    labels: np.ndarray
    image_sizes: np.ndarray | None = None
    boxes: np.ndarray | None = None
    box_images: np.ndarray | None = None
    masks: tuple[tuple[str, ...], ...] | None = None
    ignore_masks: tuple[str, ...] | None = None

    def boxes_per_image(self) -> tuple[np.ndarray, ...] | None:
        """Groups the boxes: per image `[K, 4]` int64, in the order of the lines."""
        if self.boxes is None:
            return None
        counts = np.bincount(self.box_images, minlength=len(self.image_ids))
        grouped = self.boxes[np.argsort(self.box_images, kind="stable")]
        return tuple(np.split(grouped, np.cumsum(counts)[:-1]))


def read_metadata(
    folder: str | os.PathLike,
    num_classes: int | None = None,
    boxless: frozenset[int] = frozenset(),
) -> Metadata:
    """Reads and checks the metadata of one split; see the module's docstring for the layout.

    Args:
      folder: the folder of the text files.
      num_classes: number of classes that the labels must be within; None: any.
      boxless: labels of classes without an object, whose images need no line with a box or mask.

    Returns:
      The contents. Labels and sizes may stand in any order in their files.

    Raises:
      DataError: a file is missing or unreadable, a line has the wrong columns, the files disagree
        on which images there are, or a value is out of range. Names file, line and remedy.
    """
    folder = epath.Path(folder)  # in a bucket too
    path = folder / "image_ids.txt"
    image_ids = [row[0] for row in _read_rows(path, columns=(1,))]
    if not image_ids:
        raise DataError(f"{path} is empty; write one image path per line")
    for line, image_id in enumerate(image_ids, start=1):
        if fault := path_fault(image_id):
            raise DataError(
                f"{path}, line {line}: {image_id!r} {fault}; ids are paths below the folder of the "
                "images, by which what is written of an image is called, too"
            )
    index_of = {image_id: index for index, image_id in enumerate(image_ids)}
    if len(index_of) < len(image_ids):
        line = _first_repeat(image_ids)
        raise DataError(f"{path}, line {line + 1}: {image_ids[line]!r} again; keep one of them")
    labels = _read_labels(folder / "class_labels.txt", index_of, num_classes)
    needed = ~np.isin(labels, list(boxless))
    metadata = Metadata(
        folder=folder,
        image_ids=tuple(image_ids),
        labels=labels,
        image_sizes=_read_sizes(folder / "image_sizes.txt", index_of),
        **_read_localization(folder, index_of, needed),
    )
    check_boxes(metadata, metadata.image_sizes)
    return metadata


def check_boxes(metadata: Metadata, image_sizes: np.ndarray | None) -> None:
    """Checks that every box is a box and, where the sizes are known, inside its image.

    Args:
      metadata: a split, with or without boxes.
      image_sizes: `[N, 2]` width and height. x1 may be as large as the width: whether the last
        pixel is x1 or x1 - 1 differs between data sets.

    Raises:
      DataError: a box has a negative corner, x1 < x0 or y1 < y0, or ends outside its image.
    """
    if metadata.boxes is None:
        return
    bad = (metadata.boxes[:, :2] < 0).any(axis=1)
    bad |= (metadata.boxes[:, 2:] < metadata.boxes[:, :2]).any(axis=1)
    if image_sizes is not None:
        bad |= (metadata.boxes[:, 2:] > image_sizes[metadata.box_images]).any(axis=1)
    if bad.any():
        row = int(np.argmax(bad))
        index = metadata.box_images[row]
        size = "" if image_sizes is None else " of {} x {} pixels".format(*image_sizes[index])
        raise DataError(
            f"{metadata.folder / 'localization.txt'}, line {row + 1}: box "
            f"{','.join(map(str, metadata.boxes[row]))} of {metadata.image_ids[index]!r} is not "
            f"x0,y0,x1,y1 with 0 <= x0 <= x1 and 0 <= y0 <= y1 inside the image{size}; correct the "
            "box (it must not be x,y,width,height) or the image's size"
        )


def _read_rows(
    path: pathlib.Path, columns: tuple[int, ...], optional: bool = False
) -> list[list[str]]:
    """Splits the lines of `path` at commas: row i is line i + 1. All rows are of the same width."""
    if optional and not path.exists():
        return []
    needed = "; a split's metadata needs image_ids.txt and class_labels.txt"
    if not (lines := read_lines(path, needed)):
        return []
    rows = [line.split(",") for line in lines]
    if any("\\" in line for line in lines):  # what Windows wrote
        rows = [line.replace("\\", "/").split(",") for line in lines]
    expected = len(rows[0]) if len(rows[0]) in columns else columns[0]
    for number, row in enumerate(rows, start=1):
        if len(row) != expected or not row[0]:
            allowed = " or ".join(str(count) for count in columns)
            raise DataError(
                f"{path}, line {number}: {lines[number - 1]!r} has {len(row)} columns, expected "
                f"{allowed}, the same on every line and starting with an image path; "
                "paths must not contain commas"
            )
    return rows


def _integers(path: pathlib.Path, rows: list[list[str]]) -> np.ndarray:
    """Converts all columns after the first: `[rows, columns - 1]` int64."""
    texts = [text for row in rows for text in row[1:]]
    digits = "".join(texts)
    if digits.isascii() and digits.isdigit() and "" not in texts:  # as nearly always, at once
        values = list(map(int, texts))
        if max(values) in _INT32:
            return np.array(values, np.int64).reshape(len(rows), -1)
    values = []
    for number, row in enumerate(rows, start=1):
        for text in row[1:]:
            match = _NUMBER.fullmatch(text)
            if match is None:
                remedy = "; round it" if _is_number(text) else ""
                raise DataError(f"{path}, line {number}: {text!r} is not an integer{remedy}")
            values.append(int(match[1]))
            if values[-1] not in _INT32:
                raise DataError(f"{path}, line {number}: {text} is out of range")
    return np.array(values, np.int64).reshape(len(rows), -1)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _image_positions(
    path: pathlib.Path,
    rows: list[list[str]],
    index_of: dict[str, int],
    needed: np.ndarray | None = None,
) -> np.ndarray:
    """Looks up the image of each row, `[rows]` int64.

    Every image must have at least one row; or, with `needed` `[images]` bool, those where it says.
    """
    try:
        positions = np.array([index_of[row[0]] for row in rows], np.int64)
    except KeyError as error:
        number = next(n for n, row in enumerate(rows, start=1) if row[0] == error.args[0])
        raise DataError(
            f"{path}, line {number}: image {error.args[0]!r} is not in image_ids.txt; "
            "add it there or remove the line"
        ) from None
    counts = np.bincount(positions, minlength=len(index_of))
    if needed is not None:
        counts[~needed] = np.maximum(counts[~needed], 1)
    if not counts.all():
        image_id = list(index_of)[int(np.argmin(counts))]
        raise DataError(
            f"{path} has no line for {image_id!r} (and {int((counts == 0).sum()) - 1} more images "
            "of image_ids.txt); add them or remove the images there"
        )
    return positions


def _one_per_image(
    path: pathlib.Path, rows: list[list[str]], index_of: dict[str, int]
) -> np.ndarray:
    """Finds the row of each image, `[images]` int64; a second row of an image is an error."""
    positions = _image_positions(path, rows, index_of)
    if len(positions) > len(index_of):
        row = _first_repeat(positions.tolist())
        raise DataError(f"{path}, line {row + 1}: image {rows[row][0]!r} again; keep one of them")
    return np.argsort(positions)


def _first_repeat(items: list) -> int:
    """Finds where an item appears for the second time, in a list where one does."""
    first = {item: position for position, item in reversed(list(enumerate(items)))}
    return next(position for position, item in enumerate(items) if first[item] != position)


def _read_labels(
    path: pathlib.Path, index_of: dict[str, int], num_classes: int | None
) -> np.ndarray:
    rows = _read_rows(path, columns=(2,))
    order = _one_per_image(path, rows, index_of)
    labels = _integers(path, rows)[:, 0]
    outside = labels < 0
    if num_classes is not None:
        outside |= labels >= num_classes
    if outside.any():
        row = int(np.argmax(outside))
        limit = "0 or more" if num_classes is None else f"0 to {num_classes - 1}"
        raise DataError(
            f"{path}, line {row + 1}: label {labels[row]} of {rows[row][0]!r}, expected {limit}; "
            "correct the label or the number of classes"
        )
    return labels[order].astype(np.int32)


def _read_sizes(path: pathlib.Path, index_of: dict[str, int]) -> np.ndarray | None:
    rows = _read_rows(path, columns=(3,), optional=True)
    if not rows:
        return None
    order = _one_per_image(path, rows, index_of)
    sizes = _integers(path, rows)
    bad = (sizes < 1).any(axis=1)
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(
            f"{path}, line {row + 1}: size {sizes[row, 0]} x {sizes[row, 1]} of {rows[row][0]!r} "
            "must be positive; correct it, or empty the file to read the sizes from the images"
        )
    return sizes[order]


def _read_localization(folder: pathlib.Path, index_of: dict[str, int], needed: np.ndarray) -> dict:
    """Reads boxes or masks, whichever the first line holds, and more masks, for `Metadata`."""
    path, masks_path = folder / "localization.txt", folder / MASKS_FILE
    rows = _read_rows(path, columns=(5, 3, 2), optional=True)
    mask_rows = _read_rows(masks_path, columns=(3, 2), optional=True)
    fields = {}
    if rows and len(rows[0]) == 5:
        positions = _image_positions(path, rows, index_of, needed)
        fields = {"boxes": _integers(path, rows), "box_images": positions}
    elif rows and mask_rows:
        raise DataError(f"{path} and {masks_path} both list masks; keep one of them")
    elif rows:
        masks_path, mask_rows = path, rows
    if mask_rows:
        fields |= _masks(masks_path, mask_rows, index_of, needed)
    return fields


def _masks(
    path: pathlib.Path, rows: list[list[str]], index_of: dict[str, int], needed: np.ndarray
) -> dict:
    """Groups lines of masks by image, as fields of `Metadata`."""
    positions = _image_positions(path, rows, index_of, needed)
    masks: list[list[str]] = [[] for _ in index_of]
    ignore_masks = [""] * len(index_of)
    for number, ((image_id, mask, *rest), position) in enumerate(
        zip(rows, positions.tolist(), strict=True), start=1
    ):
        ignore = rest[0] if rest else ""
        if not mask:
            raise DataError(f"{path}, line {number}: no mask path for {image_id!r}")
        if ignore and masks[position]:
            raise DataError(
                f"{path}, line {number}: ignore mask {ignore!r} on a further line of {image_id!r}; "
                "only the first line of an image carries it"
            )
        masks[position].append(mask)
        ignore_masks[position] = ignore_masks[position] or ignore
    return {"masks": tuple(map(tuple, masks)), "ignore_masks": tuple(ignore_masks)}
