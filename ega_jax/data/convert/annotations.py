"""What COCO, Pascal VOC and YOLO have in common: pictures, and on each the objects of classes."""

import dataclasses
import math
import os
from collections.abc import Callable, Sequence

import numpy as np
import yaml

from ega_jax.data.files.classes import read_class_names
from ega_jax.data.files.listing import list_folder
from ega_jax.data.source import DataError

Size = tuple[int, int]  # width, height

_ROUNDING = 0.01  # share of a side by which a box may leave its picture,
_PIXELS = 2  # and at least so many pixels


@dataclasses.dataclass(frozen=True)
class Object:
    """An object in a picture.

    Attributes:
      name: of its class.
      box: left, top, right and bottom edge in pixels: a box of the first pixel is 0, 0, 1, 1.
      region: size of the picture -> `[H, W]` bool, its pixels; None if only the box is known.
      crowd: it stands for many objects, none of which is drawn by itself.
    """

    name: str
    box: tuple[float, float, float, float]
    region: Callable[[Size], np.ndarray] | None = None
    crowd: bool = False


@dataclasses.dataclass(frozen=True)
class Picture:
    """What is said of a picture.

    Attributes:
      file: its path below the folder of the images; empty if there is none.
      where: file and place of what is said, for messages.
      size: that its annotation is for; None: it does not say.
      objects: a function of that size, as some annotations are relative to it.
    """

    file: str
    where: str
    size: Size | None
    objects: Callable[[Size], tuple[Object, ...]]


@dataclasses.dataclass(frozen=True)
class Annotations:
    """The pictures of a split, and the names of the classes in their order."""

    pictures: tuple[Picture, ...]
    names: tuple[str, ...]


def pixel_box(box: tuple[float, ...], size: Size) -> tuple[int, int, int, int] | None:
    """Brings the edges of a box to its first and last pixels.

    Args:
      box: left, top, right, bottom edge.
      size: of the picture.

    Returns:
      x0, y0, x1, y1, inside the picture; None if the box has no extent.

    Raises:
      DataError: it ends outside the picture by more than rounding does, or is no number.
    """
    if not all(map(math.isfinite, box)):
        raise DataError(f"box {_shown(box)} is not of numbers")
    if box[2] <= box[0] or box[3] <= box[1]:
        return None
    for low, high, side in ((box[0], box[2], size[0]), (box[1], box[3], size[1])):
        spare = max(_PIXELS, _ROUNDING * side)
        if low < -spare or high > side + spare or low >= side:
            raise DataError(f"box {_shown(box)} ends outside the picture of {size[0]} x {size[1]}")
    first = [min(max(_round(at), 0), side - 1) for at, side in zip(box[:2], size, strict=True)]
    last = [
        min(max(_round(at) - 1, low), side - 1)
        for at, low, side in zip(box[2:], first, size, strict=True)
    ]
    (x0, y0), (x1, y1) = first, last
    return x0, y0, x1, y1


def read_size(width: float | str | None, height: float | str | None) -> Size | None:
    """Reads the size that an annotation is for, `640.0` as well as `640`; None if there is none.

    Raises:
      DataError: it is not of whole numbers; 0 and what is below stand for an unknown one.
    """
    try:
        sides = float(width or 0), float(height or 0)
    except (TypeError, ValueError):
        sides = math.nan, math.nan
    if not all(side.is_integer() for side in sides):
        raise DataError(f"size {width!r} x {height!r} is not of whole numbers")
    return (int(sides[0]), int(sides[1])) if min(sides) > 0 else None


def usable_names(names: Sequence[str]) -> tuple[str, ...]:
    """Returns class names as `class_names.txt` will have them: of one line, no spaces around.

    Raises:
      DataError: there is none in a line, one has several lines, or one is there twice.
    """
    result: list[str] = []
    for name in map(str.strip, names):
        if len(name.splitlines()) != 1:
            raise DataError(f"class name {name!r} is not of one line; rename the class")
        if name in result:
            raise DataError(f"class name {name!r} is there twice; rename one")
        result.append(name)
    return tuple(result)


def read_names(path: str) -> tuple[str, ...]:
    """Reads class names: of a text file one a line, of a YAML file its `names`.

    Raises:
      DataError: there are none, or one twice, or the YAML file is of poses.
    """
    if not path.lower().endswith((".yaml", ".yml")):
        return read_class_names(path)
    try:
        with open(path, "rb") as file:
            content = yaml.load(file, yaml.BaseLoader)  # texts: a class may be called `no`
        names = content["names"]
        if isinstance(names, dict):
            names = [names[str(number)] for number in range(len(names))]
        if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
            raise TypeError("names is no list of names")
    except (OSError, yaml.YAMLError, UnicodeDecodeError, TypeError, KeyError) as error:
        reason = str(error).split("\n")[0]
        raise DataError(
            f"{path} has no class names ({reason}); write names: [a, b] into it, or give a text "
            "file with a name per line"
        ) from error
    if "kpt_shape" in content:
        raise DataError(
            f"{path} is of poses (kpt_shape), whose keypoints would be read as polygons; keep the "
            "class and the box in each line of the labels, and take kpt_shape out of the file"
        )
    try:
        return usable_names(names)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def by_stem(images: str) -> dict[str, list[str]]:
    """Lists the pictures of a folder by their paths without the ends of their names."""
    result: dict[str, list[str]] = {}
    for file in list_folder(images).pictures:
        result.setdefault(os.path.splitext(file)[0], []).append(file)
    return result


def only_picture(files: list[str], where: str) -> str:
    """Returns the picture of a name; empty if there is none.

    Raises:
      DataError: there are several.
    """
    if len(files) > 1:
        raise DataError(f"{where}: there are {' and '.join(files)}; keep one of them")
    return files[0] if files else ""


def _round(value: float) -> int:
    return math.floor(value + 0.5)


def _shown(box: tuple[float, ...]) -> str:
    return ",".join(f"{value:g}" for value in box)
