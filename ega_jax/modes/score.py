"""Figures from the saved heat maps of any system: no network, no images, only maps and metadata."""

import functools
import os
from collections.abc import Callable, Iterator

import cv2
import numpy as np
from etils import epath

from ega_jax import localization
from ega_jax.data.files.folder import split_sources
from ega_jax.data.source import DataError, Source
from ega_jax.evaluation import pool
from ega_jax.evaluation.reports import report_splits
from ega_jax.evaluation.scores import Scores
from ega_jax.runtime import files


def score(
    scoremaps: str,
    metadata: str,
    *,
    workdir: str,
    images: str | None = None,
    masks: str | None = None,
    map_size: int = 224,
    threshold: float = 0.2,
    threshold_interval: float = 0.001,
    resamples: int = 1000,
    workers: int | None = None,
) -> dict:
    """Scores `<scoremaps>/<image id>.npy` against the field's metadata; writes `results.json`.

    Args:
      scoremaps: folder of maps of the true class, `[H, W]` in [0, 1]. A map that is not
        `map_size` squared is resized to it, bilinearly; others are taken as they are.
      metadata: folder of one split, or of `test` and, for thresholds carried over, `val`.
      workdir: receives `results.json` and the files of `per_image.py`.
      images: folder of the images, needed only if `image_sizes.txt` is missing.
      masks: folder that mask paths are relative to; default: `images`.
      map_size: side of the square on which boxes and masks are compared (reference: 224).
      threshold: the fixed one.
      threshold_interval: distance of the thresholds tried.
      resamples: of the images for 95 % intervals; 0: no intervals.
      workers: processes that score maps; None: as many as pay. The figures do not depend on it.

    Returns:
      What `results.json` holds.

    Raises:
      DataError: metadata or maps cannot be used; names the file.
    """
    thresholds = localization.thresholds(threshold_interval)
    sources = split_sources(metadata, images=images, masks=masks)
    for source in sources.values():
        _check_files(scoremaps, source)
    scores = {}
    for split, source in sources.items():
        scores[split] = Scores.empty(source, thresholds)
        images = _images(scores[split], scoremaps, source, map_size)
        number = pool.worker_count(len(source)) if workers is None else workers
        for index, outcome in pool.score_images(images, thresholds, number):
            scores[split].add_outcome(source, index, outcome)
    results = {"scoremaps": os.path.abspath(scoremaps), "map_size": map_size} | report_splits(
        scores, sources, workdir, threshold=threshold, resamples=resamples
    )
    files.write_json(epath.Path(workdir) / "results.json", results)
    return results


def _images(
    scores: Scores, scoremaps: str, source: Source, size: int
) -> Iterator[tuple[int, Callable[[], localization.ImageMap]]]:
    """Yields the indices of a split's images, and functions that load them."""

    def load(index):
        path = os.path.join(scoremaps, f"{source.image_ids[index]}.npy")
        return scores.request(source, index, _read_map(path, size))

    for index in range(len(source)):
        yield index, functools.partial(load, index)


def _check_files(scoremaps: str, source: Source) -> None:
    missing = [
        path
        for image_id in source.image_ids
        if not os.path.isfile(path := os.path.join(scoremaps, f"{image_id}.npy"))
    ]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(source)} heat maps of {source.name} do not exist, the first "
            f"is {missing[0]}; every image of the metadata needs one"
        )


def _read_map(path: str, size: int) -> np.ndarray:
    try:
        score_map = localization.check_score_map(np.load(path, allow_pickle=False))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {error}") from error
    if score_map.shape == (size, size):
        return score_map
    return cv2.resize(score_map, (size, size), interpolation=cv2.INTER_LINEAR)
