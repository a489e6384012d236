"""Errors that the program tells in a line instead of a traceback."""

import contextlib
import errno
import sys
from collections.abc import Iterator


class UserError(Exception):
    """Something that whoever runs the program can mend; says what is wrong, where, and the remedy.

    Each room has its own kind: `ConfigError`, `data.source.DataError`,
    `runtime.checkpoints.CheckpointError`, `runtime.memory.OutOfMemoryError`,
    `models.weights.files.WeightFileError`,
    `training.progress.NonFiniteLoss`.
    """


class ConfigError(UserError, ValueError):
    """A field of the config has an impossible value; names the field and the remedy."""


# Faults of a place, not of the program: full, read-only, a file where a folder is needed.
_OF_PLACES = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG),
}


class Outcome:
    """The exit code of a mode."""

    code = 1


@contextlib.contextmanager
def told_in_a_line() -> Iterator[Outcome]:
    """Turns what a user can mend into one line and exit code 1, and Ctrl-C into code 130."""
    outcome = Outcome()
    try:
        yield outcome
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        if error.errno not in _OF_PLACES:
            raise
        place = f"{error.filename}: " if error.filename else ""
        print(
            f"error: {place}{error.strerror}; free the place, or choose another with --workdir",
            file=sys.stderr,
        )
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        outcome.code = 130
