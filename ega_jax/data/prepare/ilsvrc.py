"""ILSVRC-2012 and ImageNetV2: training list, boxes from XML, and names that were issued again."""

import functools
import io
import math
import os
import re
import xml.etree.ElementTree
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

from ega_jax.data.files.headers import read_header
from ega_jax.data.files.listing import walk
from ega_jax.data.files.write_metadata import metadata_texts
from ega_jax.data.prepare import archives
from ega_jax.data.prepare.published import (
    FIELD,
    DataSet,
    Size,
    Sizes,
    Split,
    clip,
    read_texts,
)
from ega_jax.data.source import DataError

_V2 = "imagenetv2-threshold0.7.tar.gz, see https://github.com/modestyachts/ImageNetV2"
_OWNERS = "from https://image-net.org (with an account)"
_WORDNET = re.compile(r"n\d{8}")
_TRAIN = re.compile(r"(n\d{8})_\d+\.JPEG")
_TRAIN_ARCHIVE = re.compile(r"(n\d{8})\.tar")
_TEST = re.compile(r"ILSVRC2012_val_\d{8}\.JPEG")
_TEST_XML = re.compile(r"(ILSVRC2012_val_\d{8})\.xml")
_HASHED = re.compile(r"[0-9a-f]{16,}\.jpeg")
_OTHER_V2 = re.compile(r"(?i)matched-?frequency|top-?images")  # the same names, other images
_CHANCE = math.log(1e-6)  # that names are taken for right by accident


