"""`--mode=study`: a table from one command: its runs, trained where they are missing, its pages."""

import json
import logging
import pathlib
import shlex
from collections.abc import Mapping, Sequence

from ega_jax.config import store
from ega_jax.config.command_line import field_names as given_fields
from ega_jax.runtime import files
from ega_jax.runtime.distributed import STOPPED
from ega_jax.runtime.errors import ConfigError, UserError
from ega_jax.studies import pages, search
from ega_jax.studies.plan import Row, Study, StudyError
from ega_jax.studies.runner import Outcome, Runner, differences, lacking, trained_on
from ega_jax.studies.runs import Run, runs_of
from ega_jax.studies.summary import Line, summarize

logger = logging.getLogger(__name__)


def study(
    plan: Study | None,
    workdir: str,
    *,
    jobs: int = 1,
    rows: Sequence[str] = (),
    seeds: Sequence[str] = (),
    given: Sequence[str] = (),
) -> int:
    """Trains what a study lacks, and writes `study.csv`, `study.md` and `study.html`.

    Args:
      plan: the study; None: the one whose `study.json` lies in the folder, of which only the pages
        are written.
      workdir: folder of the study, on a disk.
      jobs: runs at a time, each in a process on its share of the cores or GPUs; 0: none is trained,
        and the table is made of what lies in the folder.
      rows: names of those to train; empty: all.
      seeds: to train with; empty: the study's.
      given: fields of all runs, as `--config.NAME=VALUE`.

    Returns:
      The exit code: 0, 1 if a run failed, `STOPPED` if the study was told to stop.

    Raises:
      StudyError, ConfigError: the study is impossible, or cannot be done here.
    """
    folder = _folder(workdir)
    if plan is None:
        return _only_pages(folder)
    _refuse_another(plan, folder)
    store.refuse_run(folder)
    work = _Work(plan, folder, rows, seeds, given)
    if jobs == 0:
        _require_some(folder, _on_disk(plan, folder))
        files.write_json(folder / "study.json", plan.to_json())
        _show(folder, plan, work.write({}))
        return 0
    runner = Runner(folder, jobs)
    files.write_json(folder / "study.json", plan.to_json())
    outcome = work.run(runner)
    _show(folder, plan, work.write(outcome.failed))
    if outcome.stopped:
        return STOPPED
    return 1 if outcome.failed else 0


def commands(
    plan: Study,
    workdir: str,
    *,
    rows: Sequence[str] = (),
    seeds: Sequence[str] = (),
    given: Sequence[str] = (),
) -> list[str]:
    """Lists the commands of a study's runs, finished or not, always in the same order.

    Rows whose setting is to be searched have the commands of their trials first, and those of their
    seeds once the setting is chosen. The arguments are those of `study`, but that the runs of a
    study without a search may go to a bucket.
    """
    in_bucket = "://" in workdir and plan.search is None
    work = _Work(plan, pathlib.Path(workdir) if in_bucket else _folder(workdir), rows, seeds, given)
    settings, _ = work.choose({})
    listed = [*work.trials(), *work.runs(settings)]
    if missing := [row.title for row in work.rows if (row.reads or row.name) not in settings]:
        logger.info(
            "Still to be searched, then listed with their seeds: %s. Once the trials below have "
            "ended, the same command lists what follows.",
            ", ".join(missing),
        )
    return [
        shlex.join(["python", "-m", "ega_jax.main", *run.command(workdir.rstrip("/"))])
        for run in listed
    ]


