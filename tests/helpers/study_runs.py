"""A study of two small rows, and folders of runs as the program leaves them, without training."""

import pathlib

import numpy as np

from ega_jax import localization
from ega_jax.evaluation import per_image, score_files
from ega_jax.runtime import files
from ega_jax.studies.plan import Metric, Row, Study
from ega_jax.studies.runs import runs_of
from tests.helpers import scored_splits

METRICS = {
    "Top-1 cls err": Metric("top1_cls_err"),
    "PxAP err": Metric("pxap", complement=True),
}
THRESHOLDS = localization.thresholds(0.05)


def two_rows(**more) -> Study:
    """CAM and EGA on the quickstart, with published figures of EGA."""
    settings = {
        "title": "Two rows",
        "rows": (
            Row("cam", "CAM", "configs/quickstart.py:cam"),
            Row(
                "ega",
                "EGA",
                "configs/quickstart.py:ega",
                baseline="cam",
                published={"Top-1 cls err": 20.0},
            ),
        ),
        "metrics": METRICS,
        "seeds": (0, 1),
    }
    return Study(**settings | more)


def results_of(run, **test) -> dict:
    """What `results.json` holds of a run that has these figures."""
    config = run.config().to_dict()
    step = config["steps"]
    return {"config": config, "step": step, "test": test, "images_per_second": 10.0, "seconds": 2.0}


def leave(folder: pathlib.Path, run, **test) -> pathlib.Path:
    """Writes the results of a run as the program does, whole or not at all: others look on."""
    place = folder / run.name
    place.mkdir(parents=True, exist_ok=True)
    files.write_json(place / "results.json", results_of(run, **test))
    return place


def leave_scored(folder: pathlib.Path, study: Study, row: str, seed: int, made=None):
    """Writes results, images and scores of a run whose maps are random; returns folder, scores."""
    made = made or scored_splits.make(images=12)
    source, maps, _ = made
    rng = np.random.default_rng([seed, *row.encode()])
    maps = [np.roll(score_map, rng.integers(8), axis=0) for score_map in maps]
    made = source, maps, rng.dirichlet(np.ones(scored_splits.CLASSES), len(source))
    scores = scored_splits.score(made, range(len(source)), THRESHOLDS)
    (run,) = runs_of(study, study.row(row), (seed,))
    place = leave(folder, run, **scores.figures(0.2))
    score_files.save(place / "scores_test.npz", scores)
    per_image.write_csv(place / "per_image_test.csv", per_image.per_image(scores, source, 0.2))
    return place, scores
