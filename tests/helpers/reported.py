"""Workdirs as evaluation leaves them, of made-up splits."""

import json
import pathlib

import numpy as np

from ega_jax import localization
from ega_jax.config.fields import get_config
from ega_jax.evaluation import gallery
from ega_jax.evaluation.reports import report_splits
from tests.helpers.scored_splits import make, score

THRESHOLDS = localization.thresholds(0.01)


def evaluated(
    folder: pathlib.Path,
    seed: int = 0,
    number: int = 25,
    classify: bool = True,
    answers: int | None = None,
    **kind,
):
    """Evaluates a made-up test split; returns its source and maps.

    `number` is that of the images kept, `answers` the seed of maps and probabilities if it is not
    the split's, `kind` says what the split has (`scored_splits.make`).
    """
    made = make(seed, **kind)
    if answers is not None:
        made = (made[0], *make(answers, **kind)[1:])
    source, maps, _ = made
    scores = score(made, range(len(source)), THRESHOLDS, classify)
    kept = gallery.Gallery("test", source, number, THRESHOLDS)
    rng = np.random.default_rng(seed)
    for index in kept.indices.tolist():
        kept.add(index, rng.integers(0, 256, (32, 32, 3), np.uint8), maps[index])
    gallery.save(folder, kept.to_arrays(scores))
    results = {"config": get_config().to_dict(), "step": 7, "device": {"kind": "cpu"}}
    results |= report_splits({"test": scores}, {"test": source}, folder, threshold=0.2, resamples=9)
    (folder / "results.json").write_text(json.dumps(results))
    return source, maps
