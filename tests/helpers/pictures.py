"""Pictures of noise, as files."""

import pathlib
from collections.abc import Mapping

import numpy as np
from PIL import Image


def save_pictures(
    root: pathlib.Path, sizes: Mapping[str, tuple[int, int]], seed: int = 0
) -> pathlib.Path:
    """Writes pictures by their paths below a folder, of these heights and widths."""
    rng = np.random.default_rng(seed)
    for name, size in sizes.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(path)
    return root
