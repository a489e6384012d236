"""What a data set is to the rest of the program: images, labels, and what it knows of where."""

import dataclasses
from collections.abc import Callable, Mapping
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
      load_image: TensorFlow graph code, scalar int64 index -> `[H, W, 3]` uint8 RGB, upright;
        AutoGraph is not applied, so branches are `tf.cond`, not `if`.
      image_sizes: `[N, 2]` int64, width and height of the upright images, the frame in which
        `boxes` are given; None where nobody asked.
      boxes: per image `[K, 4]` ground-truth boxes, xyxy in pixels of the original image; None if
        the split has no boxes.
      load_mask: index, size -> (object, ignore), two `[size, size]` bool arrays; may be called by
        several threads at once. None if the split has no masks.
      unusable: images among these that cannot be read, by id, and why; see `without`.
      left_out: images of the data set that are not among these, by id, and why.
      background: labels of the classes without an object: images of these are classified, but
        nothing is to be localized in them.
    """

    name: str
    image_ids: tuple[str, ...]
    labels: np.ndarray
    class_names: tuple[str, ...]
    load_image: Callable[[Any], Any]
    image_sizes: np.ndarray | None = None
    boxes: tuple[np.ndarray, ...] | None = None
    load_mask: Callable[[int, int], tuple[np.ndarray, np.ndarray]] | None = None
    unusable: Mapping[str, str] = dataclasses.field(default_factory=dict)
    left_out: Mapping[str, str] = dataclasses.field(default_factory=dict)
    background: frozenset[int] = frozenset()

    def __len__(self) -> int:
        """Number of images."""
        return len(self.image_ids)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def has_object(self, index: int) -> bool:
        """Says whether there is something to localize in an image."""
        return int(self.labels[index]) not in self.background


def with_objects(source: Source) -> Source | None:
    """Leaves out the images of classes without an object; None if there is no other."""
    nothing = {
        image_id: "has no object"
        for index, image_id in enumerate(source.image_ids)
        if not source.has_object(index)
    }
    if len(nothing) == len(source):
        return None
    return without(source, nothing) if nothing else source


def without(source: Source, left_out: Mapping[str, str]) -> Source:
    """Leaves images out of a split; the others keep their order.

    Args:
      source: the split.
      left_out: the images by id, and why; ids that the split does not have are only noted.

    Returns:
      The split of the other images, with these as its `left_out`.

    Raises:
      DataError: none would be left.
    """
    kept = np.array([i for i, one in enumerate(source.image_ids) if one not in left_out], np.int64)
    if not len(kept):
        raise DataError(f"{source.name}: all {len(source)} images would be left out")
    if len(kept) == len(source):
        return dataclasses.replace(source, left_out=dict(left_out))
    from ega_jax.data.tf_on_cpu import tf  # Here, so that a Source itself needs no TensorFlow.

    positions = tf.constant(kept)  # captured by reference
    boxes, load_mask = source.boxes, source.load_mask
    return dataclasses.replace(
        source,
        image_ids=tuple(source.image_ids[i] for i in kept),
        labels=source.labels[kept],
        load_image=lambda index: source.load_image(positions[index]),
        image_sizes=None if source.image_sizes is None else source.image_sizes[kept],
        boxes=None if boxes is None else tuple(boxes[i] for i in kept),
        load_mask=None if load_mask is None else lambda i, size: load_mask(int(kept[i]), size),
        unusable={k: v for k, v in source.unusable.items() if k not in left_out},
        left_out=dict(left_out),
    )


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
