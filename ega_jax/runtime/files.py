"""Writing files, on disks and in buckets alike: whole or not at all."""

import json
import os
import shutil
import uuid
from collections.abc import Iterable
from typing import Any

from etils import epath


def write_bytes(path: str | os.PathLike, data: bytes) -> None:
    """Writes a file aside and renames it, so that a killed run leaves the old one or the new one.

    Creates the folders on the way.

    Raises:
      OSError: it cannot be written; names the file, also where the disk is full.
    """
    _write(epath.Path(path), [data])


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes text as UTF-8; see `write_bytes`."""
    write_bytes(path, text.encode())


def write_chunks(path: str | os.PathLike, chunks: Iterable[str]) -> None:
    """Writes text as UTF-8, in the memory of one part of it; see `write_bytes`."""
    _write(epath.Path(path), (chunk.encode() for chunk in chunks))


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes JSON; see `write_bytes`."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def free_bytes(folder: str | os.PathLike) -> int | None:
    """Returns how much more fits onto the disk of a folder, there or not; None for a bucket."""
    place = epath.Path(folder)
    if "://" in os.fspath(place):
        return None
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def _write(path: epath.Path, parts: Iterable[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.tmp"  # others may write it, too
    try:
        with aside.open("wb") as file:
            for part in parts:
                file.write(part)
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        error.filename = error.filename or os.fspath(path)
        raise