class _Work:
    """What is to be done for a study in a folder."""

    def __init__(
        self,
        plan: Study,
        folder: pathlib.Path,
        rows: Sequence[str],
        seeds: Sequence[str],
        given: Sequence[str],
    ):
        self.plan, self.folder, self.given = plan, folder, tuple(given)
        self.rows = _rows(plan, rows)
        self.seeds = _seeds(plan, seeds)
        _check_given(plan, self.rows, self.given)
        for row in plan.rows:
            search.chosen(plan, row, folder)  # a setting of another search is refused
        for run in [*self.trials()[:1], *self.runs({row.name: {} for row in self.rows})]:
            config = run.config()  # what is wrong with a recipe or a field is said at once
            names = given_fields(self.given)
            if "epochs" in names and "steps" not in names and config.steps is not None:
                raise StudyError(
                    f"config.epochs does nothing beside config.steps={config.steps} of "
                    f"{run.name}; say config.steps"
                )

    def trials(self, rows: Sequence[Row] | None = None) -> list[Run]:
        """Lists the runs that try settings, for all rows or for some."""
        chosen = self.rows if rows is None else rows
        every = [search.trials(self.plan, row, self.folder, self.given) for row in chosen]
        return [run for runs in every for run in runs]

    def choose(self, failed: dict[str, str]) -> tuple[dict[str, search.Setting], dict[str, str]]:
        """Returns the settings of the rows that have one, and of others why they cannot have it."""
        settings, refused = {}, {}
        for row in self.rows:
            try:
                setting = search.choose(self.plan, row, self.folder, failed, self.given)
            except (ConfigError, StudyError) as error:
                refused[f"{row.name}/search"] = str(error)
                continue
            if setting is not None:
                settings[row.name] = setting
        return settings, refused

    def runs(self, settings: Mapping[str, search.Setting]) -> list[Run]:
        """Lists the runs of the rows whose settings are known, seed by seed."""
        by_row = [
            runs_of(self.plan, row, self.seeds, self.given, settings)
            for row in self.rows
            if (row.reads or row.name) in settings
        ]
        return [run for same_seed in zip(*filter(None, by_row), strict=True) for run in same_seed]

    def run(self, runner: Runner) -> Outcome:
        """Tries settings, chooses them, trains all seeds with them; writes the pages meanwhile."""
        known, _ = self.choose({})
        trials = self.trials([row for row in self.rows if row.name not in known])
        lost = search.lost(trials, self.folder)
        tried = runner.run([trial for trial in trials if trial.name not in lost])
        ended = lost | tried.failed
        settings, refused = self.choose(ended)
        # Of a row with a setting, the other trials have had their say: they have lost.
        kept = {name: x for name, x in ended.items() if name.split("/")[0] not in settings}
        failed = kept | refused
        if tried.stopped:
            return Outcome(failed, stopped=True)
        trained = runner.run(self.runs(settings), lambda run: self._write_meanwhile(failed))
        return Outcome(failed | trained.failed, trained.stopped)

    def _write_meanwhile(self, failed: Mapping[str, str]) -> None:
        """Writes the pages while runs go on, which a page that cannot be written must not end."""
        try:
            self.write(failed)
        except (UserError, OSError) as error:
            logger.warning("The pages are not up to date: %s", error)

    def write(self, failed: Mapping[str, str]) -> list[Line]:
        """Writes the pages of all runs of the study that are finished, whoever trained them."""
        there = _on_disk(self.plan, self.folder)
        finished: dict[str, dict[int, pathlib.Path]] = {}
        for row in self.plan.rows:
            of_setting = search.chosen(self.plan, self.plan.row(row.reads or row.name), self.folder)
            seeds = sorted(there[row.name])
            settings = {row.reads or row.name: of_setting or {}}
            runs = runs_of(self.plan, row, seeds, self.given, settings)
            if seeds and not runs:
                logger.warning(
                    "%s: results that the row has none of are not in the table", row.name
                )
            for seed, run in zip(seeds, runs, strict=bool(runs)):
                try:
                    why = lacking(run, self.folder)
                except ConfigError as error:
                    why = str(error)
                if not why:
                    finished.setdefault(row.name, {})[seed] = self.folder / run.name
                elif run.name not in failed:
                    logger.warning("%s is not in the table: %s", run.name, why)
        self._leave_out_other_images(finished)
        lines = summarize(self.plan, finished)
        pages.write(self.folder, self.plan, lines, failed)
        return lines

    def _leave_out_other_images(self, finished: dict[str, dict[int, pathlib.Path]]) -> None:
        """Takes runs out that were trained on other images than the first one was.

        Of rows whose fields of the data differ each has a first one of its own.
        """
        first: dict[str, tuple[str, pathlib.Path]] = {}
        for name, of_row in finished.items():
            fields = self.plan.row(name).fields
            own = {field: value for field, value in fields.items() if field.startswith("data.")}
            for seed, place in list(of_row.items()):
                digest = trained_on(place)
                if digest is None:
                    continue
                data = store.read_json(place / "results.json")["config"]["data"]
                known = {name: value for name, value in data.items() if name not in _PLACES}
                key = json.dumps([own, known], sort_keys=True)
                expected, other = first.setdefault(key, (digest, place))
                if digest != expected:
                    logger.warning(
                        "%s is not in the table: it was trained on other images than %s; move it "
                        "away, or give the study another --workdir",
                        place.relative_to(self.folder),
                        other.relative_to(self.folder),
                    )
                    del of_row[seed]


# Fields of `data` that say where files are and how they are read, and not what they are.
_PLACES = ("root", "val_root", "metadata", "masks", "class_names", "check_files", "cache")

# Of the fields that a run keeps, those in which the seeds of a row may differ; files lie elsewhere
# on another machine, and memory may choose another batch there.
_OF_A_SEED = ("seed", "model.pretrained", "batch_size")


def finished_of(folder: pathlib.Path) -> tuple[Study, dict[str, dict[int, pathlib.Path]]]:
    """Returns a study and, by row and seed, the folders of runs that have results, copied or not.

    Args:
      folder: of the study.

    Raises:
      StudyError: it is not the folder of a study, has no results, or some of a row that were made
        otherwise than the others.
    """
    plan = _saved(folder)
    found = _on_disk(plan, folder)
    _require_some(folder, found)
    for row in plan.rows:
        _require_alike(row, list(found[row.name].values()))
    return plan, found


def _require_some(folder: pathlib.Path, found: Mapping[str, Mapping[int, pathlib.Path]]) -> None:
    if not any(found.values()):
        raise StudyError(f"{folder} has no results of a row of the study, as <row>/<seed>")


