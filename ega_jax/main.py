"""The program: `python -m ega_jax.main --config=configs/quickstart.py`. Flags only.

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
| `figures` | draws the paper's Fig. 1 and 4 of runs, its Fig. 7 of a study | `--workdir` |
"""

import contextlib
import errno
import logging
import os
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

# TensorFlow only reads images here; its start-up chatter helps nobody.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import ml_collections
from absl import app, flags
from absl import logging as absl_logging
from ml_collections import config_flags

from ega_jax.config import command_line

CONFIG = config_flags.DEFINE_config_file("config", help_string="Recipe, e.g. configs/quickstart.py")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run; default: runs/<config name>.")
MODE = flags.DEFINE_enum(
    "mode",
    "train",
    [
        *("inspect", "train", "eval", "predict", "annotate", "score", "baseline", "report"),
        *("compile", "study", "figures"),
    ],
    "What to do; see above.",
)
CHECKPOINT = flags.DEFINE_string(
    "checkpoint",
    None,
    "Checkpoint to go on from, or to use: last, best, a step, or a path. Default: the last one to "
    "go on from, and to use the one that config.eval.checkpoint names.",
)
IMAGES = flags.DEFINE_string(
    "images",
    None,
    "predict: folder of pictures, a picture, a list of them (.txt) or a pattern. annotate: folder "
    "of class folders, a .csv of image,class, or the folder of --metadata's pictures. score, "
    "baseline: folder of images, for their sizes.",
)
SCOREMAPS = flags.DEFINE_string(
    "scoremaps", None, "score: folder of <image_id>.npy or .npz heat maps."
)
METADATA = flags.DEFINE_string(
    "metadata", None, "score, baseline, annotate: folder of metadata, one split or several."
)
COMPARE = flags.DEFINE_string(
    "compare",
    None,
    "report: workdir of a second run, to be put beside the first. figures: of one or several, with "
    "commas between.",
)
MERGE = flags.DEFINE_string(
    "merge", None, "annotate: file that the review page saved; instead of --images."
)
DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "train, eval: this is one of several processes that make one run."
)
COORDINATOR = flags.DEFINE_string(
    "coordinator_address",
    None,
    "Where they meet, host:port of process 0; not needed on TPU pods and under Slurm.",
)
PROCESS_COUNT = flags.DEFINE_integer("process_count", None, "How many they are.", lower_bound=1)
PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which of them this is.", lower_bound=0)
HEARTBEAT_TIMEOUT = flags.DEFINE_integer(
    "heartbeat_timeout", 100, "Seconds after which a silent process counts as dead.", lower_bound=1
)
MASKS = flags.DEFINE_string("masks", None, "score, baseline: folder that mask paths start from.")
CPU_DEVICES = flags.DEFINE_integer(
    "cpu_devices",
    None,
    "CPU devices that a batch is split over; default: one a core, if batches divide over them.",
    lower_bound=1,
)
TOPOLOGY = flags.DEFINE_string(
    "topology", None, "compile: chips and slices, e.g. v5e:16x16, v4:2x2x4, 2xv5e:16x16."
)
JOBS = flags.DEFINE_integer(
    "jobs",
    1,
    "study: runs at a time, each on its share of the cores or GPUs; 0: none, only the table.",
    lower_bound=0,
)
LIST = flags.DEFINE_bool("list", False, "study: print the commands of its runs, and run none.")
ROWS = flags.DEFINE_list("rows", [], "study: rows to train; default: all.")
SEEDS = flags.DEFINE_list("seeds", [], "study: seeds to train with; default: the study's.")

# What `predict` and `annotate` exit with when they had to skip pictures that cannot be read.
SKIPPED = 3


def main(argv: list[str]) -> int:
    """Does what `--mode` says; returns the exit code."""
    if len(argv) > 1:
        raise app.UsageError(f"not understood: {' '.join(argv[1:])}")
    with _told_in_a_line() as outcome:
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
        }[MODE.value]()
    return outcome.code


# What all runs of a study are told, as it was typed.
_FIELDS: list[str] = []


# Modes are imported late, so that --help and mistyped flags answer at once.


def _train() -> int:
    _require("config")
    from ega_jax.modes.train import train

    train(CONFIG.value, _ready(), checkpoint=CHECKPOINT.value)
    return 0


def _evaluate() -> int:
    _require_run()
    from ega_jax.modes.evaluate import evaluate

    evaluate(CONFIG.value, _ready(), checkpoint=CHECKPOINT.value)
    return 0


def _predict() -> int:
    _require_run()
    _require("images")
    from ega_jax.modes.predict import predict

    skipped = predict(CONFIG.value, _ready(), IMAGES.value, checkpoint=CHECKPOINT.value)
    return SKIPPED if skipped else 0


def _annotate() -> int:
    _require_run()
    from ega_jax.modes.annotate import annotate, merge

    if MERGE.value:
        if IMAGES.value or METADATA.value:
            raise app.UsageError("--merge is of pictures that are known; leave out --images")
        merge(CONFIG.value, _ready(), MERGE.value, checkpoint=CHECKPOINT.value)
        return 0
    _require("images")
    skipped = annotate(
        CONFIG.value,
        _ready(),
        IMAGES.value,
        metadata=METADATA.value,
        checkpoint=CHECKPOINT.value,
    )
    return SKIPPED if skipped else 0


