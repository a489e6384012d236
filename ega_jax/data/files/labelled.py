"""Finds pictures whose class is known: in class folders, by a CSV file, or by metadata."""

import csv
import dataclasses
import os
from collections.abc import Sequence

from ega_jax.data.files import splits
from ega_jax.data.files.classes import read_split
from ega_jax.data.files.pictures import list_pictures
from ega_jax.data.files.text_lines import read_lines
from ega_jax.data.source import DataError

_HEADERS = (["image", "class"], ["image", "class", "split"])


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Pictures with their classes.

    Attributes:
      root: the folder that all of them are in or below.
      ids: N paths relative to it, unique.
      labels: N labels.
      splits: N names, as the field calls the splits; empty where there are none.
      left_out: other files that were found, and why they are none of these.
    """

    root: str
    ids: tuple[str, ...]
    labels: tuple[int, ...]
    splits: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...] = ()

    def path(self, index: int) -> str:
        """Returns where a picture is."""
        return os.path.join(self.root, self.ids[index])


def list_labelled(
    images: str | os.PathLike,
    class_names: Sequence[str],
    metadata: str | os.PathLike | None = None,
) -> Labelled:
    """Finds pictures and their classes.

    Args:
      images: a folder of class folders, or of `train`, `val` and `test` with class folders; a CSV
        file of lines `image,class` or `image,class,split`, paths relative to its folder, with or
        without a header; or, with `metadata`, the folder that its paths start from.
      class_names: of the trained model, in the order of the labels.
      metadata: folder of a split's text files, or of those of several splits.

    Raises:
      DataError: there is no picture, or one of no class of the model; names folder or line.
    """
    images = os.path.expanduser(images)
    if metadata is not None:
        return _of_metadata(images, class_names, os.path.expanduser(metadata))
    if images.lower().endswith(".csv"):
        return _of_csv(images, class_names)
    return _of_folders(images, class_names)


def _of_folders(root: str, class_names: Sequence[str]) -> Labelled:
    if not os.path.isdir(root):
        raise DataError(
            f"no folder {root}; give a folder of class folders with --images, a CSV file of lines "
            "image,class, or a folder of pictures and their --metadata"
        )
    split_of = {os.path.basename(path): split for split, path in splits.split_folders(root).items()}
    listing = list_pictures(root)
    found, left_out = [], list(listing.left_out)
    for image_id in listing.ids:
        folders = image_id.split("/")[:-1]
        split = ""
        if split_of and folders and folders[0] in split_of:
            split = split_of[folders.pop(0)]
        elif split_of:
            left_out.append((image_id, "lies in no folder of a split"))
            continue
        if not folders:
            left_out.append((image_id, "lies in no class folder"))
            continue
        place = os.path.join(root, image_id)
        found.append((image_id, _label(folders[0], class_names, place), split))
    if not found:
        raise DataError(f"{root} has no class folders; expected {root}/<class>/<image>.jpg")
    ids, labels, names = zip(*found, strict=True)
    return Labelled(root, ids, labels, names, tuple(left_out))


def _of_csv(path: str, class_names: Sequence[str]) -> Labelled:
    if not os.path.isfile(path):
        raise DataError(f"no file {path}; give a CSV file of lines image,class with --images")
    reader = csv.reader(read_lines(path))
    try:
        rows = list(reader)
    except csv.Error as error:
        raise DataError(
            f"{path}, line {reader.line_num}: no line of a CSV file ({error}); is a "
            "quote left open?"
        ) from error
    found: dict[str, tuple[int, str]] = {}
    for number, row in enumerate(rows, start=1):
        where = f"{path}, line {number}"
        row = [cell.strip() for cell in row]
        if not any(row) or (number == 1 and [cell.lower() for cell in row] in _HEADERS):
            continue
        if len(row) not in (2, 3) or not row[0]:
            raise DataError(f"{where}: {','.join(row)!r} is not image,class or image,class,split")
        image_id = os.path.normpath(row[0].replace("\\", "/"))
        if os.path.isabs(image_id) or image_id.startswith(".."):
            raise DataError(
                f"{where}: {row[0]} is not a path below the folder of the file; move the file to "
                "the folder that all pictures are below"
            )
        if image_id in found:
            raise DataError(f"{where}: image {row[0]!r} again; keep one of the lines")
        split = row[2] if len(row) == 3 else ""
        if split and split not in splits.NAMES:
            raise DataError(f"{where}: split {split!r}; write {', '.join(splits.NAMES)} or nothing")
        found[image_id] = _label(row[1], class_names, where), split
    if not found:
        raise DataError(f"{path} lists no picture; write lines image,class")
    labels, names = zip(*found.values(), strict=True)
    return Labelled(os.path.dirname(path) or ".", tuple(found), labels, names)


def _of_metadata(root: str, class_names: Sequence[str], metadata: str) -> Labelled:
    if not os.path.isdir(root):
        raise DataError(f"no folder {root}; give with --images what the metadata's paths are below")
    folders = splits.split_folders(metadata)
    if os.path.isfile(os.path.join(metadata, "image_ids.txt")):
        folders = {"": metadata}
    if not folders:
        raise DataError(f"{metadata} has neither image_ids.txt nor a folder train, val or test")
    ids: list[str] = []
    labels: list[int] = []
    names: list[str] = []
    for split, folder in folders.items():
        lines, _ = read_split(folder, class_names, None, class_names)
        ids += lines.image_ids
        labels += lines.labels.tolist()
        names += [split] * len(lines.image_ids)
    if len(set(ids)) < len(ids):
        twice = next(one for i, one in enumerate(ids) if one in ids[:i])
        raise DataError(f"{metadata}: {twice!r} is in two splits; take it out of one")
    return Labelled(root, tuple(ids), tuple(labels), tuple(names))


def _label(name: str, class_names: Sequence[str], where: str) -> int:
    if name not in class_names:
        some = ", ".join(class_names[:20]) + (", ..." if len(class_names) > 20 else "")
        raise DataError(f"{where}: {name!r} is no class of the model; its classes are {some}")
    return class_names.index(name)
