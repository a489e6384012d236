"""Makes data sets of what TFDS has prepared: the images from its records, the rest from metadata.

Metadata are the field's text files (see `metadata.py`). A data set of `builder.py` brings its own.
Of one that TFDS itself prepares images are looked up by name, so that labels, boxes and order are
those of the metadata that are given, or, for some, of what it says itself (`annotations.py`).
Either way the stream of batches is the one that the same images make as files, bit for bit: only
where the bytes come from differs.
"""

import io
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from ega_jax.data.files import splits
from ega_jax.data.files.classes import read_split
from ega_jax.data.files.folder import annotated_source
from ega_jax.data.files.headers import upright_sizes
from ega_jax.data.files.image_files import image_loader, named_plain
from ega_jax.data.files.masks import BINARY, mask_loader, masks_file
from ega_jax.data.files.metadata import Metadata
from ega_jax.data.source import DataError, Source
from ega_jax.data.tf_on_cpu import tf
from ega_jax.data.tfds.index import (
    FRAME,
    OWN,
    Index,
    array_records,
    in_array_records,
    metadata_folder,
    open_builder,
    read_index,
    record_files,
)


def open_split(
    root: str | os.PathLike,
    split: str,
    *,
    metadata: str | os.PathLike = "",
    class_names: Sequence[str] | None = None,
    num_classes: int | None = None,
    apply_exif: bool = True,
    mask_values: str = BINARY,
    background: Sequence[str] = (),
) -> Source | None:
    """Opens a split of a prepared data set.

    Args:
      root: the data set with its version, `DIR/cub/1.0.0`; local or in a bucket.
      split: `train`, `val` or `test`, as the field calls them.
      metadata: the folder of the splits' metadata, for data sets that bring none or to take other
        ones; empty: the data set's own.
      class_names: the classes of the training split or of a trained model; None: the data set's.
      num_classes: what their number should be, not looked at if they are given; None: any.
      apply_exif: as in `folder.folder_source`.
      mask_values: as in `folder.folder_source`, of masks that are listed in the metadata.
      background: as in `folder.folder_source`.

    Returns:
      The split; None if there are no metadata of it and it is not `train`.

    Raises:
      DataError: the data cannot be used; names the file or the field.
    """
    builder, kind = open_builder(root)
    own = not metadata
    if own and kind is not OWN and kind.annotations is not None and mask_values != BINARY:
        raise DataError(
            f"config.data.mask_values={mask_values!r}: leave it, {root} says what its masks are"
        )
    if own and kind is not OWN and kind.annotations is None:
        raise DataError(
            f"{root} has labels and boxes in TFDS's form; set --config.data.metadata to the "
            "field's lists"
        )
    if own:
        folders = metadata_folder(builder.data_dir)
        if not folders.is_dir():
            raise DataError(
                f"{folders} does not exist; run python -m ega_jax.data.tfds.index {root}, once"
            )
        listed = folders / split if split == "train" or (folders / split).is_dir() else None
    else:
        listed = splits.metadata_folder(metadata, split)
    if listed is None:
        return None
    stored = kind.splits.get(split)
    if own and kind.annotations is not None and split == "val":
        stored = kind.splits["train"]  # of which it is a part
    if stored not in builder.info.splits:
        field = "val_root" if split == "val" else "root"
        raise DataError(
            f"{root} has no images for the metadata in {listed}; set "
            f"--config.data.{field} to a data set that has, or take these metadata away"
        )
    if kind is OWN and own:
        class_names = _own_classes(builder, class_names, num_classes)
    contents, class_names = read_split(
        listed, class_names, None if class_names else num_classes, background
    )
    table = read_index(builder, stored)
    rows = table.find(contents.image_ids, kind.key, f"{root}, {stored}")
    image_sizes, orientations = table.sizes[rows].astype(np.int64), None
    if apply_exif:
        orientations = table.orientations[rows]
        image_sizes = upright_sizes(image_sizes, orientations)
    make_reader = _array_record_reader if in_array_records(builder) else _tfrecord_reader
    read = make_reader(record_files(builder, stored), table, rows)
    plain = np.array([named_plain(image_id) for image_id in contents.image_ids])
    load_mask = None
    if own and kind.annotations is not None:
        files = _mask_files(contents, read, kind.annotations.mask)
        load_mask = mask_loader(contents, files, kind.annotations.mask_values)
    elif contents.masks is not None:
        if not own:
            raise DataError(
                f"{contents.folder / masks_file(contents)} has masks, which cannot be looked up by "
                "name; make a data set of it by python -m ega_jax.data.tfds.builder"
            )
        load_mask = mask_loader(contents, _mask_files(contents, read), mask_values)
    return annotated_source(
        contents,
        name=f"{builder.name}/{split}",
        class_names=class_names,
        image_sizes=image_sizes,
        apply_exif=apply_exif,
        load_image=image_loader(lambda index: _image(read(index)), orientations, plain),
        load_mask=load_mask,
    )