class ILSVRC(DataSet):
    """ILSVRC-2012: its validation set is the test split, ImageNetV2 the validation split."""

    name = "ILSVRC"
    num_classes = 1000
    published = {"train": 1_281_167, "val": 10_000, "test": 50_000}
    where = {
        "train": f"ILSVRC2012_img_train.tar {_OWNERS}",
        "val": _V2,
        "test": f"ILSVRC2012_img_val.tar {_OWNERS}",
    }

    def __init__(self, source: str, metadata: str | None, out: str) -> None:
        """Finds out what there should be; see the base class."""
        # WordNet ids of test images, as far as anything tells them.
        self._wordnet: dict[str, str] = {}
        self._xml = {
            f"val/{_TEST_XML.fullmatch(name)[1]}.JPEG": _Annotation(text, name)
            for name, text in read_texts(source, _TEST_XML, re.compile(r"(?i)bbox_val")).items()
        }
        self._wordnet.update({path: found.wordnet for path, found in self._xml.items()})
        super().__init__(source, metadata, out)
        self._names: dict[tuple[str, str], str] = {}
        self._label_of: dict[str, str] = {}  # ImageNetV2 folders named by WordNet id
        if not self.splits["val"].problem:
            self._map_v2(self.splits["val"])

    def place(self, parts: tuple[str, ...]) -> str:
        """Goes by the file's name; ImageNetV2's are in folders named by label or WordNet id."""
        name, folder = parts[-1], parts[-2] if len(parts) > 1 else ""
        if match := _TRAIN.fullmatch(name):
            return f"train/{match[1]}/{name}"
        if _TEST.fullmatch(name):
            if _WORDNET.fullmatch(folder):
                self._wordnet[f"val/{name}"] = folder
            return f"val/{name}"
        if _is_v2(parts):
            folder = self._label_of.get(folder, folder)
            return self._names.get((folder, name), f"val2/{folder}/{name}")
        return ""

    def plan(self, split: str) -> Split:
        """Makes a split of the field's metadata, else of class folders or XML files."""
        plan = super().plan(split)
        if not plan.problem:
            if split == "val":
                _check_v2_labels(plan)
            return plan
        if split == "train":
            plan.problem, plan.pattern = "", re.compile(rf"train/(n\d{{8}})/{_TRAIN.pattern}")
            plan.texts = train_metadata
        elif split == "test" and self._xml:
            plan.problem, plan.images = "", dict.fromkeys(sorted(self._xml))
            plan.texts = self._test_metadata
        elif split == "test":
            plan.problem += f", or ILSVRC2012_bbox_val_v3.tgz {_OWNERS}"
        return plan

    def contradiction(self, split: str, sizes: Sizes) -> str:
        """Compares labels by the sorted WordNet ids of `train` with those of the test images."""
        test = self.splits["test"]
        if split != "train" or test.problem:
            return ""
        label_of = _labels(path.split("/")[1] for path in sizes if path.startswith("train/"))
        for line in test.texts(sizes)["class_labels.txt"].splitlines():
            path, label = line.rsplit(",", 1)
            wordnet = self._wordnet.get(path)
            if wordnet is not None and label_of.get(wordnet) != int(label):
                return (
                    f"{path} is of {wordnet} and has label {label} in class_labels.txt, but that "
                    f"class is number {label_of.get(wordnet)} of the {len(label_of)} class folders "
                    "for training, sorted and counted from 0; a class folder is missing or extra"
                )
        return ""

    def _test_metadata(self, sizes: Sizes) -> dict[str, str]:
        label_of = _labels(found.wordnet for found in self._xml.values())
        found = {path: self._xml[path] for path in self.splits["test"].images if path in sizes}
        labels = {path: label_of[annotation.wordnet] for path, annotation in found.items()}
        boxes = {
            path: [clip(box, sizes[path]) for box in annotation.boxes]
            for path, annotation in found.items()
        }
        return metadata_texts(labels, sizes, boxes)

    def _map_v2(self, plan: Split) -> None:
        """Finds out what ImageNetV2's images are called here, or says in `plan` that it cannot.

        Folders may be named by WordNet id instead of label, files by hash instead of number.
        """
        if all(os.path.isfile(os.path.join(self.out, path)) for path in plan.images):
            return
        folders, wordnet = _read_v2(self.source)
        if named := {folder for folder in folders if _WORDNET.fullmatch(folder)}:
            known = named | wordnet | set(self._wordnet.values())
            if len(known) != self.num_classes:
                plan.remedy = (
                    f"The folders are named by WordNet id, such as {min(named)}. Their labels are "
                    f"the places of all {self.num_classes} ids in sorted order, but folders, XML "
                    f"files and training images tell of {len(known)}. Add ILSVRC2012_bbox_val_v3"
                    ".tgz or the extracted training images, or name the folders by label"
                )
                return
            self._label_of = {name: str(label) for name, label in _labels(known).items()}
        hashed: dict[str, dict[str, Size]] = defaultdict(dict)
        for folder, sizes in folders.items():
            hashed[self._label_of.get(folder, folder)].update(sizes)
        if not any(hashed.values()):
            return
        names = match_names(hashed, plan.images)
        if names is None:
            plan.remedy = (
                "The file names are hashes that were issued later, which in sorted order do not "
                "have the sizes of image_sizes.txt. Rename the images to <label>/<0-9>.jpeg first; "
                f"{FIELD}/issues/42 has a list of which is which"
            )
        else:
            self._names = names


class _Annotation:
    """What the XML file of an image says: WordNet id, and xyxy boxes."""

    def __init__(self, text: str, name: str) -> None:
        try:
            objects = xml.etree.ElementTree.fromstring(text).findall("object")
            self.wordnet = objects[0].findtext("name")
            self.boxes: list[Any] = [
                tuple(int(one.findtext(f"bndbox/{at}")) for at in ("xmin", "ymin", "xmax", "ymax"))
                for one in objects
            ]
        except (xml.etree.ElementTree.ParseError, IndexError, TypeError, ValueError) as error:
            raise DataError(
                f"{name} is no annotation with object/name and object/bndbox/xmin, ymin, xmax, "
                f"ymax ({error}); get it again"
            ) from error


