"""Finds the folders of the splits by their usual names, and those that were meant to be one."""

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from etils import epath

from ega_jax.data.files.listing import is_nobodys, readable
from ega_jax.data.source import SPLITS, DataError

# The usual names, in any case; the first is the field's.
NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
_SPLIT_OF = {name: split for split, names in NAMES.items() for name in names}
_NAME = "|".join(_SPLIT_OF)
_THINGS = "data|images?|imgs?|pictures?|photos?|files?"
# Names with something else to them that says no more, such as train2017, test_images, images-val.
_ALIKE = re.compile(
    rf"(?:(?:{_THINGS})[ ._-])?({_NAME})(?:[ ._-]?(?:\d+|sets?|split|{_THINGS}))?", re.IGNORECASE
)
# Names with anything else. One may be a class, steam_train; seg_train beside seg_test is none.
_WITH_MORE = re.compile(rf"(.*[ ._-])?({_NAME})([ ._-].*)?", re.IGNORECASE)


def split_folders(root: str | os.PathLike) -> dict[str, str]:
    """Finds which splits a folder holds.

    Args:
      root: local or in a bucket.

    Returns:
      The folder of each split that there is, by the field's name, in the field's order.

    Raises:
      DataError: a split has two folders, or a folder looks like a split and would not be used.
    """
    root = epath.Path(root)
    found: dict[str, str] = {}
    names = sorted(folder_names(root))
    for name in names:
        split = _SPLIT_OF.get(name.lower())
        if split is None:
            continue
        if split in found:
            raise DataError(
                f"{root} holds {os.path.basename(found[split])!r} and {name!r}, both the usual "
                f"name of the {split} split; keep one of them"
            )
        found[split] = os.fspath(root / name)
    for name, split in _alike(names):
        raise DataError(
            f"{root / name} looks like the folder of a split, but is not named as one: rename "
            f"it to {split!r} (understood are {_names()}, in any case), or move it away"
        )
    return {split: found[split] for split in SPLITS if split in found}


def folder_names(root: epath.Path) -> list[str]:
    """Lists the names of the folders in a folder that are somebody's; none if there is none."""
    if not root.is_dir():
        return []
    with readable(root):
        return [path.name for path in root.iterdir() if not is_nobodys(path.name) and path.is_dir()]


def metadata_folder(metadata: str | os.PathLike, split: str) -> str | None:
    """Finds the folder of a split's metadata; None if there is none and it is not `train`.

    Raises:
      DataError: as `split_folders`, or there is no folder of the training split.
    """
    root = epath.Path(metadata)
    if not root.is_dir():
        raise DataError(f"no metadata folder {os.fspath(root)!r}; set --config.data.metadata")
    folders = split_folders(root)
    if split in folders:
        return folders[split]
    if split != "train":
        return None
    held = ", ".join(sorted(path.name for path in root.iterdir())[:8]) or "nothing"
    raise DataError(
        f"{root} holds no folder train with image_ids.txt and class_labels.txt, but {held}; "
        "write one, or correct --config.data.metadata"
    )


def inside_classes(paths: Sequence[str]) -> tuple[str, ...]:
    """Finds splits where class folders are expected to hold pictures, or more folders of a class.

    Args:
      paths: of pictures, `class/...`, relative to the folder of the classes.

    Returns:
      Folders `class/split`, one for each split; none unless there are several splits.
    """
    found: dict[str, str] = {}
    for path in paths:
        parts = path.split("/", 2)
        split = _SPLIT_OF.get(parts[1].lower()) if len(parts) > 2 else None
        if split is not None:
            found.setdefault(split, "/".join(parts[:2]))
    return tuple(found.values()) if len(found) > 1 else ()


def _alike(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Finds names that look like those of splits and are none, and the splits that are meant."""
    matches = {name: _WITH_MORE.fullmatch(name) for name in names if name.lower() not in _SPLIT_OF}
    splits_of = defaultdict(set)  # by what else there is to a name
    for match in filter(None, matches.values()):
        splits_of[match[1], match[3]].add(_SPLIT_OF[match[2].lower()])
    for name, match in matches.items():
        if alone := _ALIKE.fullmatch(name):
            yield name, _SPLIT_OF[alone[1].lower()]
        elif match and len(splits_of[match[1], match[3]]) > 1:
            yield name, _SPLIT_OF[match[2].lower()]


def _names() -> str:
    return "; ".join(f"{', '.join(names)} for {split}" for split, names in NAMES.items())
