"""Looks at image files at the start of a run: what they are, how large, whether they are whole."""

import concurrent.futures
import dataclasses
import os
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from ega_jax.data.files.image_files import (
    PLAIN,
    UPRIGHT,
    decode_fault,
    formats,
    named_plain,
    unknown_format,
)
from ega_jax.data.source import DataError

# What to do about images that cannot be used; to skip them all are decoded, to check again not.
REFUSE, SKIP, SKIP_AGAIN = "refuse", "skip", "skip again"

_SHOWN = 5  # files named in an error message
_THREADS = 16  # a check waits for the disk or the network far more than it computes
_MISSING = "does not exist"
_TAIL = 64  # bytes at the end of a file
_ANY_SIZE = 2**31 - 1  # stands for the side of an image that nobody can read


class Header(NamedTuple):
    """What the header of an image says: stored width and height, orientation 1 to 8, format."""

    width: int
    height: int
    orientation: int
    format: str


@dataclasses.dataclass(frozen=True)
class Headers:
    """What the headers of N images say.

    Attributes:
      sizes: `[N, 2]` int64, width and height of the images as they will be loaded.
      orientations: `[N]` uint8, the EXIF orientation to undo, 1 (none) to 8.
      plain: `[N]` bool, whether it is a JPEG or PNG.
      faults: what is wrong, by position.
    """

    sizes: np.ndarray
    orientations: np.ndarray
    plain: np.ndarray
    faults: Mapping[int, str]

    @classmethod
    def of(cls, found: Sequence[Header | str], apply_exif: bool = True) -> "Headers":
        """Makes arrays of what `read_headers` found; see `check_images`."""
        faults = {index: h for index, h in enumerate(found) if isinstance(h, str)}
        nobody = Header(_ANY_SIZE, _ANY_SIZE, UPRIGHT, "")
        good = [nobody if isinstance(header, str) else header for header in found]
        sizes = np.array([header[:2] for header in good], np.int64).reshape(-1, 2)
        orientations = np.array([header.orientation for header in good], np.uint8)
        if apply_exif:
            sizes = upright_sizes(sizes, orientations)
        else:
            orientations = np.full_like(orientations, UPRIGHT)
        plain = np.array([header.format in PLAIN for header in good], bool)
        return cls(sizes, orientations, plain, faults)

    def faults_by(self, names: Sequence[str]) -> dict[str, str]:
        """Returns what is wrong by name instead of position."""
        return {names[index]: fault for index, fault in self.faults.items()}


def check_images(
    paths: Sequence[str],
    name: str,
    apply_exif: bool = True,
    on_bad: str = REFUSE,
    hint: Callable[[], str] = lambda: "",
) -> Headers:
    """Checks every image file and reads its size and orientation.

    Files are opened in parallel. A file that is cut off is found by how it ends; damage in the
    middle of a file shows only when it is decoded.

    Args:
      paths: the N files.
      name: of the data set, for messages.
      apply_exif: False: take every image as it is stored, whatever its EXIF orientation.
      on_bad: `REFUSE`; `SKIP`: also decode every file, and return what is wrong with which;
        `SKIP_AGAIN`: do so without decoding, where it was done before.
      hint: what may be the cause if no file exists.

    Returns:
      Sizes, orientations, kinds, and faults unless these are refused.

    Raises:
      DataError: files are missing, truncated or no images. Names the first few.
    """
    found = read_headers(paths, decode=on_bad == SKIP)
    faults = [header for header in found if isinstance(header, str)]
    if faults.count(_MISSING) == len(paths):
        raise DataError(
            f"{name}: none of the {len(paths)} images exists, the first is {paths[0]}; correct the "
            f"image folder, --config.data.root, or --images where maps are scored{hint()}"
        )
    if len(faults) == len(paths) or (faults and on_bad == REFUSE):
        skip = "; training images can be left out by --config.data.on_bad_image=skip"
        header_table(found, paths, name, remedy=skip if on_bad == REFUSE else "")
    return Headers.of(found, apply_exif)