def _own_classes(
    builder: tfds.core.DatasetBuilder, wanted: Sequence[str] | None, num_classes: int | None
) -> tuple[str, ...]:
    """Returns the data set's classes, once they are known to be the ones wanted."""
    names = tuple(builder.info.features["label"].names)
    if wanted is not None and tuple(wanted) != names:
        raise DataError(
            f"{builder.data_dir} has the classes {', '.join(names)}, not {', '.join(wanted)}; "
            "take the data set that the model was trained on, or set --config.data.metadata"
        )
    if wanted is None and num_classes not in (None, len(names)):
        raise DataError(
            f"{builder.data_dir} has {len(names)} classes, but config.data.num_classes="
            f"{num_classes}; leave it unset to take the data set's"
        )
    return names


def _tfrecord_reader(paths: list[str], table: Index, rows: np.ndarray) -> Callable[[Any], Any]:
    """Makes graph code, scalar int64 index -> serialized example, that reads just this record."""
    # Eager tensors are captured by reference; arrays would become constants of every graph.
    shards, places = tf.constant(table.shards[rows]), tf.constant(table.places[rows])
    lengths, paths = tf.constant(table.lengths[rows].astype(np.int64)), tf.constant(paths)

    def read(index: Any) -> Any:
        # A data set of one record is the only graph code that reads from the middle of a file. It
        # compares checksums, too. A single read gets all of the record.
        records = tf.raw_ops.TFRecordDatasetV2(
            filenames=[paths[shards[index]]],
            compression_type="",
            buffer_size=lengths[index] + FRAME,
            byte_offsets=[places[index]],
        )
        records = tf.data.experimental.from_variant(records, tf.TensorSpec([], tf.string))
        return records.take(1).get_single_element()

    return read


def _array_record_reader(paths: list[str], table: Index, rows: np.ndarray) -> Callable[[Any], Any]:
    """Does the same for ArrayRecord files, for which there is no graph code, but only Python."""
    records = array_records(paths)
    firsts = np.cumsum(table.shard_lengths) - table.shard_lengths
    numbers = tf.constant(firsts[table.shards[rows]] + table.places[rows])

    def read(index: Any) -> Any:
        record = tf.numpy_function(lambda n: records[int(n)], [numbers[index]], tf.string)
        return tf.ensure_shape(record, [])

    return read


def _image(record: Any) -> Any:
    feature = tf.io.FixedLenFeature([], tf.string)
    return tf.io.parse_single_example(record, {"image": feature})["image"]


def _mask_files(
    contents: Metadata, read: Callable[[Any], Any], objects: str = "masks"
) -> Callable[[int], tuple[list[io.BytesIO], list[io.BytesIO]]]:
    """Makes a function from an image's index to its object masks and its ignore mask, if any."""
    features = {key: tf.io.VarLenFeature(tf.string) for key in (objects, "ignore_mask")}

    def files(index: int) -> tuple[list[io.BytesIO], list[io.BytesIO]]:
        try:
            example = tf.io.parse_single_example(read(tf.constant(index, tf.int64)), features)
        except tf.errors.OpError as error:
            raise DataError(
                f"the record of {contents.image_ids[index]!r} cannot be read ({error.message}); "
                "get the file, or prepare the data set, again"
            ) from error
        masks, ignore = (
            [io.BytesIO(mask) for mask in example[key].values.numpy()] for key in features
        )
        return masks, ignore

    return files
