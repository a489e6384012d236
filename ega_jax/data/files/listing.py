"""Lists what lies in a folder: the one rule of what is a picture, for training, predict, prepare.

A file is a picture by how its name ends. Nobody's are hidden files and folders, and what systems
and programs leave behind (`NOBODYS`). Whatever else there is was left out: it is counted and named.
"""

import dataclasses
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence

logger = logging.getLogger(__name__)

# JPEG and PNG, and what Pillow reads besides; HEIC with the package pillow-heif.
EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"),
    *(".jp2", ".ppm", ".pgm", ".avif", ".heic", ".heif"),
)
NOBODYS = frozenset(("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "lost+found"))

NOT_UTF8 = "has a name that is not UTF-8; rename it"

_SHOWN = 3  # names in a message


@dataclasses.dataclass(frozen=True)
class Listing:
    """What lies below a folder, by path relative to it, with slashes.

    Attributes:
      pictures: sorted.
      left_out: sorted; each with why it is no picture or cannot be used as one.
    """

    pictures: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...] = ()


def is_nobodys(name: str) -> bool:
    """Says of a file or folder by its name alone that it is nobody's picture."""
    return name.startswith(".") or name.lower() in NOBODYS


def is_picture(name: str) -> bool:
    """Says by its name whether a file is taken for a picture."""
    return name.lower().endswith(EXTENSIONS)


def list_folder(root: str | os.PathLike) -> Listing:
    """Lists a folder and all folders below it, in one pass; files are not opened.

    Raises:
      OSError: the folder cannot be read.
    """
    pictures, left_out = [], []
    for name in _names(os.fspath(root), "", set()):
        if fault := name_fault(name):
            left_out.append((printable(name), fault))
        elif is_picture(name):
            pictures.append(name)
        else:
            left_out.append((name, "is no picture by its name"))
    return Listing(tuple(sorted(pictures)), tuple(sorted(left_out)))


def walk(root: str | os.PathLike) -> Iterator[tuple[tuple[str, ...], str]]:
    """Goes through all files below a folder that are somebody's: parts below the folder, and path.

    Links to folders are followed, each folder is entered once. The order is that of the names.
    """
    root = os.fspath(root)
    for name in _names(root, "", set()):
        yield tuple(name.split("/")), os.path.join(root, name)


def subfolders(root: str | os.PathLike) -> list[str]:
    """Lists the names of the folders in a folder that are somebody's, sorted."""
    with os.scandir(os.fspath(root)) as entries:
        return sorted(str(e.name) for e in entries if not is_nobodys(e.name) and e.is_dir())


def name_fault(name: str) -> str:
    """Says why a path cannot be written down in a text file as it is; empty if it can."""
    if name.isascii():
        return ""
    try:
        name.encode()
    except UnicodeEncodeError:
        return NOT_UTF8
    return ""


def printable(name: str) -> str:
    r"""Writes bytes of a name that are not UTF-8 as `\xe9`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def report_left_out(root: str | os.PathLike, left_out: Sequence[tuple[str, str]]) -> None:
    """Logs how many files of a folder were left out, of which kinds, and the first few names."""
    if left_out:
        logger.warning("%s: %s", root, describe_left_out(left_out))


def describe_left_out(left_out: Sequence[tuple[str, str]]) -> str:
    """Counts what was left out by the ends of the names, most first, and names a few."""
    kinds = Counter(os.path.splitext(name)[1].lower() or "no ending" for name, _ in left_out)
    counts = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())
    few = ", ".join(f"{name} ({reason})" for name, reason in left_out[:_SHOWN])
    more = ", ..." if len(left_out) > _SHOWN else ""
    return f"{len(left_out)} files were left out ({counts}): {few}{more}"


def _names(root: str, below: str, seen: set[tuple[int, int]]) -> Iterator[str]:
    """Yields the paths of files relative to `root`, in the order of the names."""
    folder = os.path.join(root, below)
    status = os.stat(folder)
    if (status.st_dev, status.st_ino) in seen:  # a link led back, or here once more
        return
    seen.add((status.st_dev, status.st_ino))
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if not is_nobodys(name):
                # A link named like a picture is one, without a look behind it.
                link = entry.is_symlink() and not is_picture(name)
                found.append((name, entry.is_dir(follow_symlinks=link)))
    for name, is_folder in sorted(found):
        path = f"{below}{name}"
        if is_folder:
            yield from _names(root, f"{path}/", seen)
        else:
            yield path
