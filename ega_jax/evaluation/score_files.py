"""The scores of a split as a file, from which all its figures follow, for any of its images.

`scores_<split>.npz` holds the arrays of `Scores.to_arrays`: with boxes at most 1.2 KB for each
image, with masks at most 4 KB more, before they are compressed.
"""

import io
import os
import zipfile
import zlib
from typing import Any

import numpy as np
from etils import epath

from ega_jax.evaluation.scores import Scores
from ega_jax.runtime import files
from ega_jax.runtime.errors import UserError

# What reading a damaged `.npz` raises.
DAMAGED = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
)


class ScoreFileError(UserError):
    """A file of scores is unreadable; names it."""


def save(path: str | os.PathLike, scores: Scores) -> None:
    """Writes the scores of a split; whole or not at all."""
    arrays: dict[str, Any] = scores.to_arrays()
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    files.write_bytes(path, buffer.getvalue())


def load(path: str | os.PathLike) -> Scores:
    """Reads what `save` wrote.

    Raises:
      ScoreFileError: the file is missing, damaged or another one.
    """
    try:
        with np.load(io.BytesIO(epath.Path(path).read_bytes())) as arrays:
            return Scores.from_arrays(dict(arrays))
    except DAMAGED as error:
        raise ScoreFileError(f"cannot read {path}: {error}; evaluate its run again") from error
