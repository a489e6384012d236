"""Writing files, on disks and in buckets alike: whole or not at all."""

import json
import os
from collections.abc import Iterable
from typing import Any

from etils import epath


def write_bytes(path: str | os.PathLike, data: bytes) -> None:
    """Writes a file aside and renames it, so that a killed run leaves the old one or the new one.

    Creates the folders on the way.
    """
    path = epath.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.parent / f".{path.name}.tmp"
    aside.write_bytes(data)
    aside.replace(path)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes text as UTF-8; see `write_bytes`."""
    write_bytes(path, text.encode())


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes JSON; see `write_bytes`."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_chunks(path: str | os.PathLike, chunks: Iterable[str]) -> None:
    """Writes text as UTF-8, in the memory of one part of it; see `write_bytes`."""
    path = epath.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.parent / f".{path.name}.tmp"
    with aside.open("wb") as file:
        for chunk in chunks:
            file.write(chunk.encode())
    aside.replace(path)
