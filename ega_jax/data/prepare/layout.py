"""Finds the files of a published data set, looks at each, and puts the good ones in their place."""

import collections
import concurrent.futures
import functools
import io
import itertools
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from typing import BinaryIO

from ega_jax.data.files.headers import read_header
from ega_jax.data.files.listing import is_nobodys, walk
from ega_jax.data.prepare import archives
from ega_jax.data.prepare.published import DataSet, Size
from ega_jax.data.source import DataError

logger = logging.getLogger(__name__)

UNREADABLE, WRONG_SIZE = "unreadable", "wrong size"

_PART = ".part"  # ends the names of files that are not finished
_THREADS = 16  # looking at files waits for the disk more than it computes
_AT_ONCE = 4096  # files given to them together
_LOG_EVERY = 50_000  # files


class Layout:
    """A data set as far as its files have been found.

    Files are images or masks, named by their paths below the folder that they are laid out in. A
    row is what they are counted by: a split, or `<split> masks`.

    Attributes:
      sizes: width and height of each good file.
      faults: of those of which only bad copies were found, `UNREADABLE` or `WRONG_SIZE`, and why.
      found: number of good files in each row.
      refused: members of archives that were not even looked at, and why.
      damaged: archives that could not be read to their ends, and why.
    """

    def __init__(self, data: DataSet, out: str, write: bool) -> None:
        """Starts with nothing found.

        Args:
          data: says what there should be.
          out: the folder to lay it out in.
          write: False: only look.
        """
        self.data, self.out, self.write = data, out, write
        self.sizes: dict[str, Size] = {}
        self.faults: dict[str, tuple[str, str]] = {}
        self.found: collections.Counter[str] = collections.Counter()
        self.refused: list[str] = []
        self.damaged: list[str] = []
        self._rows: dict[str, str] = {}
        for split, plan in data.splits.items():
            self._rows.update(dict.fromkeys(plan.images, split))
            self._rows.update(dict.fromkeys(plan.masks, f"{split} masks"))

    def fill(self, source: str) -> None:
        """Takes what is in its place already, then what lies in a folder, then its archives.

        Raises:
          OSError: a file cannot be written.
        """
        if os.path.isdir(self.out):
            self._take_files(self.out, "/".join, in_place=True)
        for path in self._take_files(source, self.data.place, in_place=False):
            if self.complete():
                return
            logger.info("reading %s", path)
            try:
                for member in archives.members(path):
                    self._take_member(member, path)
            except DataError as error:
                self.damaged.append(str(error))

    def complete(self) -> bool:
        """Says whether all has been found that can be."""
        return all(
            self.found[split] >= (plan.published if plan.pattern else len(plan.images))
            and self.found[f"{split} masks"] == len(plan.masks)
            for split, plan in self.data.splits.items()
            if not plan.problem
        )

    def row_of(self, target: str) -> str | None:
        """Returns the row that a file counts in, None if it is not wanted."""
        if target in self._rows:
            return self._rows[target]
        for split, plan in self.data.splits.items():
            if plan.pattern and plan.pattern.fullmatch(target):
                return split
        return None

    def _take_files(
        self, root: str, place: Callable[[tuple[str, ...]], str], in_place: bool
    ) -> list[str]:
        """Takes the files below a folder that are wanted; returns the archives among them."""
        packed: list[str] = []
        wanted = self._wanted_files(root, place, packed)
        with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
            while batch := list(itertools.islice(wanted, _AT_ONCE)):
                checks = pool.map(lambda one: self._examine_path(*one), batch)
                for (target, path), (size, fault) in zip(batch, checks, strict=True):
                    put = None if in_place else functools.partial(_link_or_copy, path)
                    self._take(target, size, fault, put)
        return packed

    def _wanted_files(
        self, root: str, place: Callable[[tuple[str, ...]], str], packed: list[str]
    ) -> Iterator[tuple[str, str]]:
        for parts, path in walk(root):
            if archives.is_archive(path):
                packed.append(path)
                continue
            target = place(parts)
            if target not in self.sizes and self.row_of(target):
                yield target, path

    def _take_member(self, member: archives.Member, path: str) -> None:
        if member.fault:
            self.refused.append(f"{path}: {member.name!r} {member.fault}")
            return
        if any(map(is_nobodys, member.parts)):
            return
        target = self.data.place(member.parts)
        if target in self.sizes or not self.row_of(target):
            return
        try:
            data = member.read()
        except DataError as error:
            self._take(target, None, (UNREADABLE, str(error)), None)
        else:
            put = functools.partial(_write, data)
            self._take(target, *self._examine(target, io.BytesIO(data)), put)

    def _examine_path(self, target: str, path: str) -> tuple[Size | None, tuple[str, str] | None]:
        try:
            if os.path.getsize(path) > archives.MAX_BYTES:
                return None, (UNREADABLE, f"has more than {archives.MAX_BYTES} bytes")
            with open(path, "rb") as file:
                return self._examine(target, file)
        except OSError as error:
            return None, (UNREADABLE, f"cannot be read ({error.strerror or error})")

    def _examine(self, target: str, file: BinaryIO) -> tuple[Size | None, tuple[str, str] | None]:
        """Returns the size of an image, or its fault."""
        header = read_header(file)
        if isinstance(header, str):
            return None, (UNREADABLE, header)
        size = header[:2]  # as stored, which is what the field's sizes, boxes and masks are for
        wanted = self.data.splits[self.row_of(target).split()[0]].images.get(target)
        if wanted not in (None, size):
            message = "is {} x {}, but {} x {} in image_sizes.txt".format(*size, *wanted)
            return None, (WRONG_SIZE, message)
        return size, None

    def _take(
        self,
        target: str,
        size: Size | None,
        fault: tuple[str, str] | None,
        put: Callable[[str], None] | None,
    ) -> None:
        """Takes note of a file, and puts it in its place if it is good and not there."""
        if target in self.sizes:  # there were two
            return
        if fault:
            self.faults.setdefault(target, fault)
            return
        if put and self.write:
            path = os.path.join(self.out, target)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            _remove(path + _PART)  # never written through: it may be a link to somebody's file
            put(path + _PART)
            os.replace(path + _PART, path)
        self.faults.pop(target, None)
        self.sizes[target] = size
        self.found[self.row_of(target)] += 1
        if len(self.sizes) % _LOG_EVERY == 0:
            logger.info("%d files", len(self.sizes))


def _remove(path: str) -> None:
    try:
        os.remove(path)
    except FileNotFoundError:
        pass


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(os.path.realpath(source), target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target)


def _write(data: bytes, target: str) -> None:
    with open(target, "wb") as file:
        file.write(data)
