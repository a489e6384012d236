"""Finds the objects of pictures whose class is known."""

import collections
import logging
from collections.abc import Iterator

import ml_collections
import numpy as np

from ega_jax import localization
from ega_jax.data.export.annotated import Annotated, Found
from ega_jax.data.export.regions import run_lengths_of
from ega_jax.data.files.labelled import Labelled
from ega_jax.data.files.pictures import read_picture
from ega_jax.data.source import DataError
from ega_jax.evaluation.localizer import Localization, Localizer

logger = logging.getLogger(__name__)


def find(
    localizer: Localizer,
    pictures: Labelled,
    chosen: slice,
    predict: ml_collections.ConfigDict,
    threshold: float | str,
) -> tuple[list[Annotated], list[dict]]:
    """Finds the objects of some pictures.

    Args:
      localizer: the network.
      pictures: all that there are.
      chosen: positions of those to look at.
      predict: the section of the config that says which boxes.
      threshold: see `Localizer.each`.

    Returns:
      The pictures with their objects, and of those that cannot be read `image_id` and `reason`.
    """
    skipped: list[dict] = []
    waiting: list[tuple[int, tuple[int, int]]] = []

    labels: collections.deque[int] = collections.deque()  # of pictures that were just read

    def readable() -> Iterator[np.ndarray]:
        for i in range(chosen.start, chosen.stop):
            try:
                picture = read_picture(pictures.path(i))
            except DataError as error:
                logger.warning("skipped %s: %s", pictures.ids[i], error)
                skipped.append({"image_id": pictures.ids[i], "reason": str(error)})
                continue
            waiting.append((i, picture.shape[1::-1]))
            labels.append(pictures.labels[i])
            yield picture

    def known() -> Iterator[int]:
        while labels:
            yield labels.popleft()

    found = localizer.each(
        readable(),
        known(),
        threshold=threshold,
        boxes=predict.boxes,
        max_objects=predict.max_objects,
        smallest=predict.smallest,
    )
    annotated = []
    for (one,) in found:
        i, size = waiting.pop(0)
        name, split = pictures.ids[i], pictures.splits[i]
        annotated.append(_annotated(name, split, size, one))
    return annotated, skipped


def _annotated(image_id: str, split: str, size: tuple[int, int], found: Localization) -> Annotated:
    objects = [
        Found(
            tuple(box),
            float(confidence),
            run_lengths_of(localization.region_in_image(found.parts, number, size)),
        )
        for number, (box, confidence) in enumerate(
            zip(found.boxes.tolist(), found.confidences, strict=True)
        )
    ]
    return Annotated(
        image_id, split, found.class_name, size, found.score, found.threshold, tuple(objects)
    )
