"""What a data set is to the rest of the program: images, labels, and what it knows of where."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from ega_jax.runtime.errors import UserError

SPLITS = ("train", "val", "test")  # as the field calls them


class DataError(UserError, ValueError):
    """Says which file, line or image of a data set cannot be used, and what to do about it."""


@dataclasses.dataclass(frozen=True)
class Source:
    """One split of a data set, random access by index; everything else is derived from it.

    Attributes:
      name: data set and split, for messages, e.g. `creatures/test`.
      image_ids: N unique ids, in evaluation order; folder data: the path below the image folder.
      labels: `[N]` int32 in `[0, num_classes)`.
      class_names: one name per class.
      load_image: TensorFlow graph code, scalar int64 index -> `[H, W, 3]` uint8 RGB, upright.
      image_sizes: `[N, 2]` int64, width and height of the upright images, the frame in which
        `boxes` are given; None where nobody asked.
      boxes: per image `[K, 4]` ground-truth boxes, xyxy in pixels of the original image; None if
        the split has no boxes.
      load_mask: index, size -> (object, ignore), two `[size, size]` bool arrays; may be called by
        several threads at once. None if the split has no masks.
    """

    name: str
    image_ids: tuple[str, ...]
    labels: np.ndarray
    class_names: tuple[str, ...]
    load_image: Callable[[Any], Any]
    image_sizes: np.ndarray | None = None
    boxes: tuple[np.ndarray, ...] | None = None
    load_mask: Callable[[int, int], tuple[np.ndarray, np.ndarray]] | None = None

    def __len__(self) -> int:
        """Number of images."""
        return len(self.image_ids)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)


def array_loader(images: np.ndarray) -> Callable[[Any], Any]:
    """Makes the `load_image` of a `Source` whose images are in memory.

    Args:
      images: `[N, H, W, 3]` uint8 RGB; copied once, then shared by every pipeline.

    Returns:
      TensorFlow graph code, scalar int64 index -> `[H, W, 3]` uint8.

    Raises:
      ValueError: `images` has another shape or dtype.
    """
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
        raise ValueError(
            f"images: expected [N, H, W, 3] uint8, got {list(images.shape)} {images.dtype}"
        )
    from ega_jax.data.tf_on_cpu import tf  # Here, so that a Source itself needs no TensorFlow.

    # A variable is captured by reference; of a tensor or an array every pipeline would have a copy.
    pixels = tf.Variable(images, trainable=False)
    return lambda index: tf.gather(pixels, index)
