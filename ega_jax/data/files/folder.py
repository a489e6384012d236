"""Makes data sets of image folders: with the field's metadata files, or one folder per class."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ega_jax.data.files.class_folders import tree_folder, tree_source
from ega_jax.data.files.image_files import file_loader, read_headers
from ega_jax.data.files.masks import check_masks_exist, mask_loader, mask_paths
from ega_jax.data.files.metadata import Metadata, check_boxes, read_metadata
from ega_jax.data.source import DataError, Source


def open_split(
    root: str,
    split: str,
    *,
    metadata: str = "",
    masks: str = "",
    class_names: Sequence[str] | None = None,
    num_classes: int | None = None,
    check_files: bool = True,
    apply_exif: bool = True,
) -> Source | None:
    """Opens a split of a data set in folders.

    Args:
      root: the folder of the images; without metadata that of `train`, `val` and `test`, which hold
        class folders, or of the class folders themselves, which are then all for training.
      split: `train`, `val` or `test`.
      metadata: the folder of the splits' metadata; empty: there is none.
      masks: as in `folder_source`; empty: the folder of the images.
      class_names: the classes of the training split or of a trained model; None: the data set's.
      num_classes: what their number should be, not looked at if they are given; None: any.
      check_files: as in `folder_source`.
      apply_exif: as in `folder_source`.

    Returns:
      The split; None if it does not exist and is not `train`.

    Raises:
      DataError: the data cannot be used; names the file or the field.
    """
    if not os.path.isdir(root):
        raise DataError(f"no image folder {root!r}; set --config.data.root")
    common: dict[str, Any] = {
        "class_names": class_names,
        "check_files": check_files,
        "apply_exif": apply_exif,
    }
    if metadata:
        folder = os.path.join(metadata, split)
        if split != "train" and not os.path.isdir(folder):
            return None
        return folder_source(
            images=root,
            metadata=folder,
            masks=masks or None,
            name=f"{os.path.basename(os.path.normpath(metadata))}/{split}",
            num_classes=None if class_names else num_classes,
            **common,
        )
    folder = tree_folder(root, split)
    if folder is None:
        return None
    source = tree_source(folder, **common)
    if num_classes is not None and source.num_classes != num_classes:
        raise DataError(
            f"{root} has {source.num_classes} class folders, but "
            f"config.data.num_classes={num_classes}; leave it unset to take the folders'"
        )
    return source


def folder_source(
    *,
    images: str | os.PathLike,
    metadata: str | os.PathLike,
    masks: str | os.PathLike | None = None,
    name: str | None = None,
    class_names: Sequence[str] | None = None,
    num_classes: int | None = None,
    check_files: bool = True,
    apply_exif: bool = True,
) -> Source:
    """Makes a data set of a folder of images and the field's metadata (see `metadata.py`).

    Args:
      images: the folder that the ids are relative to.
      metadata: the folder of the split's text files.
      masks: the folder that mask paths are relative to; None: the folder of the images.
      name: for messages; None: the metadata folder's.
      class_names: in the order of the labels; None: the labels themselves.
      num_classes: number of classes; None: that of `class_names`, or the highest label + 1.
      check_files: open every image at start, which finds missing and broken files and reads sizes
        and orientations. False, for sets of a million: nothing is looked at, a bad file fails when
        its turn comes, no image is turned.
      apply_exif: turn images upright by their EXIF orientation. wsolevaluation does not: False
        where its boxes and masks are given for the stored pixels.

    Returns:
      The split, with boxes, masks or both, as the metadata has them.

    Raises:
      DataError: the metadata or the files cannot be used; see `read_metadata`, `read_headers`.
      ValueError: `class_names` and `num_classes` disagree.
    """
    name = name or os.path.basename(os.path.normpath(metadata))
    split, class_names = read_split(metadata, class_names, num_classes)
    paths = [os.path.join(images, image_id) for image_id in split.image_ids]
    image_sizes, orientations = None, None
    if check_files:
        image_sizes, orientations = read_headers(paths, name, apply_exif)
    load_mask = None
    if split.masks is not None:
        masks = images if masks is None else masks
        if check_files:
            check_masks_exist(split, masks)
        load_mask = mask_loader(split, mask_paths(split, masks))
    return annotated_source(
        split,
        name=name,
        class_names=class_names,
        image_sizes=image_sizes,
        apply_exif=apply_exif,
        load_image=file_loader(paths, orientations),
        load_mask=load_mask,
    )


def read_split(
    metadata: str | os.PathLike, class_names: Sequence[str] | None, num_classes: int | None
) -> tuple[Metadata, tuple[str, ...]]:
    """Reads the metadata of a split and settles which classes there are.

    Args:
      metadata: as in `folder_source`.
      class_names: as in `folder_source`.
      num_classes: as in `folder_source`.

    Returns:
      The metadata and the names of the classes.

    Raises:
      DataError: the metadata cannot be used; see `read_metadata`.
      ValueError: `class_names` and `num_classes` disagree.
    """
    if class_names is not None:
        if num_classes not in (None, len(class_names)):
            raise ValueError(
                f"num_classes={num_classes} but {len(class_names)} class names; leave one out"
            )
        num_classes = len(class_names)
    split = read_metadata(metadata, num_classes)
    if class_names is None:
        class_names = map(str, range(num_classes or int(split.labels.max()) + 1))
    return split, tuple(class_names)


def annotated_source(
    split: Metadata,
    *,
    name: str,
    class_names: tuple[str, ...],
    image_sizes: np.ndarray | None,
    apply_exif: bool,
    load_image: Callable[[Any], Any],
    load_mask: Callable[[int, int], tuple[np.ndarray, np.ndarray]] | None,
) -> Source:
    """Puts a split together from its metadata and its images, wherever these are.

    Args:
      split: the metadata.
      name: for messages.
      class_names: in the order of the labels.
      image_sizes: `[N, 2]` int64, width and height of the images as `load_image` gives them; None
        if nobody looked.
      apply_exif: whether images are turned upright, for a message.
      load_image: of the `Source`.
      load_mask: of the `Source`.

    Raises:
      DataError: images and metadata do not fit each other.
    """
    if split.image_sizes is not None:
        if image_sizes is not None:
            _check_same_turn(split, image_sizes, apply_exif)
        # An image may have been shrunk since; boxes are relative to the size in the metadata.
        image_sizes = split.image_sizes
    if split.boxes is not None and image_sizes is None:
        raise DataError(
            f"{split.folder / 'image_sizes.txt'} is missing or empty, and boxes need the sizes of "
            "their images; write it, or read the sizes from the images with check_files=True"
        )
    check_boxes(split, image_sizes)
    return Source(
        name=name,
        image_ids=split.image_ids,
        labels=split.labels,
        class_names=class_names,
        load_image=load_image,
        image_sizes=image_sizes,
        boxes=split.boxes_per_image(),
        load_mask=load_mask,
    )


def split_sources(
    metadata: str | os.PathLike,
    *,
    images: str | os.PathLike | None = None,
    masks: str | os.PathLike | None = None,
) -> dict[str, Source]:
    """Makes the data sets to evaluate on, of metadata alone or with the images.

    Args:
      metadata: the folder of one split, which is then `test`, or of `test` and, if any, `val`.
      images: the folder of the images, needed only if `image_sizes.txt` is missing.
      masks: the folder that mask paths are relative to; None: that of the images.

    Returns:
      `val`, if there is one, and `test`.

    Raises:
      DataError: there is no such split, or it cannot be used; see `folder_source`.
    """
    folders = {split: os.path.join(metadata, split) for split in ("val", "test")}
    if os.path.isfile(os.path.join(metadata, "image_ids.txt")):
        folders = {"test": metadata}
    elif not os.path.isdir(folders["test"]):
        raise DataError(f"{metadata} has neither image_ids.txt nor a folder test; set --metadata")
    return {
        split: folder_source(
            images=images or "",
            metadata=folder,
            masks=masks,
            name=split,
            check_files=images is not None,
        )
        for split, folder in folders.items()
        if os.path.isdir(folder)
    }


def _check_same_turn(split: Metadata, image_sizes: np.ndarray, apply_exif: bool) -> None:
    """Checks that no image lies on its side compared with the size its annotation is for."""
    swapped = (image_sizes[:, ::-1] == split.image_sizes).all(axis=1)
    swapped &= image_sizes[:, 0] != image_sizes[:, 1]
    if swapped.any():
        index = int(np.argmax(swapped))
        raise DataError(
            "{}: {} x {} for {!r}, but with apply_exif={} the image is {} x {}, so that boxes and "
            "masks would be misplaced ({} images); use apply_exif={} or correct the sizes".format(
                split.folder / "image_sizes.txt",
                *split.image_sizes[index],
                split.image_ids[index],
                apply_exif,
                *image_sizes[index],
                swapped.sum(),
                not apply_exif,
            )
        )
