"""Reads the masks of a split: the objects of an image united, and what is to be ignored in it."""

import os
from collections.abc import Callable, Sequence
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image

from ega_jax.data.files.metadata import MASKS_FILE, Metadata
from ega_jax.data.source import DataError

Files = Sequence[str | BinaryIO]


def mask_loader(
    split: Metadata, files: Callable[[int], tuple[Files, Files]]
) -> Callable[[int, int], tuple[np.ndarray, np.ndarray]]:
    """Makes the `load_mask` of a `Source`.

    Args:
      split: the metadata, for messages.
      files: from an image's index to its object masks, and to its ignore mask if it has one.

    Returns:
      A function as `Source` describes it. Raises `DataError` where a mask cannot be read.
    """

    def union(index: int, masks: Files, size: int) -> np.ndarray:
        result = np.zeros((size, size), bool)
        for file in masks:
            try:
                result |= _read_mask(file, size)
            except (OSError, SyntaxError) as error:
                mask = f"mask {file}" if isinstance(file, str) else "a mask"
                raise DataError(
                    f"{mask} cannot be read ({error}), of image {split.image_ids[index]!r}; "
                    "restore the file, or correct the mask folder"
                ) from error
        return result

    def load_mask(index: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        objects, ignored = files(index)
        foreground = union(index, objects, size)
        return foreground, union(index, ignored, size) & ~foreground

    return load_mask


def mask_paths(
    split: Metadata, root: str | os.PathLike
) -> Callable[[int], tuple[list[str], list[str]]]:
    """Makes a function from an image's index to the paths of its object masks and ignore mask."""

    def paths(index: int) -> tuple[list[str], list[str]]:
        ignore = split.ignore_masks[index]
        objects = [os.path.join(root, path) for path in split.masks[index]]
        return objects, [os.path.join(root, ignore)] if ignore else []

    return paths


def check_masks_exist(split: Metadata, root: str | os.PathLike) -> None:
    """Checks that all mask files are there, without opening them.

    Raises:
      DataError: some are missing; counts them and names the first.
    """
    wanted = {
        path: image_id
        for image_id, masks, ignore in zip(
            split.image_ids, split.masks, split.ignore_masks, strict=True
        )
        for path in (*masks, ignore)
        if path
    }
    missing = [path for path in wanted if not os.path.isfile(os.path.join(root, path))]
    if missing:
        raise DataError(
            f"{split.folder / masks_file(split)}: {len(missing)} of {len(wanted)} mask files do "
            f"not exist, the first is {os.path.join(root, missing[0])} of image "
            f"{wanted[missing[0]]!r}; correct the mask folder or restore the files"
        )


def masks_file(split: Metadata) -> str:
    """Names the file that lists the masks: what is beside boxes has a file of its own."""
    return "localization.txt" if split.boxes is None else MASKS_FILE


def _read_mask(file: str | BinaryIO, size: int) -> np.ndarray:
    """Reads one mask as wsolevaluation does: nearest pixel, foreground above 0.5 of 255."""
    with Image.open(file) as image:
        pixels = np.asarray(image if len(image.getbands()) == 1 else image.convert("L"))
    foreground = (pixels > 0.5).astype(np.uint8)
    return cv2.resize(foreground, (size, size), interpolation=cv2.INTER_NEAREST).astype(bool)
