"""What a workdir holds for a report: figures, counts, images, curves, classes."""

import csv
import dataclasses
import json
import os
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
    classes = folder / f"per_class_{split}.csv"
    rows = list(csv.DictReader(classes.read_text().splitlines())) if classes.exists() else []
    name = name or os.path.basename(os.path.abspath(os.fspath(workdir)))
    return Reported(name, results, gallery.load(folder), read_curves(folder), rows)
