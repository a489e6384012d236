"""The embedded data set `creatures`: drawn on the spot, no download, the same bytes every time."""

import numpy as np
import tensorflow as tf

from ega_jax.data.creatures import SPECIES, draw
from ega_jax.data.source import Source

SPLITS = {"train": 4000, "val": 300, "test": 500}  # images by default


def creatures(
    split: str,
    *,
    num_images: int | None = None,
    image_size: int = 64,
    seed: int = 0,
    num_classes: int = 10,
) -> Source:
    """Draws one split of the embedded data set."""
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r} of creatures; choose from {sorted(SPLITS)}")
    count = SPLITS[split] if num_images is None else num_images
    labels = np.arange(count, dtype=np.int32) % num_classes
    images = np.empty((count, image_size, image_size, 3), np.uint8)
    masks = np.empty((count, image_size, image_size), bool)
    stream = list(SPLITS).index(split)
    for i in range(count):
        rng = np.random.default_rng([seed, stream, i])
        images[i], masks[i], _ = draw(rng, SPECIES[labels[i]], image_size)
    pixels = tf.constant(images)

    def load_mask(index: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        nearest = np.arange(size) * image_size // size
        return masks[index][np.ix_(nearest, nearest)], np.zeros((size, size), bool)

    return Source(
        name=f"creatures/{split}",
        image_ids=tuple(f"{split}/{i:05d}" for i in range(count)),
        labels=labels,
        class_names=tuple(species.name for species in SPECIES[:num_classes]),
        load_image=lambda index: tf.gather(pixels, index),
        image_sizes=np.full((count, 2), image_size, np.int64),
        boxes=tuple(_box(mask) for mask in masks),
        load_mask=load_mask,
    )


def _box(mask: np.ndarray) -> np.ndarray:
    (ys,) = np.nonzero(mask.any(axis=1))
    (xs,) = np.nonzero(mask.any(axis=0))
    return np.array([[xs[0], ys[0], xs[-1], ys[-1]]], np.int64)
