"""Trains the runs of a study that are missing, several at a time, each in a process of its own.

A run that another process holds, of the same study or of somebody else's in the same folder, is
waited for and then counts like the others. One that fails does not end the study.
"""

import contextlib
import dataclasses
import logging
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ml_collections

from ega_jax.config import build, store
from ega_jax.runtime import lock
from ega_jax.runtime.distributed import STOPPED
from ega_jax.runtime.errors import ConfigError
from ega_jax.studies.plan import StudyError
from ega_jax.studies.runs import Run

logger = logging.getLogger(__name__)

PROGRAM = (sys.executable, "-m", "ega_jax.main")
LOG = "log.txt"  # what a run says, in its folder
_PAUSE = 0.5  # seconds between two looks at the processes
_PATIENCE = 5.0  # seconds between two looks at the runs of others

# Of the fields that a run may change, those that its figures depend on.
_OF_FIGURES = (
    *("steps", "epochs", "ccam", "reader", "data.mask_values"),
    *("predict.size", "predict.scales", "predict.flip", "predict.tiles"),
    *("eval.checkpoint", "eval.ten_crop", "eval.map_size"),
    *("eval.threshold", "eval.threshold_interval"),
)
# And those that they depend on where a study says where its boxes and masks are.
_OF_DATA = ("data.metadata", "data.masks", "data.val_root")


def is_finished(run: Run, folder: pathlib.Path) -> bool:
    """Says whether a run has the results that its command would give.

    Args:
      run: of a study.
      folder: of the study.

    Raises:
      ConfigError: what lies in its folder is another run.
    """
    return not lacking(run, folder)


def lacking(run: Run, folder: pathlib.Path) -> str:
    """Says why what a run has are not the results that its command would give; empty: they are.

    Arguments and errors are those of `is_finished`.
    """
    place = folder / run.name
    results = _results(place)
    if results is None:
        return "it has no results"
    done, wanted = store.parse(results.get("config"), place), run.config()
    wanted = store.settle(done, wanted, place)
    if differ := differences(done, wanted):
        return f"its results are of other fields, {'; '.join(differ)}"
    last = _last_step(wanted, [place, *([folder / run.reads.name] if run.reads else [])])
    if wanted.eval.checkpoint == "last" and last is not None and results.get("step") != last:
        return f"its results are of step {results.get('step')} of {last}"
    return ""


def differences(
    done: ml_collections.ConfigDict, wanted: ml_collections.ConfigDict, *, moved: bool = False
) -> list[str]:
    """Lists the fields that figures depend on and that differ, each as `name: done -> wanted`.

    Args:
      done: config of results.
      wanted: another config of the same run.
      moved: the same boxes and masks may lie elsewhere.
    """
    named = store.flat(wanted)
    listed = [
        change
        for change in store.changes(done, wanted)
        for name in [change.partition(":")[0]]
        if any(f"{name}.".startswith(f"{field}.") for field in _OF_FIGURES)
        or (name in _OF_DATA and named[name] and not moved)
    ]
    if done.method != wanted.method:
        listed.append(f"method: {done.method!r} -> {wanted.method!r}")
    return listed


def trained_on(place: pathlib.Path) -> str | None:
    """Returns the digest of the images that a run was trained on; None if none, or unknown."""
    path = place / "data.json"
    return (store.read_json(path).get("train_digest") or None) if path.exists() else None


def _results(place: pathlib.Path) -> dict[str, Any] | None:
    if not (place / "results.json").exists():
        return None
    results = store.read_json(place / "results.json")
    return results if isinstance(results, dict) else None


def _last_step(config: ml_collections.ConfigDict, places: Sequence[pathlib.Path]) -> int | None:
    """Returns how many steps a run has; None: nobody knows how many images it was trained on."""
    known = [place for place in places if (place / "data.json").exists()]
    if config.steps is None and not known:
        return None
    images = store.read_json(known[0] / "data.json")["train_images"] if known else 0
    return build.total_steps(config, images)


@dataclasses.dataclass
class Outcome:
    """What became of runs.

    Attributes:
      failed: by name of the run, the last line that it said.
      stopped: the study was told to stop before all had ended.
    """

    failed: dict[str, str]
    stopped: bool = False


@dataclasses.dataclass
class _Active:
    run: Run
    process: subprocess.Popen
    began: float
    log_begins: int