def _score() -> int:
    _require("scoremaps", "metadata")
    from ega_jax.modes.score import score

    settings = _scoring()
    if CONFIG.value:
        settings["resamples"] = CONFIG.value.eval.bootstrap
    score(_at_home(SCOREMAPS.value), _at_home(METADATA.value), **settings)
    return 0


def _baseline() -> int:
    _require("metadata")
    from ega_jax.modes.centre import baseline

    baseline(_at_home(METADATA.value), **_scoring())
    return 0


def _inspect() -> int:
    _require("config")
    from ega_jax.modes.inspect import inspect_all

    inspect_all(CONFIG.value, _workdir())
    return 0


def _report() -> int:
    if not (WORKDIR.value or CONFIG.value):
        raise app.UsageError("--mode=report needs --workdir")
    from ega_jax.modes.report import report

    report(_workdir(), compare=_at_home(COMPARE.value))
    return 0


def _compile() -> int:
    _require("config", "topology")
    from ega_jax.modes.compile import compile_steps

    compile_steps(CONFIG.value, _workdir(), TOPOLOGY.value)
    return 0


def _study() -> int:
    from ega_jax.modes import study

    plan = CONFIG.value
    if not (plan or WORKDIR.value):
        raise app.UsageError("--mode=study needs --config=STUDY, or the --workdir of one")
    chosen = {"rows": ROWS.value, "seeds": SEEDS.value, "given": _FIELDS}
    if LIST.value:
        _require("config")
        print("\n".join(study.commands(plan, _workdir(), **chosen)))
        return 0
    return study.study(plan, _workdir(), jobs=JOBS.value, **chosen)


def _figures() -> int:
    _require("workdir")
    from ega_jax.modes.figures import figures

    others = [os.path.expanduser(other) for other in (COMPARE.value or "").split(",") if other]
    figures(_workdir(), others, CONFIG.value)
    return 0


def _scoring() -> dict[str, Any]:
    """Returns what `score` and `baseline` have in common; their folders are their own."""
    from ega_jax.config.check import check
    from ega_jax.config.store import refuse_run

    recipe = _config_name()
    default = os.path.join("runs", f"{recipe}_{MODE.value}" if recipe else MODE.value)
    settings = {
        "workdir": _at_home(WORKDIR.value) or default,
        "images": _at_home(IMAGES.value),
        "masks": _at_home(MASKS.value),
    }
    refuse_run(settings["workdir"])
    if CONFIG.value:
        check(CONFIG.value)
        settings["mask_values"] = CONFIG.value.data.mask_values
        settings["threshold"] = CONFIG.value.eval.threshold
        settings["threshold_interval"] = CONFIG.value.eval.threshold_interval
        if CONFIG.value.eval.map_size is not None:
            settings["map_size"] = CONFIG.value.eval.map_size
    return settings


def _workdir() -> str:
    """Returns the folder of the run: told, that of the checkpoint, or named after the config."""
    if WORKDIR.value:
        return os.path.expanduser(WORKDIR.value)
    if recipe := _config_name():
        return os.path.join("runs", recipe)
    from ega_jax.runtime.checkpoints import workdir_of

    found = workdir_of(CHECKPOINT.value)
    if found is None:
        raise app.UsageError(
            f"{CHECKPOINT.value} is in no workdir; say with --workdir where results go"
        )
    return str(found)


def _ready() -> str:
    """Returns the folder of the run, once all cores are in use and what is compiled is kept."""
    from ega_jax.runtime import compilation_cache

    workdir = _workdir()
    _use_cores(CONFIG.value)
    compilation_cache.enable(workdir)
    return workdir


def _use_cores(config: ml_collections.ConfigDict) -> None:
    """Splits batches over the cores, where there is no accelerator.

    Processes of one run have one CPU device each, unless the environment says otherwise.
    """
    from ega_jax.config.check import AUTO, check
    from ega_jax.runtime import cpu

    if DISTRIBUTED.value:
        if CPU_DEVICES.value:
            raise app.UsageError("--cpu_devices is for one process; leave out --distributed")
        return
    check(config)
    sizes = [config.eval.batch_size]
    if MODE.value == "train" and config.batch_size != AUTO:
        sizes.append(config.batch_size // config.accumulate)
    cpu.use_cores(sizes, CPU_DEVICES.value)


def _config_name() -> str | None:
    """Returns the recipe's name and row: `quickstart_cam` for `configs/quickstart.py:cam`."""
    if not CONFIG.value:
        return None
    path, _, row = config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")
    if pathlib.Path(path) == command_line.SAVED:
        return None
    name = pathlib.Path(path).stem
    return f"{name}_{row}" if row else name


# Faults of a place, not of the program: full, read-only, a file where a folder is needed.
_OF_PLACES = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG),
}


class _Outcome:
    """The exit code of a mode."""

    code = 1


