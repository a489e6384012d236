"""Pictures without labels: what lies in a folder, one file at a time, the unreadable ones named."""

import os
import pathlib

import numpy as np

from ega_jax.data import preprocess
from ega_jax.data.files.class_folders import EXTENSIONS
from ega_jax.data.files.image_files import file_loader, read_headers
from ega_jax.data.source import DataError
from ega_jax.data.tf_on_cpu import tf


def list_pictures(root: str | os.PathLike) -> list[str]:
    """Lists the JPEG and PNG files below a folder, by path relative to it, sorted.

    Raises:
      DataError: `root` is not a folder or has no such file.
    """
    root = pathlib.Path(root)
    if not root.is_dir():
        raise DataError(f"no folder {root}; give the folder of your pictures with --images")
    found = [p for p in root.rglob("*") if p.is_file() and p.name.lower().endswith(EXTENSIONS)]
    if not found:
        raise DataError(f"{root} holds no {', '.join(EXTENSIONS)} file")
    return sorted(p.relative_to(root).as_posix() for p in found)


def read_picture(path: str | os.PathLike) -> np.ndarray:
    """Decodes a picture, upright: `[H, W, 3]` uint8 RGB.

    Raises:
      DataError: it is truncated, damaged or no JPEG or PNG.
    """
    path = os.fspath(path)
    _, orientations = read_headers([path], path)
    try:
        return file_loader([path], orientations)(tf.constant(0, tf.int64)).numpy()
    except tf.errors.OpError as error:
        raise DataError(f"{path} cannot be decoded: {error.message}") from error


def fit(image: np.ndarray, size: int) -> np.ndarray:
    """Resizes a picture to `[size, size, 3]` uint8, as the evaluation pipeline does."""
    return preprocess.resize(tf.constant(image), size).numpy()