def train_metadata(sizes: Sizes) -> dict[str, str]:
    """Makes the metadata files of the training images: labels by sorted WordNet id, no boxes."""
    paths = sorted(path for path in sizes if path.startswith("train/"))
    label_of = _labels(path.split("/")[1] for path in paths)
    return metadata_texts({path: label_of[path.split("/")[1]] for path in paths}, sizes, None)


def match_names(
    hashed: dict[str, dict[str, Size]], images: dict[str, Size | None]
) -> dict[tuple[str, str], str] | None:
    """Takes hashed names in sorted order for 0.jpeg to 9.jpeg, if all sizes agree.

    Args:
      hashed: the size of each file, by folder (the label) and name.
      images: the size of each `val2/<label>/<n>.jpeg`.

    Returns:
      For each folder and hashed name the image, or None: a size differs, files are missing, or
      the sizes are so alike that they would agree by accident.
    """
    wanted: defaultdict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
    for path, size in images.items():
        wanted[path.split("/")[1]][path] = size
    names, chance = {}, 0.0  # the logarithm of the probability that shuffled names agree
    for folder, sizes in wanted.items():
        found = hashed.get(folder, {})
        paths = sorted(sizes, key=lambda path: int(os.path.basename(path).removesuffix(".jpeg")))
        if [found[name] for name in sorted(found)] != [sizes[path] for path in paths]:
            return None
        names.update(
            {(folder, name): path for name, path in zip(sorted(found), paths, strict=True)}
        )
        chance += sum(math.lgamma(n + 1) for n in Counter(found.values()).values())
        chance -= math.lgamma(len(found) + 1)
    return names if chance < _CHANCE else None


def _check_v2_labels(plan: Split) -> None:
    """Checks that ImageNetV2's folders are labels as such, not their places in a sorted list."""
    for line in plan.texts({})["class_labels.txt"].split("\n"):
        path, label = line.rsplit(",", 1)
        if not re.fullmatch(rf"val2/{label}/\d+\.jpeg", path.strip()):
            raise DataError(
                f"class_labels.txt of ILSVRC/val: {line!r} is not val2/<label>/<n>.jpeg,<label>; "
                f"take the file from {FIELD}"
            )


def _labels(wordnet_ids) -> dict[str, int]:
    return {wordnet: label for label, wordnet in enumerate(sorted(set(wordnet_ids)))}


def _is_v2(parts: tuple[str, ...]) -> bool:
    return (
        len(parts) > 1
        and re.fullmatch(r"\d{1,3}|n\d{8}", parts[-2]) is not None
        and (re.fullmatch(r"\d\.jpeg", parts[-1]) or _HASHED.fullmatch(parts[-1])) is not None
        and not any(map(_OTHER_V2.search, parts))
    )


def _read_v2(source: str) -> tuple[dict[str, dict[str, Size]], set[str]]:
    """Looks through ImageNetV2, and for the WordNet ids of training images that lie unpacked.

    Returns:
      For each folder of ImageNetV2 the sizes of its images with hashed names, by name; and ids.
    """
    folders: dict[str, dict[str, Size]] = defaultdict(dict)

    def add(parts: tuple[str, ...], read: Callable[[], bytes]) -> None:
        if _is_v2(parts):
            sizes = folders[parts[-2]]
            if _HASHED.fullmatch(parts[-1]):
                header = read_header(io.BytesIO(read()))
                if not isinstance(header, str):
                    sizes[parts[-1]] = header[:2]

    packed, wordnet = [], set()
    for parts, path in walk(source):
        if archives.is_archive(path) and re.search(r"(?i)imagenetv2", parts[-1]):
            packed.append(path)
        if match := _TRAIN.fullmatch(parts[-1]) or _TRAIN_ARCHIVE.fullmatch(parts[-1]):
            wordnet.add(match[1])
        add(parts, functools.partial(_bytes, path))
    for path in packed:
        for member in archives.members(path):
            if not member.fault:
                add(member.parts, member.read)
    return folders, wordnet


def _bytes(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(archives.MAX_BYTES)
