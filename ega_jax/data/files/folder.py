"""Makes data sets of image folders: with the field's metadata files, or one folder per class."""

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ega_jax.data.files import masks as mask_files
from ega_jax.data.files import splits
from ega_jax.data.files.class_folders import tree_folder, tree_source
from ega_jax.data.files.classes import boxless_labels, read_split
from ega_jax.data.files.headers import REFUSE, check_images
from ega_jax.data.files.image_files import file_loader
from ega_jax.data.files.metadata import Metadata, check_boxes
from ega_jax.data.files.moved import moved_hint
from ega_jax.data.source import DataError, Source, with_objects


def open_split(
    root: str,
    split: str,
    *,
    metadata: str = "",
    masks: str = "",
    mask_values: str = mask_files.BINARY,
    class_names: Sequence[str] | None = None,
    num_classes: int | None = None,
    check_files: bool = True,
    apply_exif: bool = True,
    on_bad: str = REFUSE,
    background: Sequence[str] = (),
) -> Source | None:
    """Opens a split of a data set in folders.

    Args:
      root: the folder of the images; without metadata that of `train`, `val` and `test`, which hold
        class folders, or of the class folders themselves, which are then all for training.
      split: `train`, `val` or `test`.
      metadata: the folder of the splits' metadata; empty: there is none.
      masks: as in `folder_source`; empty: the folder of the images.
      mask_values: as in `folder_source`.
      class_names: the classes of the training split or of a trained model; None: the data set's.
      num_classes: what their number should be, not looked at if they are given; None: any.
      check_files: as in `folder_source`.
      apply_exif: as in `folder_source`.
      on_bad: as in `folder_source`.
      background: as in `folder_source`.

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
        "on_bad": on_bad,
    }
    if metadata:
        folder = splits.metadata_folder(metadata, split)
        if folder is None:
            return None
        return folder_source(
            images=root,
            metadata=folder,
            masks=masks or None,
            mask_values=mask_values,
            name=f"{os.path.basename(os.path.normpath(metadata))}/{split}",
            num_classes=None if class_names else num_classes,
            background=background,
            **common,
        )
    for field, value, default in (
        ("masks", masks, ""),
        ("mask_values", mask_values, mask_files.BINARY),
    ):
        if value != default:
            raise DataError(
                f"config.data.{field}={value!r}: which masks there are, metadata say; set "
                f"config.data.metadata, or leave config.data.{field}"
            )
    folder = tree_folder(root, split)
    if folder is None:
        return None
    source = tree_source(folder, name=None if folder == root else split, **common)
    if num_classes is not None and source.num_classes != num_classes:
        raise DataError(
            f"{root} has {source.num_classes} class folders, but "
            f"config.data.num_classes={num_classes}; leave it unset to take the folders'"
        )
    return source


def folder_source(
    *,
    images: str | os.PathLike | None,
    metadata: str | os.PathLike,
    masks: str | os.PathLike | None = None,
    mask_values: str = mask_files.BINARY,
    name: str | None = None,
    class_names: Sequence[str] | None = None,
    num_classes: int | None = None,
    check_files: bool = True,
    apply_exif: bool = True,
    on_bad: str = REFUSE,
    background: Sequence[str] = (),
) -> Source:
    """Makes a data set of a folder of images and the field's metadata (see `metadata.py`).

    Args:
      images: the folder that the ids are relative to; None: nobody will ask for an image.
      metadata: the folder of the split's text files.
      masks: the folder that mask paths are relative to; None: the folder of the images.
      mask_values: what values mean in masks, `binary` or `trimap`; see `masks.py`.
      name: for messages; None: the metadata folder's.
      class_names: in the order of the labels; None: as `class_names.txt` has them, or else the
        labels themselves.
      num_classes: number of classes; None: that of `class_names`, or the highest label + 1.
      check_files: open every image at start, which finds missing and broken files and reads sizes
        and orientations. False, for sets of a million: nothing is looked at, a bad file fails when
        its turn comes, no image is turned.
      apply_exif: turn images upright by their EXIF orientation. wsolevaluation does not: False
        where its boxes and masks are given for the stored pixels.
      on_bad: what to do about images that cannot be used: `headers.REFUSE`; `SKIP`: decode each at
        start, and return those that fail as `unusable`; `SKIP_AGAIN`: the same without decoding.
      background: names of classes without an object, whose images need no box.

    Returns:
      The split, with boxes, masks or both, as the metadata has them.

    Raises:
      DataError: the metadata or the files cannot be used; see `read_metadata`, `check_images`.
      ValueError: `class_names` and `num_classes` disagree.
    """
    name = name or os.path.basename(os.path.normpath(metadata))
    split, class_names = read_split(metadata, class_names, num_classes, background)
    paths = [os.path.join(images or "", image_id) for image_id in split.image_ids]
    headers = None
    if check_files and images is not None:
        hint = functools.partial(moved_hint, images, split.image_ids)
        headers = check_images(paths, name, apply_exif, on_bad, hint)
    sizes = None if headers is None else headers.sizes
    load_mask = None
    if split.masks is not None:
        masks = images if masks is None else masks
        if masks is None:
            raise DataError(
                f"{split.folder / mask_files.masks_file(split)} lists masks; say by --masks in "
                f"which folder {mask_files.first_mask(split)!r} lies"
            )
        mask_files.check_masks(split, masks, mask_values, check_files, sizes)
        paths_of = mask_files.mask_paths(split, masks)
        load_mask = mask_files.mask_loader(split, paths_of, mask_values)
    source = annotated_source(
        split,
        name=name,
        class_names=class_names,
        image_sizes=sizes,
        apply_exif=apply_exif,
        load_image=file_loader(paths, headers),
        load_mask=load_mask,
    )
    if headers is None or not headers.faults:
        return source
    return dataclasses.replace(source, unusable=headers.faults_by(split.image_ids))


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
            "their images; write it, or have the sizes read from the images: by --images=DIR where "
            "maps are scored, and not with --config.data.check_files=false in a run"
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
    mask_values: str = mask_files.BINARY,
    background: Sequence[str] = (),
) -> dict[str, Source]:
    """Makes the data sets to evaluate on, of metadata alone or with the images.

    Args:
      metadata: the folder of one split, which is then `test`, or of `test` and, if any, `val`.
      images: the folder of the images, needed only if `image_sizes.txt` is missing.
      masks: the folder that mask paths are relative to; None: that of the images.
      mask_values: as in `folder_source`.
      background: as in `folder_source`; their images, where nothing is to be localized, are left
        out.

    Returns:
      `val`, if there is one, and `test`.

    Raises:
      DataError: there is no such split, or it cannot be used; see `folder_source`.
    """
    if os.path.isfile(os.path.join(metadata, "image_ids.txt")):
        folders = {"test": os.fspath(metadata)}
    else:
        folders = splits.split_folders(metadata)
        folders = {split: folders[split] for split in ("val", "test") if split in folders}
        if "test" not in folders:
            raise DataError(
                f"{metadata} has neither image_ids.txt nor a folder test; set --metadata"
            )
    if images is not None and not os.path.isdir(images):
        raise DataError(f"no image folder {os.fspath(images)!r}; correct --images")
    sources = {
        split: folder_source(
            images=images,
            metadata=folder,
            masks=masks,
            mask_values=mask_values,
            name=split,
            background=background,
        )
        for split, folder in folders.items()
    }
    for split, folder in folders.items():
        boxless = boxless_labels(background, sources[split].class_names, folder)
        located = with_objects(dataclasses.replace(sources[split], background=boxless))
        if located is None:
            raise DataError(f"{folder} has no image of a class with an object")
        sources[split] = located
    return sources


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