class Runner:
    """Processes of this machine, each with its share of the cores and GPUs."""

    def __init__(self, folder: pathlib.Path, jobs: int):
        """Prepares as many places as there are jobs.

        Args:
          folder: of the study.
          jobs: how many runs at a time.

        Raises:
          StudyError: there are fewer GPUs.
        """
        self.folder = folder
        self.shares = shares(jobs)

    def run(self, runs: Sequence[Run], done: Callable[[Run], None] = lambda run: None) -> Outcome:
        """Trains what is not finished.

        Args:
          runs: in the order in which they begin.
          done: called after each that was trained here.
        """
        outcome = Outcome({})
        waiting = list(runs)
        active: dict[int, _Active] = {}
        told: set[str] = set()  # of whom it was said that they wait
        with _told_to_stop() as stop:
            try:
                while (waiting or active) and not stop:
                    for slot, one in list(active.items()):
                        if one.process.poll() is None:
                            continue
                        del active[slot]
                        if self._ended(one, outcome):
                            done(one.run)
                        else:
                            waiting.append(one.run)
                    for slot in range(len(self.shares)):
                        if slot not in active and (run := self._next(waiting, outcome, told)):
                            active[slot] = self._start(run, slot)
                    time.sleep(_PATIENCE if waiting and not active else _PAUSE)
            finally:
                for one in active.values():
                    one.process.terminate()
                for one in active.values():
                    one.process.wait()
            outcome.stopped = bool(waiting or active)
        return outcome

    def _next(self, waiting: list[Run], outcome: Outcome, told: set[str]) -> Run | None:
        """Takes the first run out of the waiting ones that can begin; drops what has ended."""
        for run in list(waiting):
            finished, refused = self._look(run)
            network = run.reads
            if network and network.name in outcome.failed and not finished:
                refused = f"it reads the network of {network.name}, which failed"
            holder = lock.holder(self.folder / run.name)
            if refused:
                self._fail(run, refused, outcome)
            elif not finished and (holder or (network and not self._look(network)[0])):
                if holder and run.name not in told:
                    logger.info("%s is in the hands of %s.", run.name, holder)
                    told.add(run.name)
                continue
            waiting.remove(run)
            if not finished and not refused:
                return run
        return None

    def _look(self, run: Run) -> tuple[bool, str]:
        """Says whether a run is finished, and why what lies in its folder is refused."""
        try:
            return is_finished(run, self.folder), ""
        except ConfigError as error:
            return False, " ".join(str(error).split())

    def _start(self, run: Run, slot: int) -> _Active:
        cores, environment = self.shares[slot]
        place = self.folder / run.name
        place.mkdir(parents=True, exist_ok=True)
        command = [*PROGRAM, *run.command(os.fspath(self.folder))]
        logger.info("%s begins.", run.name)
        with open(place / LOG, "a", encoding="utf-8") as log, _on_cores(cores):
            log_begins = log.tell()
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | environment,
                start_new_session=True,  # Ctrl-C reaches the study, which tells them to stop
            )
        return _Active(run, process, time.monotonic(), log_begins)

    def _ended(self, one: _Active, outcome: Outcome) -> bool:
        """Says what became of a process; False if the run was in other hands."""
        name, code = one.run.name, one.process.returncode
        if code == 0 and self._look(one.run)[0]:
            logger.info("%s has ended, after %.0f s.", name, time.monotonic() - one.began)
            return True
        line = last_words(self.folder / name / LOG, one.log_begins)
        if f"{self.folder / name} is in use by " in line:
            return False
        if code == 0:
            line = "it ended, but " + (self._look(one.run)[1] or lacking(one.run, self.folder))
        if code == STOPPED:
            line = "told to stop; the same command goes on with it"
        if code < 0:  # nothing that it said is the reason
            line = f"ended by {signal.Signals(-code).name}; before that: {line or 'nothing'}"
        self._fail(one.run, line or f"ended with code {code}", outcome)
        return True

    def _fail(self, run: Run, line: str, outcome: Outcome) -> None:
        logger.warning("%s failed: %s", run.name, line)
        outcome.failed[run.name] = line


def last_words(path: pathlib.Path, begin: int = 0) -> str:
    """Returns the error that a program told last, or else its last line; both on one line.

    Args:
      path: of what it said; need not be there.
      begin: the byte from which on it is meant, as a run that is begun again goes on writing.
    """
    text = path.read_bytes()[begin:].decode(errors="replace") if path.exists() else ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [place for place, line in enumerate(lines) if line.startswith("error: ")]
    return " ".join(lines[told[-1] if told else -1 :])


def shares(jobs: int) -> list[tuple[set[int], dict[str, str]]]:
    """Divides this machine: for each job its cores (none: all) and what its environment adds.

    Raises:
      StudyError: there are fewer GPUs than jobs, none for some.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    gpus = _gpus()
    if gpus and jobs > len(gpus):
        raise StudyError(
            f"--jobs={jobs}: there are {len(gpus)} GPUs ({', '.join(gpus)}), and a run takes all "
            "the memory of one; lower --jobs, or set JAX_PLATFORMS=cpu"
        )
    result = []
    for slot in range(jobs):
        own = set(cores[slot::jobs] or cores[slot % len(cores) :][:1] if cores else [])
        mine = {"CUDA_VISIBLE_DEVICES": ",".join(gpus[slot::jobs])} if gpus and jobs > 1 else {}
        result.append((own, mine))
    return result


def _gpus() -> list[str]:
    """Names the NVIDIA GPUs that runs may use, without starting CUDA in this process."""
    if os.environ.get("JAX_PLATFORMS", "").startswith("cpu"):
        return []
    told = os.environ.get("CUDA_VISIBLE_DEVICES")
    if told is not None:
        return [name.strip() for name in told.split(",") if name.strip()]
    found = pathlib.Path("/dev").glob("nvidia[0-9]*")
    return [str(number) for number in range(len(list(found)))]


@contextlib.contextmanager
def _on_cores(cores: set[int]) -> Iterator[None]:
    """Runs on some cores, for what is started meanwhile to inherit it."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def _told_to_stop() -> Iterator[list[int]]:
    """Yields a list that a first SIGTERM or SIGINT fills; a second one ends the process."""
    received: list[int] = []
    previous: dict[int, Any] = {}

    def told(number: int, frame: Any) -> None:
        received.append(number)
        signal.signal(number, signal.SIG_DFL)
        logger.warning("Told to stop: runs save and stop.")

    for number in (signal.SIGTERM, signal.SIGINT):
        previous[number] = signal.signal(number, told)
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
