"""Makes data sets without annotation of one folder per class."""

import bisect
import logging
import os
from collections.abc import Sequence

import numpy as np

from ega_jax.data.files import splits
from ega_jax.data.files.headers import REFUSE, check_images
from ega_jax.data.files.image_files import file_loader
from ega_jax.data.files.listing import (
    EXTENSIONS,
    NOT_UTF8,
    describe_left_out,
    list_folder,
    name_fault,
    printable,
    report_left_out,
    subfolders,
)
from ega_jax.data.source import DataError, Source

logger = logging.getLogger(__name__)


def tree_source(
    root: str | os.PathLike,
    *,
    name: str | None = None,
    class_names: Sequence[str] | None = None,
    check_files: bool = True,
    apply_exif: bool = True,
    on_bad: str = REFUSE,
) -> Source:
    """Makes a data set without annotation of `root/<class>/<image>`.

    Args:
      root: a folder with one folder per class; images lie in it or in folders below it and end as
        `listing.EXTENSIONS` says. What else there is, is counted and named in the log.
      name: for messages; None: the folder's.
      class_names: the classes in the order of their labels, those of the training split for any
        other; None: the sorted names of the folders.
      check_files: as in `folder.folder_source`.
      apply_exif: as in `folder.folder_source`.
      on_bad: as in `folder.folder_source`.

    Returns:
      The split, sorted by class folder and path below it.

    Raises:
      DataError: no class folder, one without images or not in `class_names`, or unusable files.
    """
    root = os.fspath(root)
    name = name or os.path.basename(os.path.realpath(root))
    if not os.path.isdir(root):
        raise DataError(f"{root} is not a folder; expected {root}/<class>/<image>.jpg")
    folders, listing = subfolders(root), list_folder(root)
    loose = [(file, "lies in no class folder") for file in listing.pictures if "/" not in file]
    left_out = [*loose, *listing.left_out]
    if not folders:
        held = f": {describe_left_out(left_out)}" if left_out else ""
        raise DataError(
            f"{root} has no class folders{held}; expected {root}/<class>/<image>.jpg, a folder for "
            "each class with its images"
        )
    if inside := splits.inside_classes(listing.pictures):
        raise DataError(
            f"{root}: {' and '.join(inside)} look like splits inside of class folders, and would "
            f"all be of one; put the class folders of each split into a folder of its own, "
            f"{root}/train/<class>, or give other names to what are no splits"
        )
    class_names = tuple(folders if class_names is None else class_names)
    # No result could name these.
    unnameable = [printable(folder) for folder in folders if name_fault(folder)]
    unnameable += [file for file, reason in left_out if reason == NOT_UTF8 and "/" in file]
    if unnameable:
        raise DataError(f"{root}: {unnameable[0]} {NOT_UTF8}")

    image_ids: list[str] = []
    labels: list[int] = []
    for folder in folders:
        path = os.path.join(root, folder)
        if folder not in class_names:
            raise DataError(
                f"{path}: no such class; the classes are {', '.join(class_names)}. Rename or "
                "remove the folder, or train with it"
            )
        found = _below(listing.pictures, folder)
        if not found:
            others = [item for item in left_out if f"{item[0]}/".startswith(f"{folder}/")]
            held = f"; {describe_left_out(others)}" if others else ""
            raise DataError(
                f"{path} holds no {', '.join(EXTENSIONS)} file; add images or remove it{held}"
            )
        image_ids += found
        labels += [class_names.index(folder)] * len(found)
    report_left_out(root, left_out)

    paths = [os.path.join(root, image_id) for image_id in image_ids]
    headers = check_images(paths, name, apply_exif, on_bad) if check_files else None
    return Source(
        name=name,
        image_ids=tuple(image_ids),
        labels=np.array(labels, np.int32),
        class_names=class_names,
        load_image=file_loader(paths, headers),
        image_sizes=None if headers is None else headers.sizes,
        unusable={} if headers is None else headers.faults_by(image_ids),
    )


def _below(files: Sequence[str], folder: str) -> Sequence[str]:
    """Takes those of sorted paths that lie below a folder."""
    first, after = f"{folder}/", f"{folder}{chr(ord('/') + 1)}"
    return files[bisect.bisect_left(files, first) : bisect.bisect_left(files, after)]


def tree_folder(root: str, split: str) -> str | None:
    """Finds the folder of a split's class folders; see `folder.open_split`.

    Raises:
      DataError: there are folders of other splits, but none of `train`; or `splits.split_folders`
        finds something wrong with their names.
    """
    folders = splits.split_folders(root)
    if split == "train" and folders:
        others = set(subfolders(root)) - {os.path.basename(path) for path in folders.values()}
        if others:
            logger.warning(
                "%s: folders beside the splits are not looked at: %s", root, ", ".join(others)
            )
    if split in folders:
        folder = folders[split]
        if not subfolders(folder) and len(subfolders(root)) > len(folders):
            raise DataError(
                f"{folder} has no class folders and lies beside {', '.join(subfolders(root))}; if "
                f"it is a class, put all class folders into a folder {root}/train; if it is the "
                f"{split} split, give it a folder for each class"
            )
        return folder
    if split != "train":
        return None
    if folders:
        raise DataError(
            f"{root} holds {', '.join(map(os.path.basename, folders.values()))} but no folder "
            f"train; put the class folders to train with into {root}/train"
        )
    return root  # just class folders: all of it is for training
