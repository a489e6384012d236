"""Where every image of a prepared TFDS data set is: an index, made once, kept beside its records.

    python -m ega_jax.data.tfds.index TFDS_DIR/imagenet2012/5.1.0

TFDS reads its files from front to back. With the index any record can be read by itself, and a run
knows ids, sizes and orientations of all images without having opened one. Of data sets that bring
their annotation, its labels and boxes are written beside the index, as the field's text files.
"""

import argparse
import concurrent.futures
import dataclasses
import io
import logging
import os
import shlex
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from google.protobuf import json_format

from ega_jax.data.files.headers import header_table, read_named_header
from ega_jax.data.source import SPLITS, DataError
from ega_jax.data.tf_on_cpu import tf
from ega_jax.data.tfds.annotations import (
    BIRDS,
    PETS,
    Annotation,
    Annotations,
    write_annotations,
)

logger = logging.getLogger(__name__)

FOLDER = "ega_jax"  # in the folder of a data set: what is ours
FRAME = 16  # bytes around a record of a TFRecord file: its length, and two checksums

_TFRECORD, _ARRAY_RECORD = tfds.core.FileFormat.TFRECORD, tfds.core.FileFormat.ARRAY_RECORD
_BUFFER = 8 << 20  # bytes read at a time from each file
_THREADS = 16  # files read at a time: a bucket is far away
_LOG_EVERY = 100  # files
_SHOWN = 3  # images named in a message


@dataclasses.dataclass(frozen=True)
class Kind:
    """How to find the images of the field in a data set.

    Attributes:
      name: the feature that says which image an example is.
      key: brings such a name, or an image id of the field, into the form that they agree in.
      splits: the field's splits, and what they are called there.
      annotations: where labels, boxes and masks are in an example; None: nothing is known of them.
    """

    name: str
    key: Callable[[str], str]
    splits: dict[str, str]
    annotations: Annotations | None = None


def _last(parts: int) -> Callable[[str], str]:
    return lambda path: "/".join(path.split("/")[-parts:])


OWN = Kind("image_id", str, {split: split for split in SPLITS})
PUBLISHED = {  # what TFDS prepares, by the builder's name and config
    # CUB_200_2011/images/<bird>/<image>.jpg
    "caltech_birds2011": Kind(
        "image/filename", _last(2), {"train": "train", "test": "test"}, BIRDS
    ),
    # Abyssinian_1.jpg. Boxes of heads are left alone: most test images have none.
    "oxford_iiit_pet": Kind("file_name", _last(1), {"train": "train", "test": "test"}, PETS),
    # n01440764_10026.JPEG, ILSVRC2012_val_00000001.JPEG. Its `test` has no labels.
    "imagenet2012": Kind("file_name", _last(1), {"train": "train", "test": "validation"}),
    # <label>/<image>.jpeg. Other configs have other images of the same names.
    "imagenet_v2/threshold-0.7": Kind("file_name", _last(2), {"val": "test"}),
}
ADDRESSES = {  # of the first file of those that need nothing but their name
    "caltech_birds2011": "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
    "oxford_iiit_pet": "https://thor.robots.ox.ac.uk/~vgg/data/pets/images.tar.gz",
}


@dataclasses.dataclass(frozen=True)
class Index:
    """The N records of a split, in the order in which they are stored.

    Attributes:
      names: `[N]` bytes, the feature `Kind.name`.
      shards: `[N]` int32, the file that each is in.
      places: `[N]` int64, the byte it begins at; ArrayRecord: its number in the file.
      lengths: `[N]` int32, bytes of the record.
      sizes: `[N, 2]` int32, width and height of the image as stored.
      orientations: `[N]` uint8, its EXIF orientation, 1 to 8.
      shard_lengths: `[S]` int64, number of records in each file.
    """

    names: np.ndarray
    shards: np.ndarray
    places: np.ndarray
    lengths: np.ndarray
    sizes: np.ndarray
    orientations: np.ndarray
    shard_lengths: np.ndarray

    def find(self, image_ids: Sequence[str], key: Callable[[str], str], where: str) -> np.ndarray:
        """Finds the records of images.

        Args:
          image_ids: M ids of the field.
          key: of the data set's `Kind`.
          where: the data set and split, for messages.

        Returns:
          `[M]` int64, positions in the index.

        Raises:
          DataError: some images are not there, or two records have the same name.
        """
        position = {key(name.decode()): i for i, name in enumerate(self.names.tolist())}
        if len(position) < len(self.names):
            raise DataError(
                f"{where}: {len(self.names) - len(position)} of {len(self.names)} records have the "
                "name of another one; prepare the data set again"
            )
        missing = [image_id for image_id in image_ids if key(image_id) not in position]
        if missing:
            more = ", ..." if len(missing) > _SHOWN else ""
            raise DataError(
                f"{where} lacks {len(missing)} of the {len(image_ids)} images of the metadata: "
                f"{', '.join(missing[:_SHOWN])}{more}; its names look like "
                f"{self.names[0].decode()!r}. Give the metadata of these images, or prepare the "
                "data set again"
            )
        return np.array([position[key(image_id)] for image_id in image_ids], np.int64)


