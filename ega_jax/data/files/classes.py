"""Settles which classes a split with metadata has: those of `class_names.txt`, or numbers."""

import os
from collections.abc import Sequence

from etils import epath

from ega_jax.data.files.metadata import Metadata, read_metadata
from ega_jax.data.files.text_lines import read_lines
from ega_jax.data.source import DataError

CLASSES_FILE = "class_names.txt"


def read_split(
    metadata: str | os.PathLike,
    class_names: Sequence[str] | None,
    num_classes: int | None,
    background: Sequence[str] = (),
) -> tuple[Metadata, tuple[str, ...]]:
    """Reads the metadata of a split and settles which classes there are.

    Args:
      metadata: as in `folder_source`.
      class_names: as in `folder_source`.
      num_classes: as in `folder_source`.
      background: as in `folder_source`.

    Returns:
      The metadata and the names of the classes.

    Raises:
      DataError: the metadata cannot be used, see `read_metadata`, or `background` are no classes.
      ValueError: `class_names` and `num_classes` disagree.
    """
    beside = class_names_beside(metadata)
    if beside is not None:
        class_names = _same_names(read_class_names(beside), class_names, beside)
        if num_classes not in (None, len(class_names)):
            raise DataError(
                f"{beside} has {len(class_names)} classes, but config.data.num_classes="
                f"{num_classes}; leave it unset to take the file's"
            )
    if class_names is not None:
        if num_classes not in (None, len(class_names)):
            raise ValueError(
                f"num_classes={num_classes} but {len(class_names)} class names; leave one out"
            )
        num_classes = len(class_names)
    boxless = boxless_labels(background, class_names, metadata)
    split = read_metadata(metadata, num_classes, boxless)
    if class_names is None:
        class_names = map(str, range(num_classes or int(split.labels.max()) + 1))
    return split, tuple(class_names)


def boxless_labels(
    background: Sequence[str], class_names: Sequence[str] | None, where: str | os.PathLike
) -> frozenset[int]:
    """Returns the labels of classes without an object.

    Args:
      background: their names.
      class_names: in the order of the labels; None: they are called as their labels.
      where: for the message.

    Raises:
      DataError: one of them is no class.
    """
    if class_names is None:
        unknown = [name for name in background if not (name.isascii() and name.isdecimal())]
    else:
        unknown = [name for name in background if name not in class_names]
    if unknown:
        there = "numbers" if class_names is None else ", ".join(class_names[:20])
        raise DataError(
            f"{os.fspath(where)}: {unknown[0]!r}, which is to be a class without an object, is no "
            f"class; there are {there}"
        )
    return frozenset(map(int if class_names is None else class_names.index, background))


def _same_names(
    names: tuple[str, ...], wanted: Sequence[str] | None, path: os.PathLike
) -> Sequence[str]:
    """Returns the names that a trained model or another split has, if those beside fit them."""
    if wanted is None:
        return names
    unnamed = tuple(wanted) == tuple(map(str, range(len(names))))
    if tuple(wanted) != names and not unnamed:
        raise DataError(
            f"{path} has the classes {', '.join(names)}, but the model or the training split has "
            f"{', '.join(wanted)}; labels would mean other classes. Correct the file"
        )
    return wanted


def read_class_names(path: str | os.PathLike) -> tuple[str, ...]:
    """Reads the names of classes, in the order of their labels.

    Raises:
      DataError: the file is empty or no text, or a line is empty or repeats another.
    """
    path = epath.Path(path)
    names = [name.strip() for name in read_lines(path)]
    if not names:
        raise DataError(f"{path} is empty; write a class name per line, or remove the file")
    seen: set[str] = set()
    for line, name in enumerate(names, start=1):
        if not name or name in seen:
            raise DataError(
                f"{path}, line {line}: {f'{name!r} again' if name else 'no name'}; write one name "
                "for each class, in the order of the labels"
            )
        seen.add(name)
    return tuple(names)


def class_names_beside(folder: str | os.PathLike) -> epath.Path | None:
    """Finds `class_names.txt` of a split: in its folder, or in that of all splits; None without."""
    folder = epath.Path(folder)
    for path in (folder / CLASSES_FILE, folder.parent / CLASSES_FILE):
        if path.exists():
            return path
    return None
