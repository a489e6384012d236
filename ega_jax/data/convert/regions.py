"""Draws regions given as polygons or run lengths: masks `[H, W]` bool.

A pixel is of a polygon where its middle is inside. Run lengths are COCO's (`maskApi.c` of
cocodataset/cocoapi): runs of background and object in turn, down the columns.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.path import Path

from ega_jax.data.source import DataError


def fill(polygons: Sequence[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Draws polygons, united.

    Args:
      polygons: each `[K, 2]` float, x and y in pixels from the upper left corner.
      size: width and height of the picture.

    Returns:
      `[H, W]` bool.
    """
    width, height = size
    mask = np.zeros((height, width), bool)
    for points in polygons:
        low = np.clip(np.floor(points.min(axis=0)), 0, size).astype(int)
        high = np.clip(np.ceil(points.max(axis=0)), low, size).astype(int)
        columns, rows = high - low
        if not columns or not rows:
            continue
        y, x = np.mgrid[low[1] : high[1], low[0] : high[0]]
        middles = np.stack([x.ravel(), y.ravel()], axis=1) + 0.5
        inside = Path(points).contains_points(middles).reshape(rows, columns)
        mask[low[1] : high[1], low[0] : high[0]] |= inside
    return mask


def run_lengths(counts: Sequence[int] | str, size: tuple[int, int]) -> np.ndarray:
    """Draws run lengths, compressed or not.

    Args:
      counts: of pixels, or the string that COCO's tools make of them.
      size: width and height of the picture.

    Returns:
      `[H, W]` bool.

    Raises:
      DataError: they are not for a picture of this size.
    """
    width, height = size
    runs = check_run_lengths(counts, size)
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(width, height).T


def check_run_lengths(counts: Sequence[int] | str, size: tuple[int, int]) -> list[int]:
    """Returns the runs; arguments and errors are those of `run_lengths`."""
    width, height = size
    runs = _unpacked(counts) if isinstance(counts, str) else list(counts)
    if not all(isinstance(run, int) and run >= 0 for run in runs) or sum(runs) != width * height:
        raise DataError(f"run lengths are not those of {width} x {height} pixels")
    return runs


def _unpacked(text: str) -> list[int]:
    """Undoes COCO's compression: 5 bits a character, from the third on differences."""
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return runs