def _require_alike(row: Row, places: Sequence[pathlib.Path]) -> None:
    """Refuses results of a row that cannot be averaged; without its recipe more is not known."""
    every = [store.read_json(place / "results.json") for place in places]
    configs = [store.parse(x.get("config"), place) for x, place in zip(every, places, strict=True)]
    remedy = "evaluate both alike (--mode=eval), or move one away"
    digests = {place: digest for place in places if (digest := trained_on(place))}
    if other := [place for place in digests if digests[place] != digests[next(iter(digests))]]:
        raise StudyError(
            f"{other[0]} was trained on other images than {next(iter(digests))}; move one away"
        )
    for place, results, config in zip(places, every, configs, strict=True):
        trained = [
            change
            for change in store.fixed_changes(configs[0], config)
            if change.partition(":")[0] not in _OF_A_SEED
        ]
        if trained:
            raise StudyError(
                f"{place} was trained otherwise than {places[0]}: {'; '.join(trained)}; move one "
                "away"
            )
        if differ := differences(configs[0], config, moved=True):
            raise StudyError(
                f"{place} has results of other fields than {places[0]}: {'; '.join(differ)}; "
                f"{remedy}"
            )
        if results.get("step") != every[0].get("step") and config.eval.checkpoint == "last":
            raise StudyError(
                f"{place} has results of step {results.get('step')}, {places[0]} of step "
                f"{every[0].get('step')}; {remedy}"
            )
        for name, value in row.fields.items():
            there = store.flat(config).get(name)
            if json.loads(json.dumps(there)) != json.loads(json.dumps(value)):
                raise StudyError(
                    f"{place} has results of config.{name}={there!r}, but row {row.name} is of "
                    f"{value!r}; evaluate it so (--mode=eval), or move it away"
                )


def _only_pages(folder: pathlib.Path) -> int:
    plan, found = finished_of(folder)
    lines = summarize(plan, found)
    pages.write(folder, plan, lines, {})
    _show(folder, plan, lines)
    return 0


def _show(folder: pathlib.Path, plan: Study, lines: Sequence[Line]) -> None:
    for title, metric in plan.metrics.items():
        if any(line.seeds for line in lines) and not any(
            line.cells[title].values for line in lines
        ):
            logger.warning("No run has test/%s, the column %s.", metric.figure, title)
    logger.info("%s", (folder / "study.md").read_text(encoding="utf-8").rstrip())
    logger.info("Pages: %s", folder / "study.html")


def _on_disk(plan: Study, folder: pathlib.Path) -> dict[str, dict[int, pathlib.Path]]:
    """Returns by row and seed the folders that have results."""
    return {
        row.name: {
            int(path.parent.name): path.parent
            for path in sorted((folder / row.name).glob("*/results.json"))
            if path.parent.name.isascii() and path.parent.name.isdigit()
        }
        for row in plan.rows
    }


def _folder(workdir: str) -> pathlib.Path:
    if "://" in workdir:
        raise StudyError(
            f"--workdir={workdir}: a study needs a folder on a disk, where runs can be locked; its "
            "runs can write to buckets one by one, see --list"
        )
    return pathlib.Path(workdir)


def _saved(folder: pathlib.Path) -> Study:
    path = folder / "study.json"
    if not path.exists():
        raise StudyError(f"{folder} is not the folder of a study; give one, or --config=STUDY")
    try:
        return Study.from_json(store.read_json(path))
    except StudyError as error:
        raise StudyError(f"{path}: {error}; remove it, or give another --workdir") from error


def _refuse_another(plan: Study, folder: pathlib.Path) -> None:
    """Refuses the folder of another study, whose table would be replaced."""
    if (folder / "study.json").exists() and (title := _saved(folder).title) != plan.title:
        raise StudyError(
            f"{folder} is the folder of another study, {title!r}; choose another --workdir, or "
            "remove its study.json"
        )


def _check_given(plan: Study, rows: Sequence[Row], given: Sequence[str]) -> None:
    """Refuses fields that would make runs something else than the rows asked for say."""
    searched = {name for row in plan.rows for name in plan.space(row)}
    for name in given_fields(given):
        if name == "seed":
            raise StudyError("config.seed is what the study's seeds are for; say --seeds")
        if name in searched:
            raise StudyError(f"config.{name} is what the study searches; leave it out")
        for row in rows:
            if name in row.fields:
                raise StudyError(f"config.{name} is what row {row.name} sets; leave it out")


def _rows(plan: Study, names: Sequence[str]) -> list[Row]:
    """Returns the rows asked for, and those whose networks they read, in the study's order."""
    asked = [plan.row(name) for name in names] or list(plan.rows)
    wanted = {row.name for row in asked} | {row.reads for row in asked}
    return [row for row in plan.rows if row.name in wanted]


def _seeds(plan: Study, seeds: Sequence[str]) -> tuple[int, ...]:
    if odd := [seed for seed in seeds if not (seed.isascii() and seed.isdigit())]:
        raise StudyError(f"--seeds={odd[0]}: seeds are whole numbers from 0")
    return tuple(dict.fromkeys(int(seed) for seed in seeds)) or plan.seeds
