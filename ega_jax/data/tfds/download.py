"""Data sets by name: TFDS downloads and prepares them, once, where they are not here yet.

    python -m ega_jax.data.tfds.download oxford_iiit_pet --out=TFDS_DIR

A run with `data.root=oxford_iiit_pet` does the same in TFDS's own folder, `~/tensorflow_datasets`
or `$TFDS_DATA_DIR`. Where there is no internet, prepare the data set elsewhere, copy its folder,
and give that as `data.root`.
"""

import argparse
import contextlib
import fcntl
import logging
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator

import tensorflow_datasets as tfds
from etils import epath

from ega_jax.data.source import DataError
from ega_jax.data.tfds.index import ADDRESSES, has_annotations, run_command, write_index

logger = logging.getLogger(__name__)

_PATIENCE = 20.0  # seconds until an address counts as out of reach


def located(root: str) -> str:
    """Returns the folder of a prepared data set: `root`, or where that of this name is.

    Raises:
      DataError: it is not here, and cannot be downloaded or prepared.
    """
    if root not in ADDRESSES or os.path.exists(root):
        return root
    return prepared(root)


def prepared(name: str, out: str | None = None) -> str:
    """Downloads, prepares and indexes a data set as far as that has not been done.

    Processes that share a disk wait for one another.

    Args:
      name: a key of `ADDRESSES`.
      out: the folder of TFDS data sets; None: TFDS's own.

    Returns:
      Its folder, with the version.

    Raises:
      DataError: it cannot be downloaded or prepared; names it and the remedy.
    """
    builder = tfds.builder(name, data_dir=out)
    directory = epath.Path(builder.data_dir)
    if has_annotations(directory):
        return os.fspath(directory)
    with _alone(directory.parent):
        if not (directory / "dataset_info.json").exists():
            _require_reachable(name, directory)
            logger.info("%s is downloaded and prepared in %s, once.", name, directory)
            try:
                builder.download_and_prepare()
            except Exception as error:  # of any library that TFDS uses
                raise DataError(_cannot(name, directory, error)) from error
        if not has_annotations(directory):
            write_index(directory)
    return os.fspath(directory)


def _require_reachable(name: str, directory: epath.Path) -> None:
    """Asks for the first file's address: TFDS itself would try for minutes."""
    request = urllib.request.Request(ADDRESSES[name], method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=_PATIENCE).close()
    except urllib.error.HTTPError:
        return  # somebody is there; whether he gives the file, TFDS will see
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise DataError(_cannot(name, directory, f"{ADDRESSES[name]}: {reason}")) from error


def _cannot(name: str, directory: epath.Path, reason: object) -> str:
    line = " ".join(str(reason).split())
    return (
        f"{name} is not in {directory} and cannot be downloaded and prepared ({line}). Where "
        f"there is internet run python -m ega_jax.data.tfds.download {name} --out=DIR, copy "
        f"DIR/{name}/{directory.name} here, and set --config.data.root to the copy"
    )


@contextlib.contextmanager
def _alone(folder: epath.Path) -> Iterator[None]:
    """Waits until no other process prepares this data set; buckets have no such locks."""
    if "://" in os.fspath(folder):
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".ega_jax.lock", "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main(argv: list[str] | None = None) -> int:
    """Prepares a data set; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m ega_jax.data.tfds.download",
        description="Downloads, prepares and indexes a data set, as far as that is not done.",
    )
    parser.add_argument("name", choices=tuple(ADDRESSES))
    parser.add_argument(
        "--out", type=os.path.expanduser, help="the folder of TFDS data sets; default: TFDS's own"
    )
    arguments = parser.parse_args(argv)
    return run_command(lambda: prepared(arguments.name, arguments.out))


if __name__ == "__main__":
    sys.exit(main())
