"""From the results of runs to a table: means over seeds, published figures, paired comparisons."""

import csv
import dataclasses
import functools
import hashlib
import io
import json
import os
import pathlib
import statistics
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ega_jax.evaluation import bootstrap, score_files
from ega_jax.runtime.nested import flatten
from ega_jax.studies.plan import Metric, Row, Study, StudyError

# What a run costs, by the title of its column.
COSTS = {"images/s": "images_per_second", "seconds": "seconds"}
RESAMPLES = 1000

Found = Mapping[int, pathlib.Path]  # folders of finished runs by seed


@dataclasses.dataclass(frozen=True)
class Cell:
    """A figure of a row.

    Attributes:
      values: by seed.
      published: in the study's source; None: nothing.
      versus: mean difference from the baseline, over the seeds that both have; None: no baseline,
        or no such seed.
      interval: 95 % interval of `versus`; None where the images of the two are not known.
    """

    values: Mapping[int, float]
    published: float | None = None
    versus: float | None = None
    interval: tuple[float, float] | None = None

    @property
    def mean(self) -> float | None:
        """Mean over the seeds."""
        return statistics.mean(self.values.values()) if self.values else None

    @property
    def deviation(self) -> float | None:
        """Standard deviation over the seeds, of a sample; None for one seed."""
        return statistics.stdev(self.values.values()) if len(self.values) > 1 else None

    @property
    def difference(self) -> float | None:
        """Mean minus published figure."""
        return self.mean - self.published if self.values and self.published is not None else None


@dataclasses.dataclass(frozen=True)
class Line:
    """A row with its figures: cells by column, and the means of `COSTS`, where they are known."""

    row: Row
    seeds: tuple[int, ...]
    cells: Mapping[str, Cell]
    costs: Mapping[str, float]


def summarize(
    study: Study, found: Mapping[str, Found], resamples: int = RESAMPLES, seed: int = 0
) -> list[Line]:
    """Makes the lines of a study's table.

    The interval of a difference is the middle 95 % of the mean differences of resamples. Each draws
    images with replacement, the same ones for both rows, on which thresholds that are the best of
    the split are chosen again; and seeds with replacement, in pairs.

    Args:
      study: its rows and columns.
      found: by row, the finished runs.
      resamples: for the intervals; 0: none.
      seed: of the draws.

    Raises:
      StudyError: results that are unreadable.
    """
    results = {
        name: {seed: _read(path) for seed, path in runs.items()} for name, runs in found.items()
    }

    def values(row: str, metric: Metric) -> dict[int, float]:
        known = {s: r["test"].get(metric.figure) for s, r in results.get(row, {}).items()}
        return {s: float(metric.of(value)) for s, value in known.items() if value is not None}

    def cell(row: Row, title: str) -> Cell:
        metric = study.metrics[title]
        mine, published = values(row.name, metric), row.published.get(title)
        theirs = values(row.baseline, metric) if row.baseline else {}
        both = sorted(mine.keys() & theirs.keys())
        if not both:
            return Cell(mine, published)
        versus = statistics.mean(mine[s] - theirs[s] for s in both)
        interval = None
        if resamples:
            pairs = [(found[row.name][s], found[row.baseline][s]) for s in both]
            interval = _interval(pairs, metric, resamples, seed)
        return Cell(mine, published, versus, interval)

    return [
        Line(
            row,
            tuple(sorted(results.get(row.name, {}))),
            {title: cell(row, title) for title in study.metrics},
            _costs(results.get(row.name, {}).values()),
        )
        for row in study.rows
    ]


def _costs(results: Iterable[Mapping]) -> dict[str, float]:
    known = {title: [r[name] for r in results if name in r] for title, name in COSTS.items()}
    return {title: statistics.mean(values) for title, values in known.items() if values}


def _interval(
    pairs: list[tuple[pathlib.Path, pathlib.Path]], metric: Metric, resamples: int, seed: int
) -> tuple[float, float] | None:
    """Computes the interval of the mean difference of pairs of runs."""
    differences = []
    for pair in pairs:
        mine, theirs = (_resampled(path, resamples, seed) for path in pair)
        if mine is None or theirs is None or mine[0] != theirs[0]:  # not the same images
            return None
        a, b = (metric.of(of_run[1].get(metric.figure, np.nan)) for of_run in (mine, theirs))
        differences.append(a - b)
    table = np.stack(differences)  # [seeds, resamples]
    drawn = np.random.default_rng(seed + 1).integers(0, len(pairs), table.shape)
    means = np.take_along_axis(table, drawn, axis=0).mean(axis=0)
    means = means[np.isfinite(means)]
    if not len(means):
        return None
    low, high = np.percentile(means, bootstrap.PERCENTILES)
    return float(low), float(high)


def _resampled(
    folder: pathlib.Path, resamples: int, seed: int
) -> tuple[str, dict[str, np.ndarray]] | None:
    """Returns the images of a run and its figures in resamples of them; None without its files."""
    if not all((folder / name).exists() for name in ("scores_test.npz", "per_image_test.csv")):
        return None
    written = (folder / "results.json").stat().st_mtime  # once for all tables of a process
    return _resample(os.fspath(folder), written, resamples, seed)


@functools.lru_cache(maxsize=256)
def _resample(
    folder: str, written: float, resamples: int, seed: int
) -> tuple[str, dict[str, np.ndarray]]:
    path = pathlib.Path(folder)
    scores = score_files.load(path / "scores_test.npz")
    validation = path / "scores_validation.npz"
    carried = score_files.load(validation) if validation.exists() else None
    threshold = _read(path)["config"]["eval"]["threshold"]
    figures: dict[str, np.ndarray] = {}
    for number, resample in enumerate(bootstrap.draw(scores, resamples, seed)):
        for name, value in flatten(resample.figures(threshold, carried)).items():
            figures.setdefault(name, np.full(resamples, np.nan))[number] = value
    return _images(path), figures


def _images(folder: pathlib.Path) -> str:
    """Returns a digest of the ids and labels of the test images, in order."""
    lines = csv.reader(io.StringIO((folder / "per_image_test.csv").read_text()))
    known = "\n".join(",".join(line[:2]) for line in lines)
    return hashlib.sha256(known.encode("utf-8", "surrogateescape")).hexdigest()


def _read(folder: pathlib.Path) -> dict[str, Any]:
    """Reads the results of a run, the figures of its test split by their paths."""
    path = folder / "results.json"
    try:
        results = json.loads(path.read_text())
        return results | {"test": flatten(results.get("test", {}))}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise StudyError(f"cannot read {path}: {error}; remove it, or evaluate the run") from error
