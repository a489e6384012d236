"""Finds the folders of the splits by their usual names, and those that were meant to be one."""

import os
import re

from etils import epath

from ega_jax.data.files.listing import is_nobodys
from ega_jax.data.source import SPLITS, DataError

# The usual names, in any case; the first is the field's.
NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
_SPLIT_OF = {name: split for split, names in NAMES.items() for name in names}
# Names with something else to them, such as train2017, test_images, val-set.
_ALIKE = re.compile(
    rf"({'|'.join(_SPLIT_OF)})[ ._-]?(\d+|sets?|split|data|images?|imgs?|pictures?|photos?|files?)",
    re.IGNORECASE,
)


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
    alike = []
    for name in sorted(folder_names(root)):
        split = _SPLIT_OF.get(name.lower())
        if split is None:
            if _ALIKE.fullmatch(name):
                alike.append(name)
        elif split in found:
            raise DataError(
                f"{root} holds {os.path.basename(found[split])!r} and {name!r}, both the usual "
                f"name of the {split} split; keep one of them"
            )
        else:
            found[split] = os.fspath(root / name)
    if alike:
        split = _SPLIT_OF[_ALIKE.fullmatch(alike[0])[1].lower()]
        raise DataError(
            f"{root / alike[0]} looks like the folder of a split, but is not named as one: rename "
            f"it to {split!r} (understood are {_names()}, in any case), or move it away"
        )
    return {split: found[split] for split in SPLITS if split in found}


def folder_names(root: epath.Path) -> list[str]:
    """Lists the names of the folders in a folder that are somebody's; none if there is none."""
    if not root.is_dir():
        return []
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


def _names() -> str:
    return "; ".join(f"{', '.join(names)} for {split}" for split, names in NAMES.items())
