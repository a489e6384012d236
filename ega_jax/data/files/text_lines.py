"""Reads the lines of small text files, local or in a bucket."""

import os

from etils import epath

from ega_jax.data.source import DataError


def read_text(path: epath.Path) -> str:
    """Reads a UTF-8 file without its byte order mark, if any, and with any system's line ends."""
    # Not path.read_text(), which of a file in a bucket keeps both.
    text = path.read_bytes().decode("utf-8-sig")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_lines(path: str | os.PathLike, needed: str = "") -> list[str]:
    """Reads the lines of a file but for empty ones at its end.

    Args:
      path: of the file.
      needed: what it is needed for, as the end of a message.

    Raises:
      DataError: it is missing, unreadable or no text.
    """
    try:
        text = read_text(epath.Path(path)).rstrip("\n")
    except FileNotFoundError:
        raise DataError(f"{path} does not exist{needed}") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a UTF-8 text file: {error}") from error
    return text.split("\n") if text else []
