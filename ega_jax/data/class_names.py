"""Names of classes from a file of lines, for what knows its classes by number."""

import os
from collections import Counter

from etils import epath

from ega_jax.data.files.text_lines import read_text
from ega_jax.data.source import DataError


def read_class_names(path: str | os.PathLike) -> tuple[str, ...]:
    """Reads the names of classes, one a line in the order of the labels, as UTF-8.

    Raises:
      DataError: the file cannot be read, has a line without a name, a name twice, or one class.
    """
    try:
        text = read_text(epath.Path(path).expanduser()).rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"config.data.class_names: cannot read {path}: {error}") from error
    names = tuple(line.strip() for line in text.split("\n")) if text else ()
    if "" in names:
        raise DataError(f"{path}:{names.index('') + 1}: no name; give every label a line")
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(f"{path}: {twice[0]!r} names more than one class; tell them apart")
    if len(names) < 2:
        raise DataError(f"{path}: {len(names)} class; a classifier needs at least 2")
    return names
