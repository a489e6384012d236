"""The embedded data set `creatures`: drawn on the spot, no download, the same bytes every time."""

import numpy as np

from ega_jax.data.creatures.draw import draw
from ega_jax.data.creatures.kept import kept
from ega_jax.data.creatures.shapes import SPECIES
from ega_jax.data.source import DataError, Source, array_loader

SPLITS = {"train": 4000, "val": 300, "test": 500}  # images by default
MIN_SIZE = 32  # pixels; below, the marks on a small head cannot be told apart


def creatures(
    split: str,
    *,
    num_images: int | None = None,
    image_size: int = 96,
    seed: int = 0,
    num_classes: int = len(SPECIES),
) -> Source:
    """Draws one split of the embedded data set: one creature per image, with box and mask.

    Image i depends on `seed`, the split and i alone. Classes take turns, so they are balanced up to
    one image. Draws about a thousand images a second, and keeps them for the next time.

    Args:
      split: `train`, `val` or `test`.
      num_images: None: 4000, 300 or 500.
      image_size: side of the images in pixels; larger than what a network is fed, as photographs
        are, so that training and test images are both shrunk and look equally sharp.
      seed: another seed is another data set of the same kind.
      num_classes: takes the first ones of the ten species.

    Returns:
      The split, with one box and a mask per image; nothing is to be ignored.

    Raises:
      DataError: an argument is out of range.
    """
    if split not in SPLITS:
        raise DataError(f"creatures has no split {split!r}; choose one of {', '.join(SPLITS)}")
    if num_images is None:
        num_images = SPLITS[split]
    if num_images < 1:
        raise DataError(f"num_images={num_images} must be at least 1")
    if image_size < MIN_SIZE:
        raise DataError(f"image_size={image_size} must be at least {MIN_SIZE} pixels")
    if not 2 <= num_classes <= len(SPECIES):
        raise DataError(f"num_classes={num_classes} must be from 2 to {len(SPECIES)}")
    labels = np.arange(num_images, dtype=np.int32) % num_classes

    def draw_all() -> tuple[np.ndarray, np.ndarray]:
        images = np.empty((num_images, image_size, image_size, 3), np.uint8)
        masks = np.empty((num_images, image_size, image_size), bool)
        stream = list(SPLITS).index(split)
        for i, label in enumerate(labels):
            rng = np.random.default_rng([seed, stream, i])
            images[i], masks[i] = draw(rng, SPECIES[label], image_size)
        return images, masks

    images, masks = kept(
        f"{split}-{num_images}-of-{image_size}px-{num_classes}-classes-seed-{seed}", draw_all
    )

    def load_mask(index: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        nearest = np.arange(size) * image_size // size  # OpenCV's INTER_NEAREST
        return masks[index][np.ix_(nearest, nearest)], np.zeros((size, size), bool)

    return Source(
        name=f"creatures/{split}",
        image_ids=tuple(f"{split}/{i:05d}" for i in range(num_images)),
        labels=labels,
        class_names=tuple(species.name for species in SPECIES[:num_classes]),
        load_image=array_loader(images),
        image_sizes=np.full((num_images, 2), image_size, np.int64),
        boxes=tuple(_boxes(masks)),
        load_mask=load_mask,
    )


def _boxes(masks: np.ndarray) -> np.ndarray:
    """Returns bounding boxes `[N, 1, 4]`: x and y of the first and of the last pixels of a mask."""
    filled = [np.asarray(masks.any(axis=axis)) for axis in (1, 2)]  # columns, rows
    sides = [line.argmax(1) for line in filled]
    sides += [masks.shape[1] - 1 - line[:, ::-1].argmax(1) for line in filled]
    return np.stack(sides, axis=1)[:, np.newaxis].astype(np.int64)