def open_builder(directory: str | os.PathLike) -> tuple[tfds.core.DatasetBuilder, Kind]:
    """Opens a prepared data set, and says how to find images in it.

    Args:
      directory: the folder of `dataset_info.json`: data set, config if any, and version.

    Raises:
      DataError: there is none, it is damaged, its kind is unknown, or it is in a format that
        cannot be read.
    """
    if not directory or not (epath.Path(directory) / "dataset_info.json").exists():
        raise DataError(
            f"no prepared TFDS data set in {os.fspath(directory)!r}; set --config.data.root to the "
            "folder of its dataset_info.json, which ends in the version: DIR/cub/1.0.0; or to the "
            f"name of one that can be downloaded: {', '.join(ADDRESSES)}"
        )
    try:
        builder = tfds.builder_from_directory(directory)
    except (ValueError, KeyError, TypeError, json_format.ParseError) as error:
        raise DataError(
            f"dataset_info.json or features.json in {os.fspath(directory)!r} is damaged ({error}); "
            "copy or prepare the data set again"
        ) from error
    if builder.info.file_format not in (_TFRECORD, _ARRAY_RECORD):
        raise DataError(
            f"{directory} is stored as {builder.info.file_format.value}; prepare it with "
            "file_format='tfrecord', which is what TFDS does by default, or 'array_record'"
        )
    config = builder.builder_config
    full_name = builder.name + (f"/{config.name}" if config else "")
    kind = OWN if OWN.name in builder.info.features else PUBLISHED.get(full_name)
    if kind is None:
        raise DataError(
            f"{directory}: how images are named in {full_name} is not known. Known are "
            f"{', '.join(PUBLISHED)}, and what python -m ega_jax.data.tfds.builder prepares"
        )
    return builder, kind


def record_files(builder: tfds.core.DatasetBuilder, split: str) -> list[str]:
    """Lists the files of a split."""
    return [os.fspath(path) for path in builder.info.splits[split].filepaths]


def in_array_records(builder: tfds.core.DatasetBuilder) -> bool:
    """Says whether the records are in ArrayRecord files, instead of TFRecord files."""
    return builder.info.file_format == _ARRAY_RECORD


def array_records(paths: Sequence[str]) -> Sequence[bytes]:
    """Opens ArrayRecord files as one sequence of records."""
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    return ArrayRecordDataSource(paths)


def write_index(directory: str | os.PathLike) -> None:
    """Reads through a data set and writes the index of each split that the field has.

    Raises:
      DataError: an image cannot be used, or records are damaged or missing.
    """
    builder, kind = open_builder(directory)
    annotated = {}
    for split, stored in kind.splits.items():
        if stored in builder.info.splits:
            index, annotations = _scan(builder, stored, kind)
            buffer = io.BytesIO()
            np.savez_compressed(buffer, **dataclasses.asdict(index))
            path = _path(builder, stored)
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f"{path.name}.part")
            part.write_bytes(buffer.getvalue())
            part.replace(path)
            sizes = map(tuple, index.sizes.tolist())
            ids = (kind.key(name.decode()) for name in index.names.tolist())
            annotated[split] = dict(zip(ids, zip(annotations, sizes, strict=True), strict=True))
    if kind.annotations is not None:
        names = builder.info.features["label"].names
        write_annotations(metadata_folder(builder.data_dir), annotated, names)


def metadata_folder(directory: str | os.PathLike) -> epath.Path:
    """Returns where the metadata are that a data set brings."""
    return epath.Path(directory) / FOLDER / "metadata"


def has_annotations(directory: str | os.PathLike) -> bool:
    """Says whether a data set is prepared and indexed, and its annotations are written."""
    prepared = (epath.Path(directory) / "dataset_info.json").exists()
    return prepared and metadata_folder(directory).is_dir()


