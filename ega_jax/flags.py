"""The flags of the program, and what they mean together: which folder, which config."""

import logging
import os
import pathlib
import sys

from absl import app, flags
from absl import logging as absl_logging
from ml_collections import config_flags

from ega_jax.config import command_line
from ega_jax.runtime.errors import told_in_a_line

CONFIG = config_flags.DEFINE_config_file("config", help_string="Recipe, e.g. configs/quickstart.py")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run; default: runs/<config name>.")
MODE = flags.DEFINE_enum(
    "mode",
    "train",
    [
        *("inspect", "train", "eval", "predict", "annotate", "score", "baseline", "report"),
        *("compile", "study", "figures", "export"),
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

# The modes that read a flag; those that are not here are for all.
_READ_BY = {
    "checkpoint": ("train", "eval", "predict", "annotate", "export"),
    "cpu_devices": ("train", "eval", "predict", "annotate", "export"),
    "images": ("predict", "annotate", "score", "baseline"),
    "scoremaps": ("score",),
    "metadata": ("score", "baseline", "annotate"),
    "masks": ("score", "baseline"),
    "compare": ("report", "figures"),
    "merge": ("annotate",),
    "topology": ("compile",),
    **dict.fromkeys(("jobs", "list", "rows", "seeds"), ("study",)),
}

# What all runs of a study are told, as it was typed.
STUDY_FIELDS: list[str] = []


def parse(argv: list[str]) -> list[str]:
    """Parses the flags; what is wrong with a config or a field of it is said in one line."""
    _set_up_logging()
    with told_in_a_line():
        command_line.check_fields(argv)
        argv = _with_config(argv)
        if checkout := command_line.checkout(argv):  # recipes import each other as `configs`
            sys.path.insert(0, checkout)
        STUDY_FIELDS.clear()
        if command_line.is_study(argv):
            STUDY_FIELDS.extend(command_line.fields(argv))
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
        told = MODE.value, at_home(WORKDIR.value), CHECKPOINT.value
    except flags.Error:
        return argv  # said when they are parsed in earnest
    finally:
        flags.FLAGS.unparse_flags()
        absl_logging.set_verbosity(absl_logging.WARNING)  # which it forgets
    return command_line.with_config_of_run(argv, *told)


def _set_up_logging() -> None:
    """Shows what this program says, and of its libraries only warnings."""
    absl_logging.set_verbosity(absl_logging.WARNING)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("ega_jax")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False


def workdir() -> str:
    """Returns the folder of the run: told, that of the checkpoint, or named after the config."""
    if WORKDIR.value:
        return os.path.expanduser(WORKDIR.value)
    if recipe := recipe_name():
        return os.path.join("runs", recipe)
    from ega_jax.runtime.checkpoints import workdir_of

    found = workdir_of(CHECKPOINT.value)
    if found is None:
        raise app.UsageError(
            f"{CHECKPOINT.value} is in no workdir; say with --workdir where results go"
        )
    return str(found)


def recipe_name() -> str | None:
    """Returns the recipe's name and row: `quickstart_cam` for `configs/quickstart.py:cam`."""
    if not CONFIG.value:
        return None
    path, _, row = config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")
    if pathlib.Path(path) == command_line.SAVED:
        return None
    name = pathlib.Path(path).stem
    return f"{name}_{row}" if row else name


def at_home(path: str | None) -> str | None:
    """Puts the home folder for a `~`, which shells leave alone after `--images=`."""
    return path and os.path.expanduser(path)


def refuse_unread() -> None:
    """Refuses flags that the mode would not look at."""
    for name, modes in _READ_BY.items():
        if flags.FLAGS[name].present and MODE.value not in modes:
            field = f"; a run has --config.data.{name}" if name in ("metadata", "masks") else ""
            raise app.UsageError(
                f"--mode={MODE.value} does not read --{name}, which is for "
                f"{', '.join(modes)}{field}"
            )


def refuse_epochs_beside_steps() -> None:
    """Refuses `--config.epochs` where it would do nothing, as the config has steps."""
    given = command_line.field_names(sys.argv)
    if "epochs" in given and "steps" not in given and CONFIG.value.get("steps") is not None:
        raise app.UsageError(
            f"--config.epochs does nothing beside config.steps={CONFIG.value.steps}; say "
            "--config.steps"
        )


def refuse_fields_beside_merge() -> None:
    """Refuses fields that say how to annotate where `--merge` writes again what is there."""
    sections = ("annotate.", "predict.", "reader.")
    for name in command_line.field_names(sys.argv):
        if name.startswith(sections) and name != "annotate.out":
            raise app.UsageError(
                f"--config.{name} does nothing beside --merge, which keeps the settings of the "
                "call that annotated; give it to that call again"
            )


def require(*names: str) -> None:
    """Refuses to go on without these flags."""
    missing = [f"--{name}" for name in names if not flags.FLAGS[name].value]
    if missing:
        raise app.UsageError(f"--mode={MODE.value} needs {' and '.join(missing)}")


def require_run() -> None:
    """Refuses to go on without a trained model."""
    if not CONFIG.value:
        raise app.UsageError(
            f"--mode={MODE.value} needs --workdir, --config, or the path of a --checkpoint"
        )
