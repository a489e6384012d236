"""Reads YOLO's labels: a text file for each picture, a line for each object.

A line is `class x y width height`, the middle and the sides of a box, or `class x y x y x y ...`, a
polygon; in shares of the picture's width and height. Source: https://docs.ultralytics.com/datasets.
"""

import functools
import os
from collections.abc import Sequence

import numpy as np

from ega_jax.data.convert.annotations import (
    Annotations,
    Object,
    Picture,
    Size,
    by_stem,
    only_picture,
)
from ega_jax.data.convert.regions import fill
from ega_jax.data.files.listing import walk
from ega_jax.data.files.text_lines import read_lines
from ega_jax.data.source import DataError

_SPARE = 0.02  # by which a share may leave 0 to 1
_NO_LABELS = ("classes.txt", "class_names.txt", "train.txt", "val.txt", "test.txt")


def read_yolo(folder: str, images: str, names: Sequence[str]) -> Annotations:
    """Reads a folder of text files.

    Args:
      folder: of the text files, searched through all its folders.
      images: of the pictures, each at the path of its text file.
      names: of the classes, in their order.

    Raises:
      DataError: a line is no such label; names it.
    """
    there = by_stem(images)
    pictures = []
    for parts, path in walk(folder):
        stem = os.path.splitext("/".join(parts))[0]
        no_labels = parts[-1].lower() in _NO_LABELS and stem not in there
        if not path.lower().endswith(".txt") or no_labels:
            continue
        rows = [_row(line, f"{path}, line {n}", names) for n, line in _lines(path)]
        file = only_picture(there.get(stem, []), path)
        pictures.append(Picture(file, path, None, functools.partial(_objects, rows)))
    if not pictures:
        raise DataError(f"{folder} holds no .txt file of labels")
    return Annotations(tuple(pictures), tuple(names))


def _lines(path: str) -> list[tuple[int, str]]:
    return [(n, line) for n, line in enumerate(read_lines(path), start=1) if line.strip()]


def _row(line: str, where: str, names: Sequence[str]) -> tuple[str, np.ndarray]:
    """Reads the class, and the numbers `[4]` of a box or `[K, 2]` of a polygon."""
    first, *rest = line.split()
    try:
        label, numbers = float(first), np.array(rest, np.float64)
    except ValueError:
        raise DataError(f"{where}: {line!r} is not of numbers") from None
    if label not in range(len(names)):
        raise DataError(f"{where}: class {first}, but there are {len(names)}, counted from 0")
    if len(numbers) != 4 and (len(numbers) < 6 or len(numbers) % 2):
        raise DataError(
            f"{where}: {len(numbers)} numbers behind the class, expected x y width height, or at "
            "least three corners of a polygon"
        )
    if not ((numbers >= -_SPARE) & (numbers <= 1 + _SPARE)).all():
        raise DataError(f"{where}: numbers are shares of the picture's sides, from 0 to 1")
    return names[int(label)], numbers if len(numbers) == 4 else numbers.reshape(-1, 2)


def _objects(rows: list[tuple[str, np.ndarray]], size: Size) -> tuple[Object, ...]:
    return tuple(_object(name, numbers, size) for name, numbers in rows)


def _object(name: str, numbers: np.ndarray, size: Size) -> Object:
    if numbers.ndim == 1:
        middle, sides = numbers[:2] * size, numbers[2:] * size
        return Object(name, (*(middle - sides / 2), *(middle + sides / 2)))
    points = numbers * size
    box = (*points.min(axis=0), *points.max(axis=0))
    return Object(name, box, lambda size: fill([points], size))