def read_headers(paths: Sequence[str], decode: bool = False) -> list[Header | str]:
    """Reads the headers of files in parallel, or says what is wrong with each; see `read_header`.

    Args:
      paths: of the files.
      decode: whether to decode them too, which finds damage anywhere.
    """
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(_decode_path if decode else _read_path, paths))


def header_table(
    headers: Sequence[Header | str], paths: Sequence[str], name: str, remedy: str = ""
) -> tuple[np.ndarray, np.ndarray]:
    """Makes arrays of what `read_header` found.

    Args:
      headers: of N files.
      paths: of the files, for messages.
      name: of the data set, for messages.
      remedy: what else can be done, as the rest of a sentence.

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
            + remedy
        )
    table = np.array([header[:3] for header in headers], np.int64).reshape(-1, 3)
    return table[:, :2], table[:, 2].astype(np.uint8)


def upright_sizes(sizes: np.ndarray, orientations: np.ndarray) -> np.ndarray:
    """Turns sizes as stored, `[N, 2]`, into those of the upright images."""
    sides_swapped = orientations[:, None] >= 5
    return np.where(sides_swapped, sizes[:, ::-1], sizes)


def read_header(file: BinaryIO) -> Header | str:
    """Reads the header of an image, or says what is wrong with it.

    Args:
      file: the image, from its start; left open.
    """
    try:
        with Image.open(file, formats=formats()) as image:
            header = Header(*image.size, _read_orientation(image), image.format)
            complete = _ends_well(file, header.format)
    except UnidentifiedImageError:
        file.seek(0)
        return unknown_format(file.read(_TAIL))
    except Exception as error:  # plugins fail in every way on a file that is damaged
        return f"cannot be read ({getattr(error, 'strerror', None) or error})"
    if not complete:
        file.seek(0)
        plain = header.format in PLAIN
        # Bytes after the end of a picture are harmless, a missing end is not.
        if fault := decode_fault(file.read(), plain):
            return "is truncated or damaged" if plain else fault
    return header


def read_named_header(file: BinaryIO, name: str) -> Header | str:
    """Reads a header where later only the name will tell how to decode the file."""
    return by_name(read_header(file), name)


def by_name(header: Header | str, name: str) -> Header | str:
    """Returns a header, or says that the file's name tells of another way to decode it."""
    if not isinstance(header, str) and named_plain(name) and header.format not in PLAIN:
        return f"is a {header.format} picture by its content; rename it so"
    return header


def _read_path(path: str) -> Header | str:
    try:
        with open(path, "rb") as file:
            return read_header(file)
    except FileNotFoundError:
        return _MISSING
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"


def _decode_path(path: str) -> Header | str:
    """Reads a header and decodes the file, which finds damage anywhere in it."""
    header = _read_path(path)
    if isinstance(header, str):
        return header
    with open(path, "rb") as file:
        return decode_fault(file.read(), header.format in PLAIN) or header


def _read_orientation(image: Image.Image) -> int:
    """Reads the EXIF orientation; like a viewer, takes what is undefined or garbled for upright."""
    if image.format == "TIFF":
        return UPRIGHT  # Pillow turns it
    try:
        # Not image.getexif(): for a PNG that would decode the pixels.
        orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation)
    except (SyntaxError, struct.error):
        return UPRIGHT
    return orientation if orientation in range(1, 9) else UPRIGHT


def _ends_well(file: BinaryIO, kind: str) -> bool:
    """Says whether a file is as long as it should be, where its format tells without decoding."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _TAIL))
    tail = file.read()
    file.seek(0)
    head = file.read(12)
    match kind:
        case "JPEG" | "MPO" | "PNG":
            return tail.endswith((b"\xff\xd9", b"IEND\xaeB`\x82"))
        case "WEBP":
            return int.from_bytes(head[4:8], "little") + 8 <= size
        case "BMP":
            return 0 < int.from_bytes(head[2:6], "little") <= size
        case "GIF":
            return tail.endswith(b"\x3b")
    return False
