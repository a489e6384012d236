"""Reads a hierarchy of classes, for methods that learn coarser labels too (DANet).

A CSV file with a header and a line for each class, in the order of the labels: the class's name
(for people), its parent, its root. Names of parents and roots are free; equal names are the same.

    class,family,order
    001.Black_footed_Albatross,Diomedeidae,Procellariiformes
"""

import csv
import dataclasses
import hashlib
import io
import os
from collections.abc import Sequence

from etils import epath

from ega_jax.data.source import DataError

_COLUMNS = 3
_UNREADABLE = "the hierarchy {} cannot be read ({}); set --config.danet.hierarchy"


@dataclasses.dataclass(frozen=True)
class Hierarchy:
    """Of each class its parent and its root, numbered from 0 by their sorted names."""

    parents: tuple[int, ...]
    roots: tuple[int, ...]


def read_hierarchy(path: str | os.PathLike) -> Hierarchy:
    """Reads a hierarchy; see the module's docstring for the file.

    Raises:
      DataError: the file is missing, has another number of columns, an empty name, or a parent
        under two roots. Names file and line.
    """
    rows = _rows(path)
    root_of: dict[str, str] = {}
    for line, row in rows:
        if len(row) != _COLUMNS or not all(row):
            raise DataError(f"{path}, line {line}: expected class,parent,root, not {','.join(row)}")
        _, parent, root = row
        if root_of.setdefault(parent, root) != root:
            raise DataError(
                f"{path}, line {line}: {parent!r} is under {root!r} here and under "
                f"{root_of[parent]!r} before; a parent has one root"
            )
    if not rows:
        raise DataError(f"{path} has no classes; write a line class,parent,root for each")
    parents, roots = sorted(root_of), sorted(set(root_of.values()))
    return Hierarchy(
        tuple(parents.index(parent) for _, (_, parent, _) in rows),
        tuple(roots.index(root) for _, (*_, root) in rows),
    )


def check_order(path: str | os.PathLike, class_names: Sequence[str]) -> None:
    """Looks whether a hierarchy that names these classes names them in the order of their labels.

    Its names are for people and may be others, which is no fault.

    Raises:
      DataError: the names are the same in another order; names file and line.
    """
    rows = _rows(path)
    names = ["".join(row[:1]) for _, row in rows]
    if sorted(names) != sorted(class_names):
        return
    for (line, _), name, expected in zip(rows, names, class_names, strict=True):
        if name != expected:
            raise DataError(
                f"{path}, line {line}: {name!r}, but the class of this line is {expected!r}; write "
                "the lines in the order of the labels"
            )


def _rows(path: str | os.PathLike) -> list[tuple[int, list[str]]]:
    """Returns the lines behind the first one, with their numbers."""
    try:
        text = _content(path).decode("utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""))
        return [(reader.line_num, row) for row in reader][1:]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(_UNREADABLE.format(path, error)) from error


def digest(path: str | os.PathLike) -> str:
    """Returns the SHA-256 of the file of a hierarchy.

    Raises:
      DataError: it is missing or unreadable.
    """
    return hashlib.sha256(_content(path)).hexdigest()


def _content(path: str | os.PathLike) -> bytes:
    try:
        return epath.Path(path).expanduser().read_bytes()
    except OSError as error:
        raise DataError(_UNREADABLE.format(path, error)) from error
