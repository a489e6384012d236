"""Lists what lies in a folder: the one rule of what is a picture, for training, predict, prepare.

A file is a picture by how its name ends. Nobody's are hidden files and folders, and what systems
and programs leave behind (`NOBODYS`). Whatever else there is was left out: it is counted and named.

Links to folders are followed, but every folder is entered once: where it lies itself, or else by
the first link to it. So no picture is listed twice, under two classes say.
"""

import contextlib
import dataclasses
import errno
import logging
import os
import re
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ega_jax.data.source import DataError

logger = logging.getLogger(__name__)

# JPEG and PNG, and what Pillow reads besides; HEIC with the package pillow-heif.
EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"),
    *(".jp2", ".ppm", ".pgm", ".avif", ".heic", ".heif"),
)
NOBODYS = frozenset(("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "lost+found"))

NOT_UTF8 = "has a name that is not UTF-8; rename it"
NO_PICTURE = "is no picture by its name"
_LISTED = "is a link to a folder that is listed already"

_SHOWN = 3  # names in a message
_ABSOLUTE = re.compile(r"[/\\]|[A-Za-z]:")  # of Windows, too
_LEADS_OUT = re.compile(r"(?:^|[/\\])\.\.(?:[/\\]|$)|\0")
# How nearly all pictures' names end; tried first, as sets of a million are listed at every start.
_USUAL = (".jpg", ".JPEG", ".png", ".jpeg", ".JPG", ".PNG")


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


def list_folder(root: str | os.PathLike, depth: int | None = None) -> Listing:
    """Lists a folder and the folders below it, in one pass; files are not opened.

    Args:
      root: the folder.
      depth: how many folders below each other are entered, `root` aside; None: all.

    Raises:
      DataError: a folder may not be read.
      OSError: there is no such folder.
    """
    pictures, others, links = _scan(os.fspath(root), depth)
    left_out = [(name, name_fault(name) or NO_PICTURE) for name in others]
    left_out += [(name, name_fault(name) or _LISTED) for name in links]
    if not all(map(str.isascii, pictures)):  # which nearly always they are
        left_out += [(name, fault) for name in pictures if (fault := name_fault(name))]
        pictures = [name for name in pictures if not name_fault(name)]
    return Listing(
        tuple(sorted(pictures)),
        tuple(sorted((printable(name), reason) for name, reason in left_out)),
    )


def walk(root: str | os.PathLike) -> Iterator[tuple[tuple[str, ...], str]]:
    """Goes through all files below a folder that are somebody's: parts below the folder, and path.

    The order is that of the names, folder by folder.
    """
    root = os.fspath(root)
    pictures, others, _ = _scan(root)
    for name in sorted(pictures + others, key=lambda name: name.replace("/", "\0")):
        yield tuple(name.split("/")), os.path.join(root, name)


def subfolders(root: str | os.PathLike) -> list[str]:
    """Lists the names of the folders in a folder that are somebody's, sorted."""
    with _entries(os.fspath(root)) as entries:
        return sorted(str(e.name) for e in entries if not is_nobodys(e.name) and _is_folder(e))


@contextlib.contextmanager
def readable(folder: str | os.PathLike) -> Iterator[None]:
    """Names a folder that may not be read, and what to do about it."""
    try:
        yield
    except PermissionError as error:
        raise DataError(
            f"{os.fspath(folder)} cannot be read ({error.strerror}); let it be read, or move it "
            "away"
        ) from error


@contextlib.contextmanager
def _entries(folder: str) -> Iterator[Iterator[os.DirEntry]]:
    with readable(folder), os.scandir(folder) as entries:
        yield entries


def _is_folder(entry: os.DirEntry) -> bool:
    """Says whether an entry is a folder or a link to one; a link in a circle is neither."""
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise


def name_fault(name: str) -> str:
    """Says why a path cannot be written down in a text file as it is; empty if it can."""
    if name.isascii():
        return ""
    try:
        name.encode()
    except UnicodeEncodeError:
        return NOT_UTF8
    return ""


def path_fault(name: str) -> str:
    """Says why a path does not lead into a folder that it is relative to; empty if it does."""
    if _ABSOLUTE.match(name):
        return "has an absolute path"
    return "leads out of its folder" if _LEADS_OUT.search(name) else ""


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


def _scan(root: str, depth: int | None = None) -> tuple[list[str], list[str], list[str]]:
    """Lists pictures, other files, and links to folders that are listed already, by paths below.

    Files are in the order of their names within a folder.
    """
    pictures: list[str] = []
    others: list[str] = []
    again: list[str] = []
    entered: set[tuple[int, int]] = set()
    folders, links = [""], deque[str]()  # that wait; links do so until no real folder does
    while folders or links:
        is_link = not folders
        below = links.popleft() if is_link else folders.pop()
        with readable(os.path.join(root, below)):
            status = os.stat(os.path.join(root, below))
        if (status.st_dev, status.st_ino) in entered:
            if is_link:
                again.append(below.rstrip("/"))
            continue
        entered.add((status.st_dev, status.st_ino))
        names = _Names.of(os.path.join(root, below))
        pictures += [below + name for name in names.pictures]
        others += [below + name for name in names.others]
        if depth is not None and below.count("/") >= depth:
            continue
        folders += [f"{below}{name}/" for name in reversed(names.folders)]
        links += [f"{below}{name}/" for name in names.links]
    return pictures, others, again


class _Names(NamedTuple):
    """What is somebody's in one folder, by kind, each sorted."""

    pictures: list[str]
    others: list[str]
    folders: list[str]
    links: list[str]  # to folders

    @classmethod
    def of(cls, folder: str) -> "_Names":
        with _entries(folder) as entries:
            found = list(entries)
        pictures = [
            name
            for entry in found
            if (name := entry.name).endswith(_USUAL)
            and name[0] != "."
            and not entry.is_dir(follow_symlinks=False)
        ]
        names = cls(pictures, [], [], [])
        if len(pictures) < len(found):
            usual = frozenset(pictures)
            for entry in found:
                name = entry.name
                if name in usual or is_nobodys(name):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    names.folders.append(name)
                elif is_picture(name):  # a link too, without a look behind it
                    pictures.append(name)
                elif _is_folder(entry):
                    names.links.append(name)
                else:
                    names.others.append(name)
        for kind in names:
            kind.sort()
        return names
