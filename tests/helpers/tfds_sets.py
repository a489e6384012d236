"""Makes small data sets, in folders and through TFDS, with what TFDS itself prepares among them."""

import contextlib
import io
import pathlib
import tarfile

import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core import dataset_builder
from tensorflow_datasets.core.utils import shard_utils

from ega_jax.data.tfds import builder as tfds_builder
from tests.helpers.archives import tar_bytes
from tests.helpers.published_files import CUB, cub_metadata, cub_source, mask, run, write
from tests.helpers.published_sets import ilsvrc_archives, ilsvrc_metadata, open_images

CLASSES = 200  # of all three, so that they can share a network; CUB's last label is 199
SETTINGS = {"num_classes": CLASSES, "apply_exif": False}


def _open_images_source(folders):
    images, masks = open_images(folders["metadata"])
    write(folders["source"], images | masks)


def laid_out(name, folder):
    """Lays a small copy of a published data set out from its archives; returns its folder."""
    folders = {part: folder / name / part for part in ("source", "metadata", "out")}
    for part in ("source", "metadata"):
        folders[part].mkdir(parents=True)
    if name == "cub":
        cub_source(folders["source"])
        cub_metadata(folders["metadata"])
    elif name == "ilsvrc":
        ilsvrc_archives(folders["source"])
        ilsvrc_metadata(folders["metadata"])
    else:
        _open_images_source(folders)
    assert not run(name, folders).problems
    return folders["out"]


def build(name, root, out, **options):
    """Makes the TFDS data set of a laid-out one."""
    options = SETTINGS | {"metadata": str(root / "metadata")} | options
    with several_files():
        return tfds_builder.build(str(root), str(out), name, **options)


@contextlib.contextmanager
def several_files():
    """Lets TFDS write a file for every two or three examples, as it does for every gigabyte."""

    def number_of_files(self, total_size, num_examples, uses_precise_sharding=True):
        return num_examples // 2

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard_utils.ShardConfig, "calculate_number_shards", number_of_files)
        yield


# What TFDS prepares: its own builders, on small archives instead of downloads ----------------


class Downloads:
    """Stands for TFDS's download manager: files are where they were put."""

    def __init__(self, folder):
        self.manual_dir = folder
        self.downloaded_size = 0

    def download(self, urls):
        """Returns the file of each address."""
        if isinstance(urls, str):
            return str(self.manual_dir / urls.split("/")[-1].split("?")[0])
        return [self.download(url) for url in urls]

    def download_and_extract(self, urls):
        """Returns the folder of each archive's contents."""
        if not isinstance(urls, str):
            return [self.download_and_extract(url) for url in urls]
        path = pathlib.Path(self.download(urls))
        target = path.with_name(f"{path.name}.extracted")
        with tarfile.open(path) as archive:
            archive.extractall(target, filter="data")
        return str(target)

    def iter_archive(self, path):
        """Yields the names and contents of an archive's files."""
        with tarfile.open(path) as archive:
            for member in archive:
                yield member.name, io.BytesIO(archive.extractfile(member).read())


def published(name, folder, monkeypatch, file_format="tfrecord"):
    """Lets TFDS prepare a small copy of one of its own data sets; returns its folder."""
    source = folder / "downloads"
    source.mkdir()
    if name == "caltech_birds2011":
        cub_source(source)
        segmentations = {
            f"segmentations/{row[0].replace('.jpg', '.png')}": mask(row[4]) for row in CUB
        }
        write(source, {"segmentations.tgz": tar_bytes(segmentations, "w:gz")})
    else:
        ilsvrc_archives(source)
    monkeypatch.setattr(
        dataset_builder.DatasetBuilder,
        "_make_download_manager",
        lambda self, **options: Downloads(source),
    )
    builder = tfds.builder(name, data_dir=folder / "tfds", file_format=file_format)
    with several_files():
        builder.download_and_prepare()
    return builder.data_dir
