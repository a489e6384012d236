"""What a published data set consists of, and how to know its files wherever they lie."""

import dataclasses
import os
import pathlib
import re
from collections.abc import Callable, Mapping

from ega_jax.data.files.listing import path_fault, walk
from ega_jax.data.files.metadata import MASKS_FILE, Metadata, read_metadata
from ega_jax.data.files.text_lines import read_text
from ega_jax.data.files.write_metadata import METADATA_FILES
from ega_jax.data.prepare import archives
from ega_jax.data.source import DataError

FIELD = "https://github.com/clovaai/wsolevaluation"

Size = tuple[int, int]  # width, height
Sizes = Mapping[str, Size]


@dataclasses.dataclass
class Split:
    """One split of a published data set; paths are those below the image folder.

    Attributes:
      published: number of images that the owners publish.
      where: what to get and where, for messages.
      images: the images, with their sizes where the metadata says them.
      masks: the masks, each with its image.
      pattern: matches whole paths of images that no list has; None: `images` has all.
      texts: makes the metadata files, by name, of the sizes of the images that were found.
      problem: why nothing can be made of the split; empty if something can.
      remedy: what to do where images are missing; empty: get them from `where`.
    """

    published: int
    where: str
    images: dict[str, Size | None] = dataclasses.field(default_factory=dict)
    masks: dict[str, str] = dataclasses.field(default_factory=dict)
    pattern: re.Pattern | None = None
    texts: Callable[[Sizes], dict[str, str]] = lambda sizes: {}
    problem: str = ""
    remedy: str = ""


class DataSet:
    """A data set whose images have in every copy the same last few folders and names.

    Attributes:
      name: of the data set, for messages.
      splits: `train`, `val` and `test`.
    """

    name: str
    num_classes: int
    published: dict[str, int]  # images of each split
    where: dict[str, str]  # to get each split

    def __init__(self, source: str, metadata: str | None, out: str) -> None:
        """Finds out what there should be.

        Args:
          source: the folder with what the owners distribute.
          metadata: the folder that holds the field's `train`, `val`, `test`; None: there is none.
          out: the folder in which the data set is laid out.

        Raises:
          DataError: a list cannot be used.
        """
        self.source, self.metadata, self.out = source, metadata, out
        self.splits = {split: self.plan(split) for split in self.published}

    def place(self, parts: tuple[str, ...]) -> str:
        """Returns where a file of this name would belong below the image folder, empty: nowhere."""
        raise NotImplementedError

    def plan(self, split: str) -> Split:
        """Makes a split of the field's metadata, or says in `problem` that there is none."""
        base = Split(self.published[split], self.where[split])
        if self.metadata is None or not os.path.isdir(folder := os.path.join(self.metadata, split)):
            base.problem = f"no metadata: get the folder metadata/{split} from {FIELD}"
            return base
        return _listed(base, read_metadata(folder, self.num_classes))

    def contradiction(self, split: str, sizes: Sizes) -> str:
        """Says what is wrong with a split that only all of its images together tell, if anything.

        Args:
          split: a split of which all images were found.
          sizes: of all images and masks that were found.
        """
        del split, sizes
        return ""


def read_texts(source: str, names: re.Pattern, archive_names: re.Pattern) -> dict[str, str]:
    """Reads small text files, by their names, wherever they lie below a folder or in its archives.

    Args:
      source: the folder.
      names: matches the whole names of the files.
      archive_names: found in the names of the archives that may hold them.

    Raises:
      DataError: an archive is damaged or a file is no text.
    """
    texts, packed = {}, []
    for parts, path in walk(source):
        if names.fullmatch(parts[-1]):
            texts[parts[-1]] = _text(pathlib.Path(path).read_bytes(), path)
        elif archives.is_archive(path) and archive_names.search(parts[-1]):
            packed.append(path)
    for path in packed:
        for member in archives.members(path):
            name = os.path.basename(member.name)
            if names.fullmatch(name) and name not in texts and not member.fault:
                texts[name] = _text(member.read(), f"{path}/{member.name}")
    return texts


def table(text: str, columns: int, name: str) -> dict[str, list[str]]:
    """Splits lines of `key value ...` at white space.

    Args:
      text: the lines.
      columns: how many there must be, with the key.
      name: of the file, for messages.

    Raises:
      DataError: a line has other columns or its key appears again.
    """
    rows: dict[str, list[str]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        key, *values = line.split() or [""]
        if len(values) != columns - 1 or key in rows:
            raise DataError(
                f"{name}, line {number}: {line!r} does not have {columns} columns or repeats an "
                "earlier line; get the file again"
            )
        rows[key] = values
    return rows


def clip(box: tuple[int, int, int, int], size: Size) -> tuple[int, int, int, int]:
    """Moves the corners of an xyxy box to pixels of the image, as in the field's metadata."""
    return tuple(min(max(at, 0), limit - 1) for at, limit in zip(box, size * 2, strict=True))  # type: ignore[return-value]


def _listed(split: Split, metadata: Metadata) -> Split:
    """Fills in what the metadata lists."""
    for path in (path for row in metadata.masks or () for path in row):
        if fault := path_fault(path):
            raise DataError(f"{metadata.folder}: path {path!r} {fault}; correct it")
    sizes = [None] * len(metadata.image_ids)
    if metadata.image_sizes is not None:
        sizes = [tuple(size) for size in metadata.image_sizes.tolist()]
    split.images = dict(zip(metadata.image_ids, sizes, strict=True))
    if metadata.masks is not None:
        split.masks = {
            path: image
            for image, masks, ignore in zip(
                metadata.image_ids, metadata.masks, metadata.ignore_masks, strict=True
            )
            for path in (*masks, ignore)
            if path
        }
    texts = {
        name: read_text(metadata.folder / name)
        for name in (*METADATA_FILES, MASKS_FILE)
        if (metadata.folder / name).exists()
    }
    split.texts = lambda sizes: texts
    return split


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not a UTF-8 text file: {error}") from error
