"""Reads the masks of a split: the objects of an image united, and what is to be ignored in it.

A pixel is of an object where its value is above 0.5 of 255, as wsolevaluation reads a mask. Colours
and palettes count by their brightness; a mask of one colour whose alpha varies is its alpha. A
trimap, on request, has the object as 1, the background as 2 and the border to be ignored as 3.
"""

import concurrent.futures
import logging
import os
from collections.abc import Callable, Sequence
from typing import BinaryIO, NamedTuple

import cv2
import numpy as np
from PIL import Image

from ega_jax.data.files.image_files import formats
from ega_jax.data.files.metadata import MASKS_FILE, Metadata
from ega_jax.data.source import DataError

logger = logging.getLogger(__name__)

Files = Sequence[str | BinaryIO]

BINARY, TRIMAP = VALUES = ("binary", "trimap")
_OBJECT, _BACKGROUND, _BORDER = 1, 2, 3  # of a trimap
_LOOKED_AT = 64  # images whose masks are opened at start
_THREADS = 8
_SHOWN_VALUES = 4


def mask_loader(
    split: Metadata, files: Callable[[int], tuple[Files, Files]], values: str = BINARY
) -> Callable[[int, int], tuple[np.ndarray, np.ndarray]]:
    """Makes the `load_mask` of a `Source`.

    Args:
      split: the metadata, for messages.
      files: from an image's index to its object masks, and to its ignore mask if it has one.
      values: what values mean in object masks, `binary` or `trimap`.

    Returns:
      A function as `Source` describes it. Raises `DataError` where a mask cannot be read.
    """

    def load_mask(index: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        objects, ignored = files(index)
        foreground, border = np.zeros((2, size, size), bool)
        for file in objects:
            levels = _levels(split, index, file, values)
            if values == TRIMAP:
                foreground |= _fit(levels == _OBJECT, size)
                border |= _fit(levels == _BORDER, size)
            else:
                foreground |= _fit(levels > 0.5, size)
        for file in ignored:
            border |= _fit(_levels(split, index, file, BINARY) > 0.5, size)
        return foreground, border & ~foreground

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


def check_masks(
    split: Metadata,
    root: str | os.PathLike,
    values: str = BINARY,
    check_files: bool = True,
    image_sizes: np.ndarray | None = None,
) -> None:
    """Checks mask files, and looks into some whether they can be masks at all, of trimaps into all.

    Args:
      split: the metadata, with masks.
      root: the folder that mask paths are relative to.
      values: as in `mask_loader`.
      check_files: whether to look at every file; False: only at those looked into.
      image_sizes: `[N, 2]`, width and height of the images as they are loaded; None: not known.

    Raises:
      DataError: files are missing or cannot be read, a mask lies on its side compared with its
        image, every pixel is of an object, or none is.
    """
    paths, number = mask_paths(split, root), len(split.image_ids)
    chosen = np.unique(np.linspace(0, number - 1, _LOOKED_AT).round().astype(int)).tolist()
    if check_files:
        _check_masks_exist(split, root)
        if values == TRIMAP:  # any value of any pixel may be none of a trimap
            chosen = list(range(number))
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        if check_files:
            sizes = [None] * number if image_sizes is None else image_sizes.tolist()
            tuple(pool.map(lambda i: _check_files(split, i, paths(i), sizes[i]), range(number)))
        looks = list(pool.map(lambda index: _look(split, index, paths(index)[0], values), chosen))
        if not any(look.some for look in looks):
            others = sorted(set(range(number)) - set(chosen))
            further = pool.map(lambda i: _look(split, i, paths(i)[0], values).some, others)
            if not any(further):
                raise DataError(
                    f"{split.folder / masks_file(split)}: no mask has a pixel of an object, in "
                    f"none of {number} images; the first is {first_mask(split)}. Objects are where "
                    "a mask is not black"
                )
    found = sorted(set().union(*(look.values for look in looks)))
    if all(look.every for look in looks):
        few = ", ".join(map(str, found[:_SHOWN_VALUES]))
        remedy = "write 0 where there is no object"
        if set(found) <= {_OBJECT, _BACKGROUND, _BORDER} and _BACKGROUND in found:
            remedy = (
                "they look like trimaps (1 object, 2 background, 3 border): read them as such by "
                "--config.data.mask_values=trimap"
            )
        raise DataError(
            f"{split.folder / masks_file(split)}: every pixel of all {len(looks)} images looked "
            f"into is of an object (values {few}), the first is {first_mask(split)}; any map "
            f"would have a PxAP of 100. If that is not meant, {remedy}"
        )
    if any(look.lossy for look in looks):
        logger.warning(
            "%s: some masks are JPEG files, in which the background next to an object is not quite "
            "0 and counts as object; save masks as PNG.",
            split.folder / masks_file(split),
        )


def masks_file(split: Metadata) -> str:
    """Names the file that lists the masks: what is beside boxes has a file of its own."""
    return "localization.txt" if split.boxes is None else MASKS_FILE


def first_mask(split: Metadata) -> str:
    """Returns the first path that is listed, for messages; not every image has to have one."""
    return next(path for paths in split.masks for path in paths)


def _check_masks_exist(split: Metadata, root: str | os.PathLike) -> None:
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
            f"{wanted[missing[0]]!r}; set the mask folder by --config.data.masks, or --masks where "
            "maps are scored, or restore the files"
        )