def read_index(builder: tfds.core.DatasetBuilder, split: str) -> Index:
    """Reads the index of a split.

    Raises:
      DataError: there is none, it is damaged, or it is of other files.
    """
    path = _path(builder, split)
    remedy = f"run python -m ega_jax.data.tfds.index {builder.data_dir}"
    if not path.exists():
        raise DataError(f"{path} does not exist; {remedy}, once")
    try:
        with np.load(io.BytesIO(path.read_bytes())) as arrays:
            index = Index(**arrays)
    except (ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} is damaged ({error}); {remedy}") from error
    if index.shard_lengths.tolist() != builder.info.splits[split].shard_lengths:
        raise DataError(f"{path} is the index of other files; {remedy}")
    return index


def _path(builder: tfds.core.DatasetBuilder, split: str) -> epath.Path:
    return epath.Path(builder.data_dir) / FOLDER / "index" / f"{split}.npz"


def _scan(
    builder: tfds.core.DatasetBuilder, split: str, kind: Kind
) -> tuple[Index, list[Annotation | None]]:
    """Reads all records of a split."""
    paths = record_files(builder, split)
    read = _array_shard if in_array_records(builder) else _tfrecord_shard
    names, shards, places, lengths, headers, annotations = [], [], [], [], [], []
    pool = concurrent.futures.ThreadPoolExecutor(_THREADS)
    try:
        rows_of = pool.map(lambda path: [_row(*item, kind) for item in read(path)], paths)
        for shard, rows in enumerate(rows_of):
            expected = builder.info.splits[split].shard_lengths[shard]
            if len(rows) != expected:
                raise DataError(
                    f"{paths[shard]} has {len(rows)} records, but {expected} in "
                    "dataset_info.json; get the file, or prepare the data set, again"
                )
            for place, length, name, header, annotation in rows:
                names.append(name)
                shards.append(shard)
                places.append(place)
                lengths.append(length)
                headers.append(header)
                annotations.append(annotation)
            if (shard + 1) % _LOG_EVERY == 0:
                logger.info("%s: %d of %d files", split, shard + 1, len(paths))
    finally:
        pool.shutdown(cancel_futures=True)  # after a bad file nobody waits for the others
    sizes, orientations = header_table(
        headers, [name.decode() for name in names], f"{builder.name}/{split}"
    )
    index = Index(
        names=np.array(names, np.bytes_),
        shards=np.array(shards, np.int32),
        places=np.array(places, np.int64),
        lengths=np.array(lengths, np.int32),
        sizes=sizes.astype(np.int32),
        orientations=orientations,
        shard_lengths=np.array(builder.info.splits[split].shard_lengths, np.int64),
    )
    return index, annotations


def _tfrecord_shard(path: str) -> Iterator[tuple[int, bytes]]:
    """Yields where each record begins, and the record."""
    place = 0
    try:
        for record in tf.data.TFRecordDataset(path, buffer_size=_BUFFER).as_numpy_iterator():
            yield place, record
            place += len(record) + FRAME
    except tf.errors.OpError as error:
        raise DataError(
            f"{path} cannot be read ({error.message}); get the file, or prepare the data set, again"
        ) from error


def _array_shard(path: str) -> Iterator[tuple[int, bytes]]:
    records = array_records([path])
    for number in range(len(records)):
        yield number, records[number]


def _row(place: int, record: bytes, kind: Kind) -> tuple:
    """Returns a record's place, length and name, the header of its image, and its annotation."""
    feature = tf.train.Example.FromString(record).features.feature
    (name,), (image,) = (feature[key].bytes_list.value for key in (kind.name, "image"))
    header, annotation = read_named_header(io.BytesIO(image), name.decode()), None
    if kind.annotations is not None and not isinstance(header, str):
        annotation = kind.annotations.read(feature, (header.width, header.height), name.decode())
    return place, len(record), name, header, annotation


def run_command(make: Callable[[], str | os.PathLike], more: Sequence[str] = ()) -> int:
    """Runs a command that makes a data set ready, and says what runs need to be told to read it.

    Args:
      make: does the work; returns the folder of the data set with its version.
      more: flags that runs need besides.

    Returns:
      The exit code: 1, with the reason on standard error, if the data cannot be used.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        directory = make()
    except (DataError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    flags = ["--config.data.name=tfds", f"--config.data.root={directory}", *more]
    print(f"  {shlex.join(flags)}")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Indexes a data set; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m ega_jax.data.tfds.index",
        description="Indexes a data set that TFDS has prepared, so that runs can read it.",
    )
    parser.add_argument("directory", help="the data set with its version: DIR/imagenet2012/5.1.0")
    directory = parser.parse_args(argv).directory

    def make() -> str:
        write_index(directory)
        return directory

    return run_command(make)


if __name__ == "__main__":
    sys.exit(main())
