"""Makes a TFDS data set of images in folders, for buckets and pods: few large files, not many.

    python -m ega_jax.data.tfds.builder --root=OUT --metadata=OUT/metadata --no-apply-exif \
        --out=TFDS_DIR --name=cub
    python -m ega_jax.main --config=configs/cub_vgg.py --config.data.name=tfds \
        --config.data.root=TFDS_DIR/cub/1.0.0

Everything is looked at first, as a run would; images and masks go in as the bytes of their files.
Nothing in TFDS_DIR is ever half written.
"""

import argparse
import logging
import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import ega_jax.runtime.quiet_tensorflow  # noqa: F401

# isort: split

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from ega_jax.data.files import class_folders, folder, splits
from ega_jax.data.files.classes import boxless_labels
from ega_jax.data.files.headers import by_name, header_table, read_headers
from ega_jax.data.files.masks import BINARY, VALUES, mask_paths
from ega_jax.data.files.metadata import MASKS_FILE, Metadata, read_metadata
from ega_jax.data.files.write_metadata import METADATA_FILES
from ega_jax.data.source import SPLITS, DataError, Source
from ega_jax.data.tfds.index import FOLDER, run_command, write_index

VERSION = "1.0.0"

logger = logging.getLogger(__name__)


def build(
    root: str,
    out: str,
    name: str,
    *,
    metadata: str = "",
    masks: str = "",
    num_classes: int | None = None,
    apply_exif: bool = True,
    mask_values: str = BINARY,
    background: Sequence[str] = (),
) -> str:
    """Makes a data set of all splits that there are.

    Args:
      root: as in `folder.open_split`.
      out: the folder of TFDS data sets; local or in a bucket.
      name: of the new one: small letters, digits and underscores.
      metadata: as in `folder.open_split`; may hold any of the splits.
      masks: as in `folder.open_split`.
      num_classes: as in `folder.open_split`.
      apply_exif: as in `folder.folder_source`, for comparing sizes; images are stored as they are.
      mask_values: as in `folder.folder_source`, for checking; masks are stored as they are.
      background: as in `folder.folder_source`.

    Returns:
      The folder of the data set, `out/name/1.0.0`.

    Raises:
      DataError: the data cannot be used, or there is a data set of that name.
      OSError: `out` cannot be written to.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        raise DataError(f"name {name!r}: must be of small letters, digits and underscores")
    target, part = epath.Path(out) / name, epath.Path(out) / f"{name}.part"
    if target.exists():
        raise DataError(f"{target} exists; remove it, or choose another name")
    opened = _open(
        root,
        metadata,
        masks=masks,
        num_classes=num_classes,
        apply_exif=apply_exif,
        mask_values=mask_values,
        background=background,
    )
    if part.exists():
        part.rmtree()
    examples = {
        split: _examples(source, _image_folder(root, split, metadata), masks or root, contents)
        for split, (source, contents) in opened.items()
    }
    class_names = next(source.class_names for source, _ in opened.values())
    tfds.dataset_builders.store_as_tfds_dataset(
        name=name,
        version=VERSION,
        features=_features(class_names),
        split_datasets=examples,
        data_dir=part,
        description="Images, boxes and masks as in the field's metadata, byte for byte.",
        disable_shuffling=True,  # every epoch is shuffled anyway; the lists keep their order
    )
    made = part / name / VERSION
    for split, (source, contents) in opened.items():
        _write_metadata(made / FOLDER / "metadata" / split, source, contents)
    write_index(made)
    (part / name).rename(target)
    part.rmtree()
    return os.fspath(target / VERSION)


def _open(
    root: str, metadata: str, *, background: Sequence[str], **settings: Any
) -> dict[str, tuple[Source, Metadata | None]]:
    """Opens and checks all splits, and reads their metadata, if any."""
    folders = splits.split_folders(metadata) if metadata else {}
    result, class_names = {}, None
    for split in (list(folders) or ["train"]) if metadata else SPLITS:
        source = folder.open_split(
            root,
            split,
            metadata=metadata,
            class_names=class_names,
            background=background,
            **settings,
        )
        if source is None:
            continue
        class_names = source.class_names
        boxless = boxless_labels(background, class_names, source.name)
        contents = None
        if metadata:
            contents = read_metadata(folders[split], boxless=boxless)
        unfit = [image_id for image_id in source.image_ids if re.search(r"[,\r\n]", image_id)]
        if unfit:
            raise DataError(f"{source.name}: {unfit[0]!r} has a comma in its name; rename it")
        # A record has the name and the bytes: how they are decoded, the name has to tell.
        images = _image_folder(root, split, metadata)
        paths = [os.path.join(images, image_id) for image_id in source.image_ids]
        header_table(list(map(by_name, read_headers(paths), paths)), paths, source.name)
        logger.info("%s: %d images", source.name, len(source))
        result[split] = source, contents
    return result


def _image_folder(root: str, split: str, metadata: str) -> str:
    """Returns the folder that the ids of a split are relative to."""
    return root if metadata else class_folders.tree_folder(root, split)


def _features(class_names: tuple[str, ...]) -> tfds.features.FeaturesDict:
    mask = tfds.features.Image(shape=(None, None, 1))
    return tfds.features.FeaturesDict(
        {
            "image_id": tfds.features.Text(),
            "image": tfds.features.Image(),
            "label": tfds.features.ClassLabel(names=class_names),
            # Width and height in pixels of what the boxes are for, and xyxy in these pixels.
            "size": tfds.features.Tensor(shape=(2,), dtype=np.int64),
            "boxes": tfds.features.Tensor(shape=(None, 4), dtype=np.int64),
            "masks": tfds.features.Sequence(mask),  # one per object
            "ignore_mask": tfds.features.Sequence(mask),  # one or none
        }
    )


def _examples(
    source: Source, images: str, masks: str, contents: Metadata | None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields the examples of a split. TFDS reads the files that they name."""
    paths_of = None
    if contents is not None and contents.masks is not None:
        paths_of = mask_paths(contents, masks)
    for index, image_id in enumerate(source.image_ids):
        objects, ignored = paths_of(index) if paths_of else ([], [])
        yield (
            index,
            {
                "image_id": image_id,
                "image": os.path.join(images, image_id),
                "label": int(source.labels[index]),
                "size": source.image_sizes[index],
                "boxes": np.zeros((0, 4), np.int64)
                if source.boxes is None
                else source.boxes[index],
                "masks": objects,
                "ignore_mask": ignored,
            },
        )


