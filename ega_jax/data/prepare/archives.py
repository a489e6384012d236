"""Reads tar and zip archives without trusting them: members are looked at, never unpacked as such.

What an archive says about where a file belongs is only a name here. Whoever takes a member decides
on its place, and gets its bytes, of which there is a limit.
"""

import contextlib
import dataclasses
import gzip
import pathlib
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from ega_jax.data.files.listing import path_fault
from ega_jax.data.source import DataError

MAX_BYTES = 2**26  # of one file, packed archives within archives aside
_SUFFIXES = (".tar", ".tgz", ".tar.gz", ".zip")
# What the libraries raise on damage; RuntimeError: encrypted, NotImplementedError: odd compression.
_DAMAGE = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError,
    RuntimeError, NotImplementedError, ValueError,
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Member:
    """A file in an archive.

    Attributes:
      name: as the archive gives it.
      fault: why it must not be used, e.g. `is a symbolic link`; empty if nothing speaks against it.
      read: gives its bytes, until the next member is asked for; raises `DataError` on damage.
    """

    name: str
    fault: str
    read: Callable[[], bytes]

    @property
    def parts(self) -> tuple[str, ...]:
        """Folders and file name."""
        return pathlib.PurePosixPath(self.name).parts


def is_archive(path: str) -> bool:
    """Says by its name whether a file is an archive that `members` reads."""
    return path.lower().endswith(_SUFFIXES)


def members(path: str) -> Iterator[Member]:
    """Goes through the files of an archive in their order, with bounded memory.

    Tar archives, compressed or not, may hold further ones, as ILSVRC's does: those are gone through
    in place, one level deep, if they are not compressed.

    Args:
      path: the archive.

    Yields:
      Its files and whatever else is neither folder nor file; the latter with a `fault`.

    Raises:
      DataError: it is damaged or cut off. All that comes before has been yielded by then.
    """
    with _damage_named(path):
        if path.lower().endswith(".zip"):
            with zipfile.ZipFile(path) as archive:
                for entry in archive.infolist():
                    if not entry.is_dir():
                        yield _zip_member(archive, entry, path)
        else:
            with open(path, "rb") as file:
                compressed = file.read(2) == b"\x1f\x8b"
                file.seek(0)
                plain = gzip.GzipFile(fileobj=file) if compressed else file
                with _open_tar(plain) as archive:
                    yield from _tar_members(archive, path, nested=True)


def _zip_member(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: str) -> Member:
    kind = stat.S_IFMT(entry.external_attr >> 16)  # 0 where the writer knew no Unix
    fault = path_fault(entry.orig_filename) or _size_fault(entry.file_size)
    if kind not in (0, stat.S_IFREG):
        fault = "is a symbolic link" if kind == stat.S_IFLNK else "is no plain file"

    def read() -> bytes:
        with _damage_named(path), archive.open(entry) as file:
            return file.read(MAX_BYTES)

    return Member(entry.filename, fault, read)


class _Bounded:
    """A file of which nobody may read much at once, as tarfile would do with a huge header."""

    def __init__(self, file: Any) -> None:
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable
        self._read = file.read

    def read(self, size: int) -> bytes:
        if size > MAX_BYTES + tarfile.BLOCKSIZE:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._read(size)


def _open_tar(file: Any) -> tarfile.TarFile:
    bounded: Any = _Bounded(file)
    return tarfile.open(fileobj=bounded, mode="r:")


def _tar_members(archive: tarfile.TarFile, path: str, nested: bool) -> Iterator[Member]:
    while (entry := archive.next()) is not None:
        # Else it keeps every member that it has passed; the type hints lack the attribute.
        archive.members.clear()  # type: ignore[attr-defined]
        if entry.isdir():
            continue
        if nested and entry.isreg() and entry.name.endswith(".tar"):
            try:
                with _open_tar(archive.extractfile(entry)) as inner:
                    yield from _tar_members(inner, f"{path}/{entry.name}", nested=False)
            except _DAMAGE as error:
                yield Member(entry.name, f"is damaged or cut off ({error})", bytes)
        else:
            yield _tar_member(archive, entry, path)


def _tar_member(archive: tarfile.TarFile, entry: tarfile.TarInfo, path: str) -> Member:
    fault = path_fault(entry.name) or _size_fault(entry.size)
    if not entry.isreg():
        kind = "symbolic link" if entry.issym() else "hard link" if entry.islnk() else "device"
        fault = f"is a {kind}"

    def read() -> bytes:
        with _damage_named(path), archive.extractfile(entry) as file:
            return file.read(MAX_BYTES)

    return Member(entry.name, fault, read)


def _size_fault(size: int) -> str:
    return f"has {size} bytes, the limit is {MAX_BYTES}" if size > MAX_BYTES else ""


@contextlib.contextmanager
def _damage_named(path: str) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        if isinstance(error, DataError):  # a ValueError too
            raise
        raise DataError(f"{path} is damaged or cut off ({error}); download it again") from error