def _check_files(
    split: Metadata,
    index: int,
    files: tuple[list[str], list[str]],
    image_size: Sequence[int] | None,
) -> None:
    """Looks at the masks of an image without decoding them."""
    for file in (*files[0], *files[1]):
        try:
            with Image.open(file, formats=formats()) as image:
                size = image.size
                image.verify()
        except Exception as error:  # plugins fail in every way on a file that is damaged
            raise _unreadable(split, index, f"mask {file}", error) from error
        if image_size is not None and size[0] != size[1] and list(size[::-1]) == image_size:
            raise DataError(
                "mask {} is {} x {}, but its image {!r} is read as {} x {}, so that it would be "
                "misplaced; use the other value of config.data.apply_exif, or turn the mask".format(
                    file, *size, split.image_ids[index], *image_size
                )
            )


def _unreadable(split: Metadata, index: int, mask: str, error: Exception) -> DataError:
    return DataError(
        f"{mask} cannot be read ({getattr(error, 'strerror', None) or error}), of image "
        f"{split.image_ids[index]!r}; restore the file, or correct the mask folder"
    )


class _Look(NamedTuple):
    """What the masks of an image hold: values, and whether some or every pixel is of an object."""

    values: frozenset[int]
    some: bool
    every: bool
    lossy: bool


def _look(split: Metadata, index: int, files: Files, values: str) -> _Look:
    every, found, lossy = None, set(), False
    some = False
    for file in files:
        levels = _levels(split, index, file, values)
        inside = levels == _OBJECT if values == TRIMAP else levels > 0.5
        found |= set(np.unique(levels)[: _SHOWN_VALUES + 1].astype(int).tolist())
        some = some or bool(inside.any())
        # Masks of one image may differ in size; together they cover it if one does.
        every = bool(every) or bool(inside.all())
        lossy = lossy or str(file).lower().endswith((".jpg", ".jpeg"))
    return _Look(frozenset(found), some, bool(every), lossy)


def _levels(split: Metadata, index: int, file: str | BinaryIO, values: str) -> np.ndarray:
    """Reads one mask, `[H, W]`; for a palette and trimaps its indices.

    Raises:
      DataError: it cannot be read or is no trimap; names it and its image.
    """
    mask = f"mask {file}" if isinstance(file, str) else "a mask"
    try:
        with Image.open(file, formats=formats()) as image:
            levels = _brightness(image, values)
    except Exception as error:  # plugins fail in every way on a file that is damaged
        raise _unreadable(split, index, mask, error) from error
    if values == TRIMAP:
        others = np.setdiff1d(levels, (_OBJECT, _BACKGROUND, _BORDER))
        if others.size:
            raise DataError(
                f"{mask} of image {split.image_ids[index]!r} has the value {others[0]:g}, but a "
                "trimap has 1 (object), 2 (background) and 3 (border) only; "
                "set --config.data.mask_values=binary if it is none"
            )
    return levels


def _brightness(image: Image.Image, values: str) -> np.ndarray:
    bands = image.getbands()
    if len(bands) == 1:
        by_palette = image.mode == "P" and values == BINARY
        return np.asarray(image.convert("L") if by_palette else image)
    levels = np.asarray(image.convert("L"))
    if bands[-1] == "A" and (levels == levels.flat[0]).all():
        alpha = np.asarray(image.getchannel("A"))
        if (alpha != alpha.flat[0]).any():
            return alpha
    return levels


def _fit(inside: np.ndarray, size: int) -> np.ndarray:
    """Brings `[H, W]` bool to `[size, size]` by the nearest pixel, as wsolevaluation does."""
    pixels = inside.astype(np.uint8)
    return cv2.resize(pixels, (size, size), interpolation=cv2.INTER_NEAREST).astype(bool)
