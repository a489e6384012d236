"""Settings that are tried, and which of them is chosen."""

import json
import math

import pytest

from ega_jax.evaluation import score_files
from ega_jax.studies import search
from ega_jax.studies.plan import Choice, Row, Search, StudyError, Uniform
from tests.helpers import scored_splits
from tests.helpers.study_runs import THRESHOLDS, leave, two_rows

RATE = "optimizer.learning_rate"
GRID = Search({RATE: Choice((0.1, 0.2)), "has.grid_sizes": Choice(((0, 8), (16,)))})
DRAWN = Search({RATE: Uniform(1e-5, 1.0, log=True), "epochs": Choice((1.0, 2.0))}, trials=6)


@pytest.fixture
def grid():
    return two_rows(search=GRID)


@pytest.fixture
def drawn():
    pytest.importorskip("optuna", reason='needs the extra "search"')
    return two_rows(search=DRAWN)


def rates(study, folder, row="cam"):
    return [run.config().optimizer.learning_rate for run in trials(study, folder, row)]


def trials(study, folder, row="cam"):
    return search.trials(study, study.row(row), folder)


def score(folder, run, quality):
    """Leaves the results of a trial whose maps are the better the higher `quality` is."""
    source, maps, probabilities = scored_splits.make(images=10, boxes=False)
    truths = [source.load_mask(i, scored_splits.SIZE)[0].astype(float) for i in range(10)]
    maps = [quality * truth + (1 - quality) * m for truth, m in zip(truths, maps, strict=True)]
    scores = scored_splits.score((source, maps, probabilities), range(10), THRESHOLDS)
    score_files.save(leave(folder, run) / "scores_validation.npz", scores)
    return scores.selection


def test_a_grid_is_all_combinations(grid, tmp_path):
    runs = trials(grid, tmp_path)
    assert [run.name for run in runs] == [f"cam/search/{n}" for n in range(4)]
    configs = [run.config() for run in runs]
    found = [(config.optimizer.learning_rate, config.has.grid_sizes) for config in configs]
    assert found == [(0.1, (0, 8)), (0.1, (16,)), (0.2, (0, 8)), (0.2, (16,))]
    assert not list(tmp_path.iterdir())


def test_a_row_adds_its_own_ranges(tmp_path):
    row = Row("has", "HaS", "configs/quickstart.py:has", space={"has.drop_rate": Choice((0.1,))})
    study = two_rows(rows=(*two_rows().rows, row), search=GRID)
    assert {run.config().has.drop_rate for run in trials(study, tmp_path, "has")} == {0.1}
    reading = Row("ccam", "CCAM", "configs/quickstart.py:ccam", reads="cam")
    study = two_rows(rows=(*two_rows().rows, reading), search=GRID)
    assert trials(study, tmp_path, "ccam") == []


def test_the_best_on_validation_is_chosen_for_good(grid, tmp_path):
    runs, row = trials(grid, tmp_path), grid.row("cam")
    assert search.chosen(grid, row, tmp_path) is None
    figures = [score(tmp_path, run, q) for run, q in zip(runs[:3], (0.3, 0.9, 0.5), strict=True)]
    assert search.choose(grid, row, tmp_path, {}) is None  # one has not ended
    assert search.choose(grid, row, tmp_path, {"cam/search/3": "error: no such folder"}) is None
    line = "error: step 3: ce_clean not finite; stopped"
    setting = search.choose(grid, row, tmp_path, {"cam/search/3": line})
    assert setting == {RATE: 0.1, "has.grid_sizes": (16,)}
    assert search.chosen(grid, row, tmp_path) == setting
    told = json.loads((tmp_path / "cam/search/chosen.json").read_text())
    assert told["trial"] == 1
    assert list(told["validation"].values()) == [*figures, None]
    score(tmp_path, runs[3], 1.0)
    assert search.choose(grid, row, tmp_path, {}) == setting


def test_equal_trials(grid, tmp_path):
    for run in trials(grid, tmp_path):
        score(tmp_path, run, 0.5)
    search.choose(grid, grid.row("cam"), tmp_path, {})
    assert json.loads((tmp_path / "cam/search/chosen.json").read_text())["trial"] == 0


