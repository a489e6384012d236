"""The program: `python -m ega_jax.main --config=configs/quickstart.py`. From flags to modes.

| `--mode` | does | needs |
| --- | --- | --- |
| `inspect` | draws a contact sheet of the data and says how hard it is | `--config` |
| `train` | trains or goes on, then evaluates | `--config` |
| `eval` | scores a trained model on validation and test splits | `--workdir` or `--config` |
| `predict` | boxes for a folder of pictures | `--images`, `--workdir` |
| `annotate` | boxes for pictures of known classes | `--images` or `--merge`, `--workdir` |
| `score` | scores saved heat maps of any system | `--scoremaps`, `--metadata` |
| `baseline` | scores answers that never look: a Gaussian and a box in the middle | `--metadata` |
| `report` | writes `report.html` of a run that was evaluated | `--workdir` |
| `compile` | compiles the steps for TPUs that are not here | `--config`, `--topology` |
| `study` | trains the runs of a table that are missing, and writes the table | `--config` |
| `figures` | draws the paper's Fig. 1, 4, 5 and 6 of runs, its Fig. 7 of a study | `--workdir` |
| `export` | writes the network as a file that needs JAX alone | `--workdir` or `--config` |
"""

import atexit
import contextlib
import gc
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any

import ega_jax.runtime.quiet_tensorflow  # noqa: F401

# isort: split

import ml_collections
from absl import app
from absl import flags as absl_flags

from ega_jax import flags
from ega_jax.runtime.errors import told_in_a_line

absl_flags.adopt_module_key_flags(flags)  # which --help shows

# What `predict` and `annotate` exit with when they had to skip pictures that cannot be read.
SKIPPED = 3


def main(argv: list[str]) -> int:
    """Does what `--mode` says; returns the exit code."""
    if len(argv) > 1:
        raise app.UsageError(f"not understood: {' '.join(argv[1:])}")
    flags.refuse_unread()
    with told_in_a_line() as outcome:
        _join_processes()
        outcome.code = {
            "train": _train,
            "eval": _evaluate,
            "predict": _predict,
            "annotate": _annotate,
            "score": _score,
            "baseline": _baseline,
            "inspect": _inspect,
            "report": _report,
            "compile": _compile,
            "study": _study,
            "figures": _figures,
            "export": _export,
        }[flags.MODE.value]()
    return outcome.code


# Modes are imported late, so that --help and mistyped flags answer at once.