def _write_metadata(target: epath.Path, source: Source, contents: Metadata | None) -> None:
    """Writes the text files of a split: those that are there, or those of a tree of classes."""
    target.mkdir(parents=True)
    if contents is None:
        ids = source.image_ids
        labels = [f"{i},{label}" for i, label in zip(ids, source.labels.tolist(), strict=True)]
        (target / "image_ids.txt").write_text("\n".join(ids))
        (target / "class_labels.txt").write_text("\n".join(labels))
        return
    for name in (*METADATA_FILES, MASKS_FILE):
        if (contents.folder / name).exists():
            (target / name).write_bytes((contents.folder / name).read_bytes())


def main(argv: list[str] | None = None) -> int:
    """Makes a data set; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m ega_jax.data.tfds.builder",
        description="Makes a TFDS data set of images in folders.",
    )
    parser.add_argument(
        "--root",
        required=True,
        type=os.path.expanduser,
        help="the image folder, as config.data.root",
    )
    parser.add_argument(
        "--metadata", default="", type=os.path.expanduser, help="as config.data.metadata"
    )
    parser.add_argument("--masks", default="", type=os.path.expanduser, help="as config.data.masks")
    parser.add_argument("--num-classes", type=int, help="as config.data.num_classes")
    parser.add_argument(
        "--apply-exif",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="as config.data.apply_exif, which is off for CUB, ILSVRC and OpenImages",
    )
    parser.add_argument(
        "--mask-values", choices=VALUES, default=BINARY, help="as config.data.mask_values"
    )
    parser.add_argument(
        "--background-classes", default="", help="as config.data.background_classes"
    )
    parser.add_argument(
        "--out", required=True, type=os.path.expanduser, help="the folder of TFDS data sets"
    )
    parser.add_argument("--name", required=True, help="of the data set")
    arguments = vars(parser.parse_args(argv))
    fields = {name: arguments[name] for name in ("mask_values", "background_classes")}
    names = arguments.pop("background_classes").split(",")
    arguments["background"] = tuple(filter(None, map(str.strip, names)))
    more = [f"--config.data.{k}={v}" for k, v in fields.items() if v not in ("", BINARY)]
    return run_command(lambda: build(**arguments), more)


if __name__ == "__main__":
    sys.exit(main())
