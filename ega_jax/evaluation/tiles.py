"""What a network is shown of a picture: all of it, or tiles that overlap by half."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from ega_jax import localization


@dataclasses.dataclass(frozen=True)
class Frame:
    """A part of a picture, to be squeezed into a square.

    Attributes:
      size: side of the square in pixels.
      row: of the tile, from above.
      column: of the tile, from the left.
      tiles: in height and in width; each has 2 / (tiles + 1) of the picture's sides. 1: all of it.
    """

    size: int
    row: int = 0
    column: int = 0
    tiles: int = 1

    def cut(self, picture: Any, shape: Sequence[Any]) -> Any:
        """Returns the part of a picture `[H, W, 3]`, at least a pixel of it.

        Args:
          picture: an array, or a tensor of a graph.
          shape: H and W, which a graph knows only when it runs.
        """
        return picture[
            _span(self.row, self.tiles, shape[0]), _span(self.column, self.tiles, shape[1])
        ]


def tiles_of(size: int, tiles: int) -> list[Frame]:
    """Returns the tiles of a picture row by row; none where there is only one."""
    places = range(tiles) if tiles > 1 else ()
    return [Frame(size, row, column, tiles) for row in places for column in places]


def stitch(cams: Sequence[np.ndarray]) -> np.ndarray:
    """Puts the maps of tiles together, one map for the whole picture.

    Where tiles overlap it is their mean, with weights that fall from a tile's middle to its
    borders, beyond which its network saw nothing.

    Args:
      cams: of n * n tiles in the order of `tiles_of`, each `[B, h, h, K]`, unscaled, so that what
        is bright in one tile is so beside the others.

    Returns:
      `[B, m, m, K]` float32 with m = (n + 1) * ceil(h / 2).
    """
    n = round(len(cams) ** 0.5)
    batch, side, _, classes = cams[0].shape
    half = -(-side // 2)
    total = np.zeros((batch, (n + 1) * half, (n + 1) * half, classes), np.float32)
    weights = np.zeros((*total.shape[1:3], 1), np.float32)
    ramp = 1 - abs((np.arange(2 * half) + 0.5) / half - 1)
    weight = np.outer(ramp, ramp)[..., np.newaxis].astype(np.float32)
    for place, cam in enumerate(cams):
        row, column = (half * step for step in divmod(place, n))
        at = slice(row, row + 2 * half), slice(column, column + 2 * half)
        total[:, *at] += weight * _enlarged(cam, 2 * half)
        weights[at] += weight
    return total / weights


def _span(place: int, tiles: int, length: Any) -> slice:
    if tiles == 1:
        return slice(None)
    return slice(place * length // (tiles + 1), -(-(place + 2) * length // (tiles + 1)))


def _enlarged(cams: np.ndarray, side: int) -> np.ndarray:
    """Resizes maps `[B, h, w, K]` to another side, which is theirs or one more."""
    if cams.shape[1] == side:
        return cams
    maps = [
        np.stack([localization.resize_map(cam[..., k], side) for k in range(cam.shape[-1])], -1)
        for cam in cams
    ]
    return np.stack(maps)