@contextlib.contextmanager
def _importing() -> Iterator[None]:
    """Keeps the garbage collector away from what is imported.

    It would look through all of it again and again, which takes seconds, and find nothing.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _train() -> int:
    flags.require("config")
    flags.refuse_epochs_beside_steps()
    with _importing():
        from ega_jax.modes.train import train

    train(flags.CONFIG.value, _ready(), checkpoint=flags.CHECKPOINT.value)
    return 0


def _evaluate() -> int:
    flags.require_run()
    with _importing():
        from ega_jax.modes.evaluate import evaluate

    evaluate(flags.CONFIG.value, _ready(), checkpoint=flags.CHECKPOINT.value)
    return 0


def _predict() -> int:
    flags.require_run()
    flags.require("images")
    with _importing():
        from ega_jax.modes.predict import predict

    skipped = predict(
        flags.CONFIG.value, _ready(), flags.IMAGES.value, checkpoint=flags.CHECKPOINT.value
    )
    return SKIPPED if skipped else 0


def _annotate() -> int:
    flags.require_run()
    with _importing():
        from ega_jax.modes.annotate import annotate, merge

    if flags.MERGE.value:
        if flags.IMAGES.value or flags.METADATA.value:
            raise app.UsageError("--merge is of pictures that are known; leave out --images")
        flags.refuse_fields_beside_merge()
        merge(flags.CONFIG.value, _ready(), flags.MERGE.value, checkpoint=flags.CHECKPOINT.value)
        return 0
    flags.require("images")
    skipped = annotate(
        flags.CONFIG.value,
        _ready(),
        flags.IMAGES.value,
        metadata=flags.METADATA.value,
        checkpoint=flags.CHECKPOINT.value,
    )
    return SKIPPED if skipped else 0


def _score() -> int:
    flags.require("scoremaps", "metadata")
    with _importing():
        from ega_jax.modes.score import score

    settings = _scoring()
    if flags.CONFIG.value:
        settings["resamples"] = flags.CONFIG.value.eval.bootstrap
    score(flags.at_home(flags.SCOREMAPS.value), flags.at_home(flags.METADATA.value), **settings)
    return 0


def _baseline() -> int:
    flags.require("metadata")
    with _importing():
        from ega_jax.modes.centre import baseline

    baseline(flags.at_home(flags.METADATA.value), **_scoring())
    return 0


def _inspect() -> int:
    flags.require("config")
    with _importing():
        from ega_jax.modes.inspect import inspect_all

    inspect_all(flags.CONFIG.value, flags.workdir())
    return 0


def _report() -> int:
    if not (flags.WORKDIR.value or flags.CONFIG.value):
        raise app.UsageError("--mode=report needs --workdir")
    with _importing():
        from ega_jax.modes.report import report

    report(flags.workdir(), compare=flags.at_home(flags.COMPARE.value))
    return 0


def _compile() -> int:
    flags.require("config", "topology")
    with _importing():
        from ega_jax.modes.compile import compile_steps

    compile_steps(flags.CONFIG.value, flags.workdir(), flags.TOPOLOGY.value)
    return 0


def _study() -> int:
    with _importing():
        from ega_jax.modes import study

    plan = flags.CONFIG.value
    if not (plan or flags.WORKDIR.value):
        raise app.UsageError("--mode=study needs --config=STUDY, or the --workdir of one")
    unread = [f"--{name}" for name in ("rows", "seeds", "jobs") if absl_flags.FLAGS[name].present]
    if not plan and (unread := unread + flags.STUDY_FIELDS):
        raise app.UsageError(
            f"{unread[0]} without --config=STUDY: the pages are made of all that lies in --workdir"
        )
    chosen = {"rows": flags.ROWS.value, "seeds": flags.SEEDS.value, "given": flags.STUDY_FIELDS}
    if flags.LIST.value:
        flags.require("config")
        print("\n".join(study.commands(plan, flags.workdir(), **chosen)))
        return 0
    return study.study(plan, flags.workdir(), jobs=flags.JOBS.value, **chosen)


def _figures() -> int:
    flags.require("workdir")
    with _importing():
        from ega_jax.modes.figures import figures

    told = flags.at_home(flags.COMPARE.value) or ""
    # Folders that are named after a recipe may have commas in their names.
    others = [told] if os.path.isdir(told) else told.split(",")
    others = [os.path.expanduser(other) for other in others if other]
    figures(flags.workdir(), others, flags.CONFIG.value)
    return 0


def _export() -> int:
    flags.require_run()
    with _importing():
        from ega_jax.modes.export import export

    export(flags.CONFIG.value, _ready(), checkpoint=flags.CHECKPOINT.value)
    return 0


def _scoring() -> dict[str, Any]:
    """Returns what `score` and `baseline` have in common; their folders are their own."""
    from ega_jax.config.check import check
    from ega_jax.config.fields import words
    from ega_jax.config.store import refuse_run

    recipe = flags.recipe_name()
    default = os.path.join("runs", f"{recipe}_{flags.MODE.value}" if recipe else flags.MODE.value)
    settings: dict[str, Any] = {
        "workdir": flags.at_home(flags.WORKDIR.value) or default,
        "images": flags.at_home(flags.IMAGES.value),
        "masks": flags.at_home(flags.MASKS.value),
    }
    refuse_run(settings["workdir"])
    if flags.CONFIG.value:
        check(flags.CONFIG.value)
        settings["mask_values"] = flags.CONFIG.value.data.mask_values
        settings["background"] = words(flags.CONFIG.value.data.background_classes)
        settings["threshold"] = flags.CONFIG.value.eval.threshold
        settings["threshold_interval"] = flags.CONFIG.value.eval.threshold_interval
        if flags.CONFIG.value.eval.map_size is not None:
            settings["map_size"] = flags.CONFIG.value.eval.map_size
    return settings


def _ready() -> str:
    """Returns the folder of the run, once all cores are in use and what is compiled is kept."""
    from ega_jax.runtime import compilation_cache

    workdir = flags.workdir()
    _use_cores(flags.CONFIG.value)
    compilation_cache.enable(workdir)
    return workdir


def _use_cores(config: ml_collections.ConfigDict) -> None:
    """Splits batches over the cores, where there is no accelerator.

    Processes of one run have one CPU device each, unless the environment says otherwise.
    """
    from ega_jax.config.check import AUTO, check
    from ega_jax.runtime import cpu

    if flags.DISTRIBUTED.value:
        if flags.CPU_DEVICES.value:
            raise app.UsageError("--cpu_devices is for one process; leave out --distributed")
        return
    check(config)
    sizes = [config.eval.batch_size]
    if flags.MODE.value == "train" and config.batch_size != AUTO:
        sizes.append(config.batch_size // config.accumulate)
    cpu.use_cores(sizes, flags.CPU_DEVICES.value)


def _join_processes() -> None:
    """Makes this process one of several, if the flags say so; all but the first fall silent."""
    place = ("coordinator_address", "process_count", "process_id")
    given = [f"--{name}" for name in place if absl_flags.FLAGS[name].value is not None]
    if not flags.DISTRIBUTED.value:
        if given:
            raise app.UsageError(f"{', '.join(given)} without --distributed")
        return
    if flags.MODE.value not in ("train", "eval"):
        raise app.UsageError(
            f"--mode={flags.MODE.value} is for one process; leave out --distributed"
        )
    if given and len(given) < len(place):
        raise app.UsageError(f"--distributed takes all of {', '.join(place)} or none of them")
    from ega_jax.runtime import distributed

    try:
        distributed.join(
            flags.COORDINATOR.value,
            flags.PROCESS_COUNT.value,
            flags.PROCESS_ID.value,
            flags.HEARTBEAT_TIMEOUT.value,
        )
    except ValueError as error:
        raise app.UsageError(
            f"--distributed: {error} Outside TPU pods and Slurm say where the processes meet: "
            "--coordinator_address=HOST:PORT --process_count=N --process_id=0 to N-1"
        ) from error
    if not distributed.is_lead():
        logging.getLogger("ega_jax").setLevel(logging.WARNING)


def run() -> None:
    """Runs the program; the console command `ega-jax` is this too."""
    atexit.register(gc.freeze)  # no last look for garbage, which takes seconds
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)  # as `python -m` does: recipes import each other as `configs`
    if __name__ != "__main__":  # absl looks in the main module for the text of --help
        sys.modules["__main__"].__doc__, sys.argv[0] = __doc__, __name__
    app.run(main, flags_parser=flags.parse)


if __name__ == "__main__":
    run()
