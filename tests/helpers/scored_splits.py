"""A split with made-up truths, maps and probabilities, to be scored."""

import numpy as np

from ega_jax import localization
from ega_jax.data.source import Source
from ega_jax.evaluation.scores import Scores

SIZE, IMAGES, CLASSES = 24, 40, 7


def make(seed=0, images=IMAGES, boxes=True, masks=True):
    """A split, and a map and class probabilities for each of its images."""
    rng = np.random.default_rng(seed)
    low = rng.integers(0, 12, (images, 2, 2))
    truths = np.concatenate((low, low + rng.integers(4, 12, low.shape)), axis=2)
    inside = rng.random((images, SIZE, SIZE)) < 0.3
    source = Source(
        name="made",
        image_ids=tuple(map(str, range(images))),
        labels=rng.integers(0, CLASSES, images).astype(np.int32),
        class_names=tuple(map(str, range(CLASSES))),
        load_image=lambda index: None,
        image_sizes=np.full((images, 2), SIZE),
        boxes=tuple(truths) if boxes else None,
        load_mask=(lambda i, size: (inside[i], ~inside[i] & (i % 3 == 0))) if masks else None,
    )
    maps = [localization.score_map(rng.random((4, 4)), SIZE) for _ in range(images)]
    maps[1] = maps[1] * 0.4  # not all reach the highest level, and one has no foreground
    maps[2] = np.zeros_like(maps[2])
    return source, maps, rng.dirichlet(np.ones(CLASSES), images)


def score(made, indices, thresholds, classify=True):
    source, maps, probabilities = made
    scores = Scores.empty(source, thresholds)
    for index in indices:
        scores.add(source, index, maps[index], probabilities[index] if classify else None)
    return scores
