"""What TFDS's own data sets say of their images, written as the field's text files.

They have no validation images: the fifth of every ten training images of a class, by name, is one
and is not trained on. Test images are never taken for it.
"""

import collections
import dataclasses
import io
import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epath
from PIL import Image

from ega_jax.data.files.classes import CLASSES_FILE
from ega_jax.data.files.masks import BINARY, TRIMAP
from ega_jax.data.files.metadata import read_metadata
from ega_jax.data.files.write_metadata import metadata_texts
from ega_jax.data.source import DataError

logger = logging.getLogger(__name__)

_OF_TEN, _FIFTH = 10, 4
_BACKGROUND = 2  # of a trimap


@dataclasses.dataclass(frozen=True)
class Annotations:
    """Where the examples of a data set have what is in their images.

    Attributes:
      mask: the feature of the mask.
      mask_values: what values mean in it, as in `masks.py`.
      box: the feature of the box, four shares of the sides: ymin, xmin, ymax, xmax. Empty: the box
        is the smallest one around all of the trimap that is not background.
      class_name: the feature of the class's name. Empty: the labels have names.
    """

    mask: str
    mask_values: str = BINARY
    box: str = ""
    class_name: str = ""

    def read(self, feature: Mapping[str, Any], size: tuple[int, int], name: str) -> "Annotation":
        """Reads the annotation of an example.

        Args:
          feature: of a `tf.train.Example`.
          size: of the image, width and height, as stored.
          name: of the image, for messages.

        Raises:
          DataError: the trimap cannot be read.
        """
        limits = np.array(size * 2) - 1
        if self.box:
            top, left, bottom, right = feature[self.box].float_list.value
            shares = np.array((left, top, right, bottom))
            corners = np.rint(shares * (limits + 1)).astype(int)
        else:
            corners = _around(feature[self.mask].bytes_list.value[0], name)
        box = tuple(np.clip(corners, 0, limits).tolist())
        (label,) = feature["label"].int64_list.value
        class_name = ""
        if self.class_name:
            class_name = feature[self.class_name].bytes_list.value[0].decode()
        return Annotation(label, class_name, box)


PETS = Annotations("segmentation_mask", TRIMAP)
BIRDS = Annotations("segmentation_mask", box="bbox", class_name="label_name")


class Annotation(NamedTuple):
    """What is in an image: a label from 0, the name of its class if it is told, an xyxy box."""

    label: int
    class_name: str
    box: tuple[int, int, int, int]


def _around(trimap: bytes, name: str) -> np.ndarray:
    """Returns the xyxy box from the first to the last pixel that is not background.

    Where all is background it is the whole image.
    """
    try:
        with Image.open(io.BytesIO(trimap)) as image:
            inside = np.asarray(image) != _BACKGROUND
    except OSError as error:
        raise DataError(
            f"the mask of {name!r} cannot be read ({error}); prepare the data set again"
        ) from error
    if not inside.any():
        logger.warning("The mask of %r is all background; its box is the whole image.", name)
        inside = ~inside
    rows, columns = np.nonzero(inside)
    return np.array((columns.min(), rows.min(), columns.max(), rows.max()))


def write_annotations(
    folder: epath.Path,
    stored: Mapping[str, Mapping[str, tuple[Annotation, tuple[int, int]]]],
    class_names: Sequence[str],
) -> None:
    """Writes the metadata of all splits, all or none of them.

    Args:
      folder: of the metadata; what it held before goes.
      stored: of `train` and `test`, by image id: the annotation and the size of the image.
      class_names: of the labels, for classes whose names no annotation tells.
    """
    names = list(class_names)
    part = folder.with_name(f"{folder.name}.part")
    if part.exists():
        part.rmtree()
    for split, images in _with_validation(stored).items():
        (part / split).mkdir(parents=True)
        labels = {image: annotation.label for image, (annotation, _) in images.items()}
        sizes = {image: size for image, (_, size) in images.items()}
        boxes = {image: [annotation.box] for image, (annotation, _) in images.items()}
        for name, text in metadata_texts(labels, sizes, boxes).items():
            (part / split / name).write_text(text)
        read_metadata(part / split, len(names))
        for annotation, _ in images.values():
            names[annotation.label] = annotation.class_name or names[annotation.label]
    (part / CLASSES_FILE).write_text("\n".join(names))
    if folder.exists():
        folder.rmtree()
    part.rename(folder)


def _with_validation(stored: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Sorts the images of each split by name, and holds some for training out for validation."""
    result: dict[str, dict[str, Any]] = {}
    for split, images in stored.items():
        seen: collections.Counter[int] = collections.Counter()
        for image in sorted(images):
            label, place = images[image][0].label, split
            if split == "train" and seen[label] % _OF_TEN == _FIFTH:
                place = "val"
            seen[label] += 1
            result.setdefault(place, {})[image] = images[image]
    return result
