"""Sums over images for many weightings at once, in bounded memory."""

from collections.abc import Callable

import numpy as np

_CHUNK = 1024  # images whose numbers are laid open at once


def weighted_sums(weights: np.ndarray, columns: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Sums numbers of the images, each as often as its weight says.

    Args:
      weights: [B, N] float32.
      columns: Gives of the images with these positions [n] their numbers [n, C] float32.

    Returns:
      [B, C] float32, exact for whole numbers up to 2**24.
    """
    positions = np.arange(weights.shape[1])
    parts = np.split(positions, range(_CHUNK, len(positions), _CHUNK))
    return sum(weights[:, part] @ columns(part) for part in parts)
