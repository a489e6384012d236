"""Reads JPEG and PNG files: their headers at the start of a run, their pixels as graph code."""

import concurrent.futures
import os
import struct
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from ega_jax.data.source import DataError
from ega_jax.data.tf_on_cpu import tf

_FORMATS = ("JPEG", "PNG")
_END_MARKERS = (b"\xff\xd9", b"IEND\xaeB`\x82")  # of a JPEG, of a PNG
_UPRIGHT = 1
_SHOWN = 5  # files named in an error message
_THREADS = 16  # a check waits for the disk or the network far more than it computes


def read_headers(
    paths: Sequence[str], name: str, apply_exif: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Checks every image file without decoding it and reads its size and orientation.

    Files are opened in parallel. A file that is cut off is found by its missing end marker; damage
    in the middle of a file shows only when it is decoded.

    Args:
      paths: the N files.
      name: of the data set, for messages.
      apply_exif: False: take every image as it is stored, whatever its EXIF orientation.

    Returns:
      `[N, 2]` int64, width and height of the upright images, and `[N]` uint8, the orientation to
      undo, 1 (none) to 8.

    Raises:
      DataError: files are missing, truncated or neither JPEG nor PNG. Names the first few.
    """
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        headers = list(pool.map(_read_header, paths))
    sizes, orientations = header_table(headers, paths, name)
    if not apply_exif:
        return sizes, np.full_like(orientations, _UPRIGHT)
    return upright_sizes(sizes, orientations), orientations


def header_table(
    headers: Sequence[tuple[int, int, int] | str], paths: Sequence[str], name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Makes arrays of what `read_header` found.

    Args:
      headers: of N files.
      paths: of the files, for messages.
      name: of the data set, for messages.

    Returns:
      `[N, 2]` int64, width and height as stored, and `[N]` uint8, the EXIF orientation, 1 to 8.

    Raises:
      DataError: there is something wrong with some files. Names the first few.
    """
    bad = [f"{path}: {h}" for path, h in zip(paths, headers, strict=True) if isinstance(h, str)]
    if bad:
        lines = bad[:_SHOWN] + (["..."] if len(bad) > _SHOWN else [])
        raise DataError(
            f"{name}: {len(bad)} of {len(paths)} image files cannot be used:\n  "
            + "\n  ".join(lines)
            + "\nCorrect the image folder, restore these files, or remove them from the data set"
        )
    table = np.array(headers, np.int64).reshape(-1, 3)
    return table[:, :2], table[:, 2].astype(np.uint8)


def upright_sizes(sizes: np.ndarray, orientations: np.ndarray) -> np.ndarray:
    """Turns sizes as stored, `[N, 2]`, into those of the upright images."""
    sides_swapped = orientations[:, None] >= 5
    return np.where(sides_swapped, sizes[:, ::-1], sizes)


def read_header(file: BinaryIO) -> tuple[int, int, int] | str:
    """Reads the stored width and height and the orientation, or says what is wrong.

    Args:
      file: the image, from its start; left open.
    """
    try:
        with Image.open(file, formats=_FORMATS) as image:
            width, height = image.size
            orientation = _read_orientation(image)
            file.seek(-max(map(len, _END_MARKERS)), os.SEEK_END)
            complete = file.read().endswith(_END_MARKERS)
    except UnidentifiedImageError:
        return "is neither a JPEG nor a PNG image"
    except (
        OSError,
        ValueError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,  # where the caller made it an error
    ) as error:
        return f"cannot be read ({getattr(error, 'strerror', None) or error})"
    if not complete and not _decodes(file):
        return "is truncated or damaged"
    return width, height, orientation


def _read_header(path: str) -> tuple[int, int, int] | str:
    try:
        with open(path, "rb") as file:
            return read_header(file)
    except FileNotFoundError:
        return "does not exist"
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"


def _read_orientation(image: Image.Image) -> int:
    """Reads the EXIF orientation; like a viewer, takes what is undefined or garbled for upright."""
    try:
        # Not image.getexif(): for a PNG that would decode the pixels.
        orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation)
    except (SyntaxError, struct.error):
        return _UPRIGHT
    return orientation if orientation in range(1, 9) else _UPRIGHT


def _decodes(file: BinaryIO) -> bool:
    """Decodes a file that does not end as it should: bytes after its end marker are harmless."""
    file.seek(0)
    try:
        _decode(file.read())
    except tf.errors.InvalidArgumentError:
        return False
    return True


def file_loader(
    paths: Sequence[str], orientations: np.ndarray | None = None
) -> Callable[[Any], Any]:
    """Makes the `load_image` of a `Source` whose images are files.

    Args:
      paths: the N files.
      orientations: as in `image_loader`.

    Returns:
      What `image_loader` does; running it raises `tf.errors.OpError` too where a file is missing.
    """
    # Eager tensors are captured by reference; arrays would become constants of every graph.
    paths = tf.constant(list(paths))
    return image_loader(lambda index: tf.io.read_file(paths[index]), orientations)


def image_loader(
    read: Callable[[Any], Any], orientations: np.ndarray | None = None
) -> Callable[[Any], Any]:
    """Makes the `load_image` of a `Source` whose images are the contents of files.

    Args:
      read: TensorFlow graph code, scalar int64 index -> the file's bytes, JPEG or PNG: colour,
        grey, palette, CMYK, with alpha (dropped), 8 or 16 bits.
      orientations: `[N]`, EXIF orientations to undo; None: the pixels as they are stored.

    Returns:
      TensorFlow graph code, scalar int64 index -> `[H, W, 3]` uint8 RGB. Running it raises
      `tf.errors.OpError` where the file cannot be decoded.
    """
    if orientations is None or (orientations == _UPRIGHT).all():
        return lambda index: _decode(read(index))
    turns = tf.constant(orientations)  # captured by reference, as the paths are
    return lambda index: _upright(_decode(read(index)), turns[index])


def _decode(data: Any) -> Any:
    # Decodes PNG as well, whatever its name. The accurate DCT gives Pillow's pixels exactly, and
    # those are what the published weights were trained on.
    return tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")


def _upright(image: Any, orientation: Any) -> Any:
    """Undoes an EXIF orientation: swap the axes if it does, then mirror in the new frame."""

    def when(orientations: tuple[int, ...], change: Callable[[Any], Any], image: Any) -> Any:
        applies = tf.reduce_any(orientation == np.array(orientations, np.uint8))
        return tf.cond(applies, lambda: change(image), lambda: image)

    image = when((5, 6, 7, 8), lambda x: tf.transpose(x, [1, 0, 2]), image)
    image = when((3, 4, 7, 8), lambda x: tf.reverse(x, [0]), image)
    return when((2, 3, 6, 7), lambda x: tf.reverse(x, [1]), image)