@contextlib.contextmanager
def _told_in_a_line() -> Iterator[_Outcome]:
    """Turns what a user can mend into one line and exit code 1, and Ctrl-C into code 130."""
    from ega_jax.runtime.errors import UserError

    outcome = _Outcome()
    try:
        yield outcome
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        if error.errno not in _OF_PLACES:
            raise
        place = f"{error.filename}: " if error.filename else ""
        print(
            f"error: {place}{error.strerror}; free the place, or choose another with --workdir",
            file=sys.stderr,
        )
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        outcome.code = 130


def _set_up_logging() -> None:
    """Shows what this program says, and of its libraries only warnings."""
    absl_logging.set_verbosity(absl_logging.WARNING)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("ega_jax")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False


def _join_processes() -> None:
    """Makes this process one of several, if the flags say so; all but the first fall silent."""
    place = ("coordinator_address", "process_count", "process_id")
    given = [f"--{name}" for name in place if flags.FLAGS[name].value is not None]
    if not DISTRIBUTED.value:
        if given:
            raise app.UsageError(f"{', '.join(given)} without --distributed")
        return
    if MODE.value not in ("train", "eval"):
        raise app.UsageError(f"--mode={MODE.value} is for one process; leave out --distributed")
    if given and len(given) < len(place):
        raise app.UsageError(f"--distributed takes all of {', '.join(place)} or none of them")
    from ega_jax.runtime import distributed

    try:
        distributed.join(
            COORDINATOR.value, PROCESS_COUNT.value, PROCESS_ID.value, HEARTBEAT_TIMEOUT.value
        )
    except ValueError as error:
        raise app.UsageError(
            f"--distributed: {error} Outside TPU pods and Slurm say where the processes meet: "
            "--coordinator_address=HOST:PORT --process_count=N --process_id=0 to N-1"
        ) from error
    if not distributed.is_lead():
        logging.getLogger("ega_jax").setLevel(logging.WARNING)


def _at_home(path: str | None) -> str | None:
    """Puts the home folder for a `~`, which shells leave alone after `--images=`."""
    return path and os.path.expanduser(path)


def _require(*names: str) -> None:
    """Refuses to go on without these flags."""
    missing = [f"--{name}" for name in names if not flags.FLAGS[name].value]
    if missing:
        raise app.UsageError(f"--mode={MODE.value} needs {' and '.join(missing)}")


def _require_run() -> None:
    """Refuses to go on without a trained model."""
    if not CONFIG.value:
        raise app.UsageError(
            f"--mode={MODE.value} needs --workdir, --config, or the path of a --checkpoint"
        )


def _parse_flags(argv: list[str]) -> list[str]:
    """Parses the flags; what is wrong with a config or a field of it is said in one line."""
    _set_up_logging()
    with _told_in_a_line():
        command_line.check_fields(argv)
        argv = _with_config(argv)
        _FIELDS.clear()
        if command_line.is_study(argv):
            _FIELDS.extend(command_line.fields(argv))
            argv = command_line.without_fields(argv)
        sys.argv[1:] = argv[1:]  # where config_flags looks for the fields
        rest = _understood(argv)
        if CONFIG.value:
            try:
                is_recipe = hasattr(CONFIG.value, "to_dict")
            except OSError as error:  # a file that could not be loaded says so when it is used
                sys.exit(f"error: {error}")
            if is_recipe == (MODE.value == "study"):
                kind, other = ("recipe", "study") if is_recipe else ("study", "recipe")
                sys.exit(
                    f"error: --config is a {kind}; --mode={MODE.value} takes a {other}"
                    + (", such as configs/studies/creatures.py" if is_recipe else "")
                )
        return rest
    sys.exit(1)


def _understood(argv: list[str]) -> list[str]:
    """Parses the flags, and ends the program where one has no meaning; returns what is no flag."""
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        said = str(error).strip()
        # What a recipe refuses comes with a traceback, what is wrong with a recipe needs it.
        _, refused, reason = said.rpartition("errors.ConfigError: ")
        said = reason if refused else said
        sys.exit(f"error: {said}\nPass --helpshort or --helpfull to see help on flags.")


def _with_config(argv: list[str]) -> list[str]:
    """Adds the config of the run that is meant where no recipe is given."""
    if command_line.has_recipe(argv):
        return argv
    try:
        flags.FLAGS(command_line.without_fields(argv), known_only=True)
        told = MODE.value, _at_home(WORKDIR.value), CHECKPOINT.value
    except flags.Error:
        return argv  # said when they are parsed in earnest
    finally:
        flags.FLAGS.unparse_flags()
        absl_logging.set_verbosity(absl_logging.WARNING)  # which it forgets
    return command_line.with_config_of_run(argv, *told)


def run() -> None:
    """Runs the program; the console command `ega-jax` is this too."""
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)  # as `python -m` does: recipes import each other as `configs`
    if __name__ != "__main__":  # absl looks in the main module for the text of --help
        sys.modules["__main__"].__doc__, sys.argv[0] = __doc__, __name__
    app.run(main, flags_parser=_parse_flags)


if __name__ == "__main__":
    run()
