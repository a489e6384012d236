"""Sums over images for many weightings at once, in bounded memory."""

from collections.abc import Callable

import numpy as np

_CHUNK = 1024  # images whose numbers are laid open at once


def weighted_sums(weights: np.ndarray, columns: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Computes weighted sums over images of several numbers that each image has.

    Args:
      weights: `[B, N]` float32, one weighting of the N images in each row.
      columns: maps positions of images `[n]` to their numbers `[n, C]` float32 or float64.

    Returns:
      `[B, C]` of that type, exact for whole numbers up to 2**24 or 2**53.
    """
    positions = np.arange(weights.shape[1])
    parts = np.split(positions, range(_CHUNK, len(positions), _CHUNK))
    return sum(weights[:, part] @ columns(part) for part in parts)
