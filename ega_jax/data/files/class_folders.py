"""Makes data sets without annotation of one folder per class."""

import os
import pathlib
from collections.abc import Sequence

import numpy as np

from ega_jax.data.files.image_files import file_loader, read_headers
from ega_jax.data.source import SPLITS, DataError, Source

EXTENSIONS = (".jpg", ".jpeg", ".png")


def tree_source(
    root: str | os.PathLike,
    *,
    name: str | None = None,
    class_names: Sequence[str] | None = None,
    check_files: bool = True,
    apply_exif: bool = True,
) -> Source:
    """Makes a data set without annotation of `root/<class>/<image>`.

    Args:
      root: a folder with one folder per class; images end in .jpg, .jpeg or .png, in any case.
        Hidden folders and files, and files of other kinds, are left alone.
      name: for messages; None: the folder's.
      class_names: the classes in the order of their labels, those of the training split for any
        other; None: the sorted names of the folders.
      check_files: as in `folder.folder_source`.
      apply_exif: as in `folder.folder_source`.

    Returns:
      The split, sorted by class folder and file name.

    Raises:
      DataError: no class folder, one without images or not in `class_names`, or unusable files.
    """
    root = pathlib.Path(root)
    name = name or root.resolve().name
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; expected {root}/<class>/<image>.jpg")
    folders = sorted(
        entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    )
    if not folders:
        raise DataError(f"{root} has no class folders; expected {root}/<class>/<image>.jpg")
    class_names = tuple(folders if class_names is None else class_names)

    image_ids, labels = [], []
    for folder in folders:
        if folder not in class_names:
            raise DataError(
                f"{root / folder}: no such class; the classes are {', '.join(class_names)}. Rename "
                "or remove the folder, or train with it"
            )
        files = sorted(
            file
            for file in os.listdir(root / folder)
            if file.lower().endswith(EXTENSIONS) and not file.startswith(".")
        )
        if not files:
            raise DataError(
                f"{root / folder} holds no {', '.join(EXTENSIONS)} file; add images or remove it"
            )
        image_ids += [f"{folder}/{file}" for file in files]
        labels += [class_names.index(folder)] * len(files)

    paths = [os.path.join(root, image_id) for image_id in image_ids]
    image_sizes, orientations = None, None
    if check_files:
        image_sizes, orientations = read_headers(paths, name, apply_exif)
    return Source(
        name=name,
        image_ids=tuple(image_ids),
        labels=np.array(labels, np.int32),
        class_names=class_names,
        load_image=file_loader(paths, orientations),
        image_sizes=image_sizes,
    )


def tree_folder(root: str, split: str) -> str | None:
    """Finds the folder of a split's class folders; see `folder.open_split`.

    Raises:
      DataError: there are folders of other splits, but none of `train`.
    """
    folder = os.path.join(root, split)
    if os.path.isdir(folder):
        return folder
    if split != "train":
        return None
    if any(os.path.isdir(os.path.join(root, other)) for other in SPLITS):
        raise DataError(f"{root} holds test images but no folder train")
    return root  # just class folders: all of it is for training
