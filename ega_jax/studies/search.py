"""The search of a study: which settings are tried for a row, and which of them is the best.

A grid of choices needs nothing. Settings that are drawn come from Optuna's random sampler, the
search of the field's evaluation code (Choe et al., CVPR 2020: 30 random trials), and lie in its
journal, `<row>/search/optuna.log`, which its dashboard can show. Trial n is drawn by the seed and n
alone, so any number of processes draw the same settings.
"""

import itertools
import json
import logging
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ega_jax.config import store
from ega_jax.evaluation import score_files
from ega_jax.runtime import files
from ega_jax.runtime.errors import ConfigError
from ega_jax.studies.plan import Choice, Row, Search, Space, Study, StudyError, Uniform
from ega_jax.studies.runner import is_finished
from ega_jax.studies.runs import Run, trial_of
from ega_jax.training.progress import LOST, NOT_FINITE

logger = logging.getLogger(__name__)

Setting = dict[str, Any]


def trials(study: Study, row: Row, folder: pathlib.Path, given: Sequence[str] = ()) -> list[Run]:
    """Lists the runs that try settings for a row; none if there is nothing to search.

    Args:
      study: it is in.
      row: of it.
      folder: of the study, which receives the journal.
      given: fields that the user sets for all rows.

    Raises:
      StudyError: it draws settings, and Optuna is not installed.
    """
    return [
        trial_of(study, row, number, setting, given)
        for number, setting in enumerate(_settings(study, row, folder))
    ]


def chosen(study: Study, row: Row, folder: pathlib.Path) -> Setting | None:
    """Returns the setting that was chosen for a row; None as long as it is not."""
    if not study.space(row) or not row.recipe:
        return {}
    path = folder / row.name / "search" / "chosen.json"
    if not path.exists():
        return None
    known = store.read_json(path)
    try:
        setting = {name: _value(value) for name, value in known["setting"].items()}
    except (TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"{path} holds no setting; remove it") from error
    space = study.space(row)
    if setting.keys() != space.keys() or not all(space[n].has(v) for n, v in setting.items()):
        raise StudyError(
            f"{path} holds a setting that the study does not try (any more): {setting}; remove "
            f"{path.parent} to search once more"
        )
    return setting


def choose(
    study: Study,
    row: Row,
    folder: pathlib.Path,
    failed: dict[str, str],
    given: Sequence[str] = (),
) -> Setting | None:
    """Chooses the setting of a row by its trials, for good, once they have all ended.

    The best is the one whose maps of the validation split are the best (`Scores.selection`, which
    also chooses a run's best checkpoint), the first one where several are. A trial whose loss was
    not finite has lost; one that failed otherwise is still to come.

    Args:
      study: it is in.
      row: of it.
      folder: of the study.
      failed: by name of the run, the last line of those that failed.
      given: fields that the user sets for all rows.

    Returns:
      None if the trials have not all ended, or none of them has figures.

    Raises:
      StudyError: the data have no validation split.
    """
    known = chosen(study, row, folder)
    if known is not None:
        return known
    runs = trials(study, row, folder, given)
    figures: dict[int, float] = {}
    for number, run in enumerate(runs):
        if is_finished(run, folder):
            figures[number] = _selection(folder / run.name)
        elif NOT_FINITE not in (failed | lost([run], folder)).get(run.name, ""):
            return None
    if not figures:
        return None
    # Rounded, as equal figures may differ in their last bit.
    best = max(figures, key=lambda number: (round(figures[number], 6), -number))
    setting = _settings(study, row, folder)[best]
    _tell(study, row, folder, figures, len(runs))
    logger.info("%s: trial %d of %d is the best: %s.", row.name, best, len(runs), setting)
    told = {str(number): figures.get(number) for number in range(len(runs))}
    result = {"setting": setting, "trial": best, "validation": told}
    files.write_text(folder / row.name / "search" / "chosen.json", json.dumps(result, indent=2))
    return setting


