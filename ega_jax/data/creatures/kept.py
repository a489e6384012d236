"""Keeps what was drawn for the next start, in the folder `creatures` of the package's cache."""

import functools
import hashlib
import io
import logging
import pathlib
import zipfile
import zlib
from collections.abc import Callable

import numpy as np

from ega_jax.runtime.files import write_bytes
from ega_jax.runtime.home import VARIABLE, home

logger = logging.getLogger(__name__)

Drawn = tuple[np.ndarray, np.ndarray]


def kept(name: str, draw: Callable[[], Drawn]) -> Drawn:
    """Returns images and masks that were drawn before, or draws and keeps them.

    What another version of the drawing code, or of NumPy, has drawn is not taken, and is removed
    where it would be replaced. What cannot be read or kept is drawn anew, and said.

    Args:
      name: of what is drawn, which it must tell in full: letters, digits and hyphens.
      draw: returns images `[N, H, W, 3]` uint8 and masks `[N, H, W]` bool.
    """
    path = home() / "creatures" / f"{name}.{_version()}.npz"
    if path.exists():
        try:
            return _read(path)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            logger.warning("Drawn anew, as %s cannot be read: %s", path, error)
    images, masks = draw()
    try:
        _write(path, images, masks)
        for old in set(path.parent.glob(f"{name}.*.npz")) - {path}:
            old.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("Not kept for the next start: %s; %s names another folder", error, VARIABLE)
    return images, masks


def _read(path: pathlib.Path) -> Drawn:
    with np.load(path) as file:
        images, bits = file["images"], file["masks"]
    masks = np.unpackbits(bits, axis=-1, count=images.shape[2]).astype(bool)
    return images, masks


def _write(path: pathlib.Path, images: np.ndarray, masks: np.ndarray) -> None:
    file = io.BytesIO()
    np.savez(file, images=images, masks=np.packbits(masks, axis=-1))
    write_bytes(path, file.getvalue())


@functools.cache
def _version() -> str:
    """Returns a digest of what decides on the bytes: this package's code, and NumPy."""
    digest = hashlib.sha256(np.__version__.encode())
    for file in sorted(pathlib.Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
