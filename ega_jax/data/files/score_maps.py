"""Reads score maps that any program saved as `.npy`, or as `.npz` of one array.

Nothing in a file is run, and what it claims is compared with the bytes there are.
"""

import contextlib
import io
import os
import zipfile
from collections.abc import Iterator, Sequence

import numpy as np

from ega_jax import localization
from ega_jax.data.source import DataError

SUFFIXES = (".npy", ".npz")
_MAX_BYTES = 2**28  # of a map: 32 million float64
_SHOWN = 60  # characters of another program's message


def find_maps(folder: str | os.PathLike, image_ids: Sequence[str], name: str) -> list[str]:
    """Finds the map of each image, `<image id>.npy` or `<image id>.npz`.

    Args:
      folder: of the maps.
      image_ids: of the N images.
      name: of the split, for messages.

    Returns:
      The N paths.

    Raises:
      DataError: some are missing; counts them and names the first.
    """
    folder = os.path.expanduser(folder)
    if not os.path.isdir(folder):
        raise DataError(f"no folder of heat maps {folder!r}; set --scoremaps")
    paths, missing = [], []
    for image_id in image_ids:
        candidates = [os.path.join(folder, image_id + suffix) for suffix in SUFFIXES]
        path = next(filter(os.path.isfile, candidates), None)
        paths.append(path)
        if path is None:
            missing.append(candidates[0])
    if missing:
        raise DataError(
            f"{len(missing)} of {len(paths)} heat maps of {name} do not exist, the first is "
            f"{missing[0]} (or .npz); every image of the metadata needs one"
        )
    return paths


def read_map(path: str | os.PathLike) -> np.ndarray:
    """Reads one map: `[H, W]` float64 in [0, 1]; see `localization.check_score_map`.

    Raises:
      DataError: the file is missing, damaged, too large or holds no such map; names it.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_BYTES + 1)
        return localization.check_score_map(_array(data))
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error


def _array(data: bytes) -> np.ndarray:
    """Reads what a file holds.

    Raises:
      ValueError: it is no array; says what is wrong and what to do about it.
    """
    if not data:
        raise ValueError("The file is empty; save the map again.")
    if data.startswith(b"PK\x03\x04"):
        data = _only_member(data)
    elif data.startswith(b"\x1f\x8b"):
        raise ValueError("The file is compressed by gzip; unpack it by gunzip.")
    if not data.startswith(np.lib.format.MAGIC_PREFIX):
        raise ValueError("The file is no .npy file; save the map by numpy.save(path, map).")
    if len(data) > _MAX_BYTES:
        raise ValueError(f"The file has more than {_MAX_BYTES} bytes; save one map per file.")
    with _damage_named():
        _check_length(data)
        return np.load(io.BytesIO(data), allow_pickle=False)


def _check_length(data: bytes) -> None:
    """Refuses a header that asks for more memory than there are bytes."""
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version == (3, 0):
        return  # only for names of fields, which no map has
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[version]
    shape, _, dtype = read(stream)
    needed, left = dtype.itemsize, len(data) - stream.tell()
    for side in shape:
        needed *= side
    if not 0 <= needed <= left:
        raise ValueError(f"an array of {needed} bytes, {left} are there")


def _only_member(data: bytes) -> bytes:
    """Takes the only array out of a `.npz` file."""
    with _damage_named(), zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
    if len(entries) != 1 or entries[0].file_size > _MAX_BYTES:
        names = ", ".join(entry.filename for entry in entries)[:_SHOWN]
        raise ValueError(
            f"The archive holds {len(entries)} files ({names}); save one map per file, by "
            "numpy.save(path, map)."
        )
    with _damage_named(), zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read(entries[0])


@contextlib.contextmanager
def _damage_named() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # readers fail in every way on a file that is damaged
        reason = str(error).split("\n")[0][:_SHOWN]
        raise ValueError(
            f"The file is truncated, damaged or holds Python objects ({reason}); save the map "
            "again, as an array of numbers."
        ) from error
