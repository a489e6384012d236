"""The program: `python -m ega_jax.main --config=configs/quickstart.py`. Flags only.

| `--mode` | does | needs |
| --- | --- | --- |
| `inspect` | draws a contact sheet of the data and says how hard it is | `--config` |
| `train` | trains or goes on, then evaluates | `--config` |
| `eval` | scores a trained model on validation and test splits | `--workdir` or `--config` |
| `predict` | boxes for a folder of pictures | `--images`, `--workdir` |
| `score` | scores saved heat maps of any system | `--scoremaps`, `--metadata` |
| `baseline` | scores answers that never look: a Gaussian and a box in the middle | `--metadata` |
| `compile` | compiles the steps for TPUs that are not here | `--config`, `--topology` |
"""

import logging
import os
import pathlib
import sys

# TensorFlow only reads images here; its start-up chatter helps nobody.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import ml_collections
from absl import app, flags
from absl import logging as absl_logging
from etils import epath
from ml_collections import config_flags

CONFIG = config_flags.DEFINE_config_file("config", help_string="Recipe, e.g. configs/quickstart.py")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run; default: runs/<config name>.")
MODE = flags.DEFINE_enum(
    "mode",
    "train",
    ["inspect", "train", "eval", "predict", "score", "baseline", "compile"],
    "What to do; see above.",
)
CHECKPOINT = flags.DEFINE_string(
    "checkpoint", "last", "Checkpoint to go on from, or to use: last, best, a step, or a path."
)
IMAGES = flags.DEFINE_string(
    "images", None, "predict: folder of pictures. score, baseline: of images, for their sizes."
)
SCOREMAPS = flags.DEFINE_string("scoremaps", None, "score: folder of <image_id>.npy heat maps.")
METADATA = flags.DEFINE_string(
    "metadata", None, "score, baseline: folder of metadata, one split or several."
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

# What `predict` exits with when it had to skip pictures that cannot be read.
SKIPPED = 3


def main(argv: list[str]) -> int:
    """Does what `--mode` says; returns the exit code."""
    if len(argv) > 1:
        raise app.UsageError(f"not understood: {' '.join(argv[1:])}")
    _set_up_logging()
    _join_processes()
    # Late, so that --help and mistyped flags answer at once.
    from ega_jax.config import store
    from ega_jax.config.check import check
    from ega_jax.data.source import DataError
    from ega_jax.evaluation import centre, evaluator
    from ega_jax.models.weights.files import WeightFileError
    from ega_jax.modes import inspect, predict, score, train
    from ega_jax.modes.compile import compile_steps
    from ega_jax.runtime.checkpoints import CheckpointError, find
    from ega_jax.runtime.errors import ConfigError
    from ega_jax.training.progress import NonFiniteLoss

    workdir = WORKDIR.value or _default_workdir()
    try:
        if MODE.value in ("score", "baseline"):
            settings = {
                "workdir": workdir or os.path.join("runs", MODE.value),
                "images": IMAGES.value,
                "masks": MASKS.value,
            }
            if CONFIG.value:
                check(CONFIG.value)
                settings |= {
                    "map_size": CONFIG.value.eval.map_size or CONFIG.value.data.crop_size,
                    "threshold": CONFIG.value.eval.threshold,
                    "threshold_interval": CONFIG.value.eval.threshold_interval,
                }
            if MODE.value == "score":
                _require("scoremaps", "metadata")
                if CONFIG.value:
                    settings["resamples"] = CONFIG.value.eval.bootstrap
                score.score(SCOREMAPS.value, METADATA.value, **settings)
            else:
                _require("metadata")
                centre.baseline(METADATA.value, **settings)
            return 0
        if workdir is None and epath.Path(CHECKPOINT.value).is_dir():
            workdir = str(epath.Path(CHECKPOINT.value).absolute().parents[2])
        if workdir is None:
            raise app.UsageError("--config, --workdir or the path of a --checkpoint is missing")
        if MODE.value == "inspect":
            _require("config")
            inspect.inspect_all(CONFIG.value, workdir)
            return 0
        if MODE.value == "compile":
            _require("config", "topology")
            compile_steps(CONFIG.value, workdir, TOPOLOGY.value)
            return 0
        if MODE.value == "train":
            _require("config")
            _use_cores(CONFIG.value)
            train.train(CONFIG.value, workdir, checkpoint=CHECKPOINT.value)
            return 0
        config = CONFIG.value or store.load(find(workdir, CHECKPOINT.value).parents[2])
        _use_cores(config)
        if MODE.value == "eval":
            evaluator.evaluate(config, workdir, checkpoint=CHECKPOINT.value)
            return 0
        _require("images")
        skipped = predict.predict(config, workdir, IMAGES.value, checkpoint=CHECKPOINT.value)
        return SKIPPED if skipped else 0
    except (
        ConfigError,
        DataError,
        CheckpointError,
        WeightFileError,
        NonFiniteLoss,
    ) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _set_up_logging() -> None:
    """Shows what this program says, and of its libraries only warnings."""
    absl_logging.set_verbosity(absl_logging.WARNING)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("ega_jax")
    logger.addHandler(handler)
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


def _use_cores(config: ml_collections.ConfigDict) -> None:
    """Splits batches over the cores, where there is no accelerator.

    Processes of one run have one CPU device each, unless the environment says otherwise.
    """
    from ega_jax.config.check import AUTO, check
    from ega_jax.runtime import devices

    if DISTRIBUTED.value:
        if CPU_DEVICES.value:
            raise app.UsageError("--cpu_devices is for one process; leave out --distributed")
        return
    check(config)
    sizes = [config.eval.batch_size]
    if MODE.value == "train" and config.batch_size != AUTO:
        sizes.append(config.batch_size // config.accumulate)
    devices.use_cores(sizes, CPU_DEVICES.value)


def _require(*names: str) -> None:
    """Refuses to go on without these flags."""
    missing = [f"--{name}" for name in names if not flags.FLAGS[name].value]
    if missing:
        raise app.UsageError(f"--mode={MODE.value} needs {' and '.join(missing)}")


def _default_workdir() -> str | None:
    """Returns `runs/<config name>`, e.g. `runs/quickstart_cam` for `configs/quickstart.py:cam`."""
    if not flags.FLAGS["config"].present:
        return None
    path, _, argument = config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")
    name = pathlib.Path(path).stem
    return os.path.join("runs", f"{name}_{argument}" if argument else name)


def _parse_flags(argv: list[str]) -> list[str]:
    """Parses the flags; a config or a field of it that does not exist is said in one line."""
    try:
        rest = app.parse_flags_with_usage(argv)
        if CONFIG.value:
            CONFIG.value.to_dict()  # a file that could not be loaded says so only when it is used
    except AttributeError as error:
        fields = [a.split("=")[0] for a in argv if a.startswith(("--config.", "-config."))]
        sys.exit(
            f"error: no such field among {', '.join(fields)}: {error}\n"
            "All fields are in configs/base.py."
        )
    except OSError as error:
        sys.exit(f"error: {error}")
    return rest


if __name__ == "__main__":
    app.run(main, flags_parser=_parse_flags)
