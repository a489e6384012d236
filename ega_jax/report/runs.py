"""What a workdir holds for a report: figures, counts, images, curves, classes."""

import csv
import dataclasses
import io
import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath

from ega_jax.evaluation import gallery
from ega_jax.evaluation.reports import NAMES
from ega_jax.report.events import Curve, read_curves
from ega_jax.runtime.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Reported:
    """A run that was evaluated.

    Attributes:
      name: for people.
      results: what `results.json` holds.
      kept: what `report.npz` holds (`evaluation.gallery`); None if there is none.
      curves: by tag.
      classes: the lines of `per_class_<split>.csv` of the split that is shown, by column.
    """

    name: str
    results: dict[str, Any]
    kept: dict[str, np.ndarray] | None
    curves: dict[str, Curve]
    classes: list[dict[str, str]]

    @property
    def splits(self) -> list[str]:
        """Names of the splits with figures, that which is shown first."""
        return [name for name in reversed(NAMES.values()) if name in self.results]

    @property
    def threshold(self) -> float:
        """Threshold of boxes carried over from validation, or else the fixed one."""
        split = self.results.get(self.splits[0], {}) if self.splits else {}
        figures = split.get("val") or split.get("fixed") or {}
        return figures.get("threshold", self.results["config"]["eval"]["threshold"])

    @property
    def mask_threshold(self) -> float:
        """That of masks; without masks, and in results of before it was kept, that of boxes."""
        return self.results.get("mask_threshold", self.threshold)

    def count(self, name: str) -> np.ndarray | None:
        """Returns one of the counts of the split, `boxes/single` say."""
        return None if self.kept is None else self.kept.get(f"counts/{name}")


def read_run(workdir: str | os.PathLike, name: str = "") -> Reported:
    """Reads what a run left.

    Args:
      workdir: of the run.
      name: for people; empty: that of the folder.

    Raises:
      ConfigError: it was not evaluated, or a file of it is damaged.
    """
    folder = epath.Path(workdir)
    path = folder / "results.json"
    if not path.exists():
        raise ConfigError(
            f"{workdir} has no results.json, so there is nothing to report; run --mode=eval there"
        )
    try:
        results = json.loads(path.read_text())
    except ValueError as error:
        raise ConfigError(f"{path} is damaged ({error}); --mode=eval writes it anew") from error
    split = next((name for name in reversed(NAMES.values()) if name in results), None)
    if split is None and "step" not in results:  # of no network; a run may have had no such split
        raise ConfigError(
            f"{path} has no figures of a split that was scored; --mode=eval or --mode=score writes "
            "them"
        )
    classes = folder / f"per_class_{split}.csv"
    rows = list(csv.DictReader(io.StringIO(classes.read_text()))) if classes.exists() else []
    name = name or os.path.basename(os.path.abspath(os.fspath(workdir)))
    return Reported(name, results, gallery.load(folder), read_curves(folder), rows)


def names_of(workdirs: Sequence[str | os.PathLike]) -> list[str]:
    """Names runs by the last parts of their folders, as many as tell them apart.

    A folder that is a number, as a seed of a study is, has the one above before it.

    Raises:
      ConfigError: two are the same run.
    """
    parts = [os.path.abspath(os.fspath(place)).split(os.sep) for place in workdirs]
    least = 2 if any(one[-1].isdigit() for one in parts) else 1
    for number in range(least, max(map(len, parts)) + 1):
        names = ["/".join(one[-number:]) for one in parts]
        if len(set(names)) == len(names):
            return names
    twice = next(place for i, place in enumerate(workdirs) if parts[i] in parts[:i])
    raise ConfigError(f"--compare={twice}: is the same run; give the workdir of another one")


def images_in_common(runs: Sequence[Reported]) -> list[list[int]] | None:
    """Returns the places, in what each run kept, of the images that all of them kept.

    The order is that of the first run. None where a run kept none.

    Raises:
      ConfigError: they have none in common.
    """
    places = []
    for run in runs:
        if run.kept is None or not len(run.kept["image_ids"]):
            return None
        # With the class: other data may have an image of the same name.
        classes = run.kept["class_names"][run.kept["labels"]].tolist()
        names = zip(run.kept["image_ids"].tolist(), classes, strict=True)
        places.append({name: i for i, name in enumerate(names)})
    known = [name for name in places[0] if all(name in other for other in places[1:])]
    if not known:
        raise ConfigError(
            f"{' and '.join(run.name for run in runs)} have no image in common; compare runs that "
            "were evaluated on the same split"
        )
    return [[place[name] for name in known] for place in places]
