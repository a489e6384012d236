"""Figures from the saved heat maps of any system: no network, no images, only maps and metadata."""

import functools
import os
from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np
from etils import epath

from ega_jax import localization
from ega_jax.data.files.folder import split_sources
from ega_jax.data.files.masks import BINARY
from ega_jax.data.files.score_maps import find_maps, read_map
from ega_jax.data.source import Source
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
    mask_values: str = BINARY,
    background: Sequence[str] = (),
    map_size: int = 224,
    threshold: float = 0.2,
    threshold_interval: float = 0.001,
    resamples: int = 1000,
    workers: int | None = None,
) -> dict:
    """Scores saved heat maps against the field's metadata; writes `results.json`.

    Args:
      scoremaps: folder of `<image id>.npy` (or `.npz` of one array), maps of the true class,
        `[H, W]` in [0, 1]. A map that is not `map_size` squared is resized to it, bilinearly;
        others are taken as they are.
      metadata: folder of one split, or of `test` and, for thresholds carried over, `val`.
      workdir: receives `results.json` and the files of `per_image.py`.
      images: folder of the images, needed only if `image_sizes.txt` is missing.
      masks: folder that mask paths are relative to; default: `images`.
      mask_values: what values mean in masks, `binary` or `trimap`.
      background: names of classes without an object, whose images are not scored.
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
    sources = split_sources(
        metadata, images=images, masks=masks, mask_values=mask_values, background=background
    )
    paths = {s: find_maps(scoremaps, source.image_ids, s) for s, source in sources.items()}
    scores = {}
    for split, source in sources.items():
        scores[split] = Scores.empty(source, thresholds)
        loaders = _loaders(scores[split], source, paths[split], map_size)
        number = pool.worker_count(len(source)) if workers is None else workers
        for index, outcome in pool.score_images(loaders, thresholds, number):
            scores[split].add_outcome(source, index, outcome)
    results = {"scoremaps": os.path.abspath(scoremaps), "map_size": map_size} | report_splits(
        scores, sources, workdir, threshold=threshold, resamples=resamples
    )
    files.write_json(epath.Path(workdir) / "results.json", results)
    return results


def _loaders(
    scores: Scores, source: Source, paths: Sequence[str], size: int
) -> Iterator[tuple[int, Callable[[], localization.ImageMap]]]:
    """Yields the indices of a split's images, and functions that load their maps."""

    def load(index: int) -> localization.ImageMap:
        return scores.request(source, index, _fit(read_map(paths[index]), size))

    for index in range(len(source)):
        yield index, functools.partial(load, index)


def _fit(score_map: np.ndarray, size: int) -> np.ndarray:
    if score_map.shape == (size, size):
        return score_map
    return cv2.resize(score_map, (size, size), interpolation=cv2.INTER_LINEAR)
