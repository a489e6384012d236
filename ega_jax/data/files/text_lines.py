"""Reads the lines of small text files, local or in a bucket."""

import pathlib

from etils import epath

from ega_jax.data.source import DataError


def read_text(path: epath.Path) -> str:
    """Reads a UTF-8 file without its byte order mark, if any, and with any system's line ends."""
    # Not path.read_text(), which of a file in a bucket keeps both.
    text = path.read_bytes().decode("utf-8-sig")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_lines(path: pathlib.Path) -> list[str]:
    """Reads the lines of a file of a split's metadata, but for empty ones at its end.

    Raises:
      DataError: it is missing, unreadable or no text.
    """
    try:
        text = read_text(path).rstrip("\n")
    except FileNotFoundError:
        raise DataError(
            f"{path} does not exist; a split's metadata needs image_ids.txt and class_labels.txt"
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a UTF-8 text file: {error}") from error
    return text.split("\n") if text else []
