"""Makes small data sets, in folders and through TFDS, with what TFDS itself prepares among them."""

import contextlib
import io
import pathlib
import tarfile

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core import dataset_builder
from tensorflow_datasets.core.utils import shard_utils

from ega_jax.data.tfds import builder as tfds_builder
from tests.helpers.archives import tar_bytes
from tests.helpers.published_files import (
    CUB,
    cub_metadata,
    cub_source,
    mask,
    picture,
    run,
    write,
)
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
        if isinstance(urls, dict):
            return {key: self.download_and_extract(url) for key, url in urls.items()}
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


def pet_trimap(size, box):
    """A trimap: an object in a border of 2 pixels."""
    pixels = np.full(size[::-1], 2, np.uint8)
    x0, y0, x1, y1 = box
    pixels[y0 : y1 + 1, x0 : x1 + 1] = 3
    pixels[y0 + 2 : y1 - 1, x0 + 2 : x1 - 1] = 1
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


PET_CLASSES = ("Abyssinian", "american_bulldog", "american_pit_bull_terrier", "basset_hound")
PET_BOXES = [(n % 5, 1 + n % 3, 20 + n % 10, 22) for n in range(100)]  # by the image's number


def pet_archives(folder, train=7, test=3):
    """Writes the two archives of Oxford-IIIT Pet, with few images of few breeds."""
    images, annotations = {}, {}
    lists = {"trainval": [], "test": []}
    for label, breed in enumerate(PET_CLASSES, start=1):
        for n in range(1, train + test + 1):
            name = f"{breed}_{n}"
            lists["trainval" if n <= train else "test"].append(f"{name} {label} 1 1")
            images[f"images/{name}.jpg"] = picture((40, 30), seed=10 * label + n)
            trimap = pet_trimap((40, 30), PET_BOXES[n])
            annotations[f"annotations/trimaps/{name}.png"] = trimap
            if n <= train:
                annotations[f"annotations/xmls/{name}.xml"] = _HEAD
    for split, lines in lists.items():
        annotations[f"annotations/{split}.txt"] = "\n".join(lines).encode()
    for name, files in (("images", images), ("annotations", annotations)):
        write(folder, {f"{name}.tar.gz": tar_bytes(files, "w:")})


_HEAD = b"""<annotation><size><width>40</width><height>30</height></size><object><bndbox>
<xmin>9</xmin><ymin>9</ymin><xmax>12</xmax><ymax>12</ymax></bndbox></object></annotation>"""


def published(name, folder, monkeypatch, file_format="tfrecord"):
    """Lets TFDS prepare a small copy of one of its own data sets; returns its folder."""
    offered(name, folder, monkeypatch)
    builder = tfds.builder(name, data_dir=folder / "tfds", file_format=file_format)
    with several_files():
        builder.download_and_prepare()
    return builder.data_dir


def offered(name, folder, monkeypatch):
    """Lets TFDS find a small copy of what it would download of one of its own data sets."""
    source = folder / "downloads"
    source.mkdir()
    if name == "oxford_iiit_pet":
        pet_archives(source)
    elif name == "caltech_birds2011":
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
