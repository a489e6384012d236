"""Finds pictures without labels: in a folder, a file, a list of files or by a pattern."""

import dataclasses
import fnmatch
import os
import re
from collections.abc import Sequence

import numpy as np

from ega_jax.data import preprocess
from ega_jax.data.files.headers import Headers, read_headers
from ega_jax.data.files.image_files import file_loader, reason
from ega_jax.data.files.listing import (
    EXTENSIONS,
    Listing,
    describe_left_out,
    list_folder,
)
from ega_jax.data.files.text_lines import read_lines
from ega_jax.data.source import DataError
from ega_jax.data.tf_on_cpu import tf

_LISTS = (".txt", ".lst", ".list")
_PATTERN = re.compile(r"[*?\[]")
_ANY_FOLDERS = "**"


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Pictures to look at.

    Attributes:
      root: the folder that all of them are in or below.
      ids: their paths relative to it, unique, sorted; those of a list in its order.
      left_out: other files that were found there, by the same kind of path, and why.
    """

    root: str
    ids: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...] = ()

    def path(self, image_id: str) -> str:
        """Returns where a picture is."""
        return os.path.join(self.root, image_id)


def list_pictures(images: str | os.PathLike) -> Pictures:
    """Finds pictures.

    Args:
      images: a folder, which is searched through all its folders; a picture; a list, `.txt`, of
        paths that are absolute or relative to its folder, one a line; or a pattern such as
        `DIR/**/*.jpg`. A `~` at the start is the home folder.

    Raises:
      DataError: there is no such thing, or no picture in it.
    """
    images = os.path.expanduser(images)
    if os.path.isdir(images):
        listing = list_folder(images)
        pictures = Pictures(images, listing.pictures, listing.left_out)
    elif os.path.isfile(images) and images.lower().endswith(_LISTS):
        pictures = _listed(images)
    elif os.path.isfile(images):
        pictures = Pictures(os.path.dirname(images) or ".", (os.path.basename(images),))
    elif _PATTERN.search(images):
        pictures = _matching(images)
    else:
        raise DataError(
            f"no folder {images}; give a folder of pictures with --images, or a picture, a list "
            "(.txt, a path a line) or a pattern"
        )
    if not pictures.ids:
        held = f": {describe_left_out(pictures.left_out)}" if pictures.left_out else ""
        raise DataError(f"{images} holds no {', '.join(EXTENSIONS)} file{held}")
    return pictures


def read_picture(path: str | os.PathLike) -> np.ndarray:
    """Decodes a picture, upright: `[H, W, 3]` uint8 RGB.

    Raises:
      DataError: it is missing, truncated, damaged or of no format that can be read.
    """
    path = os.fspath(path)
    (header,) = read_headers([path])
    if isinstance(header, str):
        raise DataError(f"{path}: {header}")
    try:
        return file_loader([path], Headers.of([header]))(tf.constant(0, tf.int64)).numpy()
    except tf.errors.OpError as error:
        raise DataError(f"{path} cannot be decoded: {reason(error)}") from error


def fit(image: np.ndarray, size: int) -> np.ndarray:
    """Resizes a picture to `[size, size, 3]` uint8, as the evaluation pipeline does."""
    return preprocess.resize(tf.constant(image), size).numpy()


def _listed(path: str) -> Pictures:
    """Takes the pictures that a text file lists, whatever they are called."""
    folder = os.path.dirname(os.path.abspath(path))
    lines = [line.strip() for line in read_lines(path) if line.strip()]
    paths = [os.path.join(folder, os.path.expanduser(line)) for line in lines]
    if not any(map(os.path.isfile, paths)):
        raise DataError(
            f"{path}: none of its {len(paths)} files exists; lines must be paths, absolute or "
            f"relative to {folder}"
        )
    return _below_common(list(dict.fromkeys(map(os.path.normpath, paths))))


def _matching(pattern: str) -> Pictures:
    """Takes the pictures that match a pattern: `*`, `?`, `[ab]` in a name, `**` for any folders."""
    root, parts = "/" if pattern.startswith("/") else "", pattern.strip("/").split("/")
    # The folder that all of them are below. Its own name may have brackets.
    while len(parts) > 1 and (
        not _PATTERN.search(parts[0]) or os.path.isdir(os.path.join(root, parts[0]))
    ):
        root = os.path.join(root, parts.pop(0))
    root = root or "."
    listing = Listing(())
    if os.path.isdir(root):
        listing = list_folder(root, None if _ANY_FOLDERS in parts else len(parts) - 1)
    ids = tuple(name for name in listing.pictures if _matches(name.split("/"), parts))
    left_out = tuple(item for item in listing.left_out if _matches(item[0].split("/"), parts))
    if not ids and not left_out:
        raise DataError(f"no file matches {pattern}; give pictures with --images")
    return Pictures(root, ids, left_out)


def _matches(names: Sequence[str], pattern: Sequence[str]) -> bool:
    """Says whether a path matches a pattern, both by their parts."""
    if not pattern:
        return not names
    if pattern[0] == _ANY_FOLDERS:
        return any(_matches(names[start:], pattern[1:]) for start in range(len(names) + 1))
    return (
        bool(names)
        and fnmatch.fnmatchcase(names[0], pattern[0])
        and _matches(names[1:], pattern[1:])
    )


def _below_common(paths: Sequence[str]) -> Pictures:
    """Names absolute paths relative to the lowest folder that has all of them."""
    root = os.path.commonpath([os.path.dirname(path) for path in paths])
    return Pictures(root, tuple(os.path.relpath(path, root) for path in paths))