def lost(runs: Sequence[Run], folder: pathlib.Path) -> dict[str, str]:
    """Returns by name what those runs said that ended since their loss was not finite.

    A run that would be another one now, with other fields, has not.
    """
    told = {}
    for run in runs:
        place = folder / run.name
        if not (place / LOST).exists():
            continue
        if store.exists(place) and store.fixed_changes(store.load(place), run.config()):
            continue
        told[run.name] = f"{(place / LOST).read_text().strip()} (said in {place / LOST})"
    return told


def _selection(folder: pathlib.Path) -> float:
    path = folder / "scores_validation.npz"
    if not path.exists():
        raise StudyError(
            f"{folder}: the data have no validation split to choose a setting by; give them one"
        )
    value = score_files.load(path).selection
    return value if math.isfinite(value) else -math.inf


def _settings(study: Study, row: Row, folder: pathlib.Path) -> list[Setting]:
    """Lists what is tried for a row, in order."""
    space = study.space(row)
    if not space or not row.recipe:
        return []
    if study.search.trials is not None:
        return _draw(study.search, space, folder / row.name / "search")
    if ranges := [name for name, values in space.items() if not isinstance(values, Choice)]:
        raise StudyError(f"the search of {ranges[0]} has a range: say how many trials are drawn")
    values = [choice.values for choice in space.values() if isinstance(choice, Choice)]
    return [dict(zip(space, each, strict=True)) for each in itertools.product(*values)]


def _draw(search: Search, space: Space, folder: pathlib.Path) -> list[Setting]:
    """Draws what is not in the journal yet; a draw depends on seed, trial and field alone."""
    optuna, opened = _journal(folder)
    while len(opened.trials) < search.trials:
        opened.ask()
    wanted = {name: _distribution(optuna, values) for name, values in space.items()}
    settings: list[Setting] = []
    for number, known in enumerate(opened.trials[: search.trials]):
        lacking = known.state.is_finished() and wanted.keys() - known.distributions.keys()
        if lacking or any(wanted.get(name) != d for name, d in known.distributions.items()):
            raise StudyError(
                f"{folder} holds settings of another search; remove it, or give the study the "
                "ranges that it had"
            )
        trial = optuna.trial.Trial(opened, known._trial_id)
        setting: Setting = {}
        for place, (name, values) in enumerate(space.items()):
            seed = np.random.SeedSequence((search.seed, number, place)).generate_state(1)[0]
            opened.sampler = optuna.samplers.RandomSampler(seed=int(seed))
            # What is in the journal is not drawn again.
            if isinstance(values, Choice):  # by position, for values that Optuna does not know
                chosen = trial.suggest_int(name, 0, len(values.values) - 1)
                setting[name] = values.values[chosen]
            else:
                setting[name] = trial.suggest_float(name, values.low, values.high, log=values.log)
        settings.append(setting)
    return settings


def _distribution(optuna: Any, values: Choice | Uniform) -> Any:
    """Returns how the journal describes what a field is drawn from."""
    if isinstance(values, Choice):
        return optuna.distributions.IntDistribution(0, len(values.values) - 1)
    return optuna.distributions.FloatDistribution(values.low, values.high, log=values.log)


def _journal(folder: pathlib.Path) -> tuple[Any, Any]:
    """Opens the journal of a row."""
    try:
        import optuna
        from optuna.storages.journal import JournalFileBackend
    except ImportError as error:
        raise StudyError(
            "a search that draws settings needs Optuna: pip install optuna (the extra `search`)"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    backend = JournalFileBackend(str(folder / "optuna.log"))
    storage = optuna.storages.JournalStorage(backend)
    opened = optuna.create_study(
        storage=storage, study_name="search", direction="maximize", load_if_exists=True
    )
    return optuna, opened


def _tell(
    study: Study, row: Row, folder: pathlib.Path, figures: Mapping[int, float], number: int
) -> None:
    """Writes into the journal, if there is one, what the trials were worth."""
    if study.search.trials is None:
        return
    optuna, opened = _journal(folder / row.name / "search")
    failed = optuna.trial.TrialState.FAIL
    for trial in range(number):
        if trial in figures:
            opened.tell(trial, figures[trial], skip_if_finished=True)
        else:
            opened.tell(trial, state=failed, skip_if_finished=True)


def _value(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