def test_nothing_to_choose_by(grid, tmp_path):
    runs, row = trials(grid, tmp_path), grid.row("cam")
    diverged = {run.name: "error: ce_clean not finite" for run in runs}
    assert search.choose(grid, row, tmp_path, diverged) is None
    for run in runs:
        leave(tmp_path, run)
    with pytest.raises(StudyError, match="have no validation split to choose a setting by"):
        search.choose(grid, row, tmp_path, {})


def test_without_a_search_there_is_nothing_to_choose(tmp_path):
    study = two_rows()
    assert trials(study, tmp_path) == []
    assert search.choose(study, study.row("cam"), tmp_path, {}) == {}


def test_a_range_needs_a_number_of_trials(tmp_path):
    study = two_rows(search=Search({RATE: Uniform(0.1, 1.0)}))
    with pytest.raises(StudyError, match=f"search of {RATE} has a range: say how many trials"):
        trials(study, tmp_path)


def test_drawn_settings_are_within_their_ranges(drawn, tmp_path):
    found = rates(drawn, tmp_path)
    assert len(set(found)) == 6 and all(1e-5 <= rate <= 1 for rate in found)
    assert sum(math.log10(rate) < -2.5 for rate in found) in range(1, 6)
    assert {run.config().epochs for run in trials(drawn, tmp_path)} <= {1.0, 2.0}


def test_a_search_goes_on_with_what_it_drew(drawn, tmp_path, monkeypatch):
    """Interrupted anywhere, and by any number of processes, it draws the same settings."""
    wanted = rates(drawn, tmp_path / "undisturbed")
    place = tmp_path / "disturbed"
    few = two_rows(search=Search(DRAWN.space, trials=2))
    assert rates(few, place) == wanted[:2]
    optuna, opened = search._journal(place / "cam" / "search")
    opened.ask()  # killed between a trial and its setting
    optuna.trial.Trial(opened, opened.ask()._trial_id).suggest_float(RATE, 1e-5, 1.0, log=True)
    kept = opened.trials[3].params[RATE]  # drawn by another seed: what is there stays
    assert rates(drawn, place) == [*wanted[:3], kept, *wanted[4:]]


def test_the_journal_knows_what_trials_were_worth(drawn, tmp_path):
    runs = trials(drawn, tmp_path)
    figures = [score(tmp_path, run, 0.1 * n) for n, run in enumerate(runs[:5])]
    failed = {runs[5].name: "error: ce_clean not finite"}
    setting = search.choose(drawn, drawn.row("cam"), tmp_path, failed)
    optuna, opened = search._journal(tmp_path / "cam" / "search")
    assert [trial.value for trial in opened.trials] == [*figures, None]
    assert opened.trials[5].state == optuna.trial.TrialState.FAIL
    assert opened.best_trial.params[RATE] == setting[RATE]


def test_a_journal_of_another_search(drawn, tmp_path):
    trials(drawn, tmp_path)
    wider = {**DRAWN.space, RATE: Uniform(1e-6, 1.0, log=True)}
    with pytest.raises(StudyError, match="cam/search holds settings of another search; remove it"):
        trials(two_rows(search=Search(wider, trials=6)), tmp_path)
    for number, run in enumerate(trials(drawn, tmp_path)):
        score(tmp_path, run, 0.1 * number)
    search.choose(drawn, drawn.row("cam"), tmp_path, {})
    more = {**DRAWN.space, "ega.lambda_clean": Uniform(0.1, 1.0)}  # which the journal has not
    with pytest.raises(StudyError, match="holds settings of another search"):
        trials(two_rows(search=Search(more, trials=6)), tmp_path)


def test_a_choice_of_another_search(grid, tmp_path):
    for run in trials(grid, tmp_path):
        score(tmp_path, run, 0.5)
    search.choose(grid, grid.row("cam"), tmp_path, {})
    other = two_rows(search=Search({RATE: Choice((0.2,)), "has.grid_sizes": Choice(((16,),))}))
    with pytest.raises(StudyError, match="chosen.json holds a setting that the study does not try"):
        search.chosen(other, other.row("cam"), tmp_path)


def test_optuna_is_named_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(StudyError, match="needs Optuna: pip install optuna"):
        trials(two_rows(search=DRAWN), tmp_path)
    assert len(trials(two_rows(search=GRID), tmp_path)) == 4
