"""`--mode=eval`: a trained model over the validation and test splits, to `results.json`."""

import time

import ml_collections
from etils import epath

from ega_jax.config import build, store
from ega_jax.config.check import check
from ega_jax.evaluation.evaluator import Evaluator, restore_variables
from ega_jax.evaluation.reports import report
from ega_jax.modes import untrained
from ega_jax.modes.report import leave as leave_report
from ega_jax.runtime import devices, distributed, files
from ega_jax.runtime.checkpoints import find, step_of
from ega_jax.runtime.errors import ConfigError
from ega_jax.runtime.sharding import Placement


def evaluate(
    config: ml_collections.ConfigDict, workdir: str, *, checkpoint: str | None = None
) -> dict:
    """Scores a trained model on the validation and test splits.

    Args:
      config: that of the run, but for the fields of `store.FREE`.
      workdir: of the run, or an empty one; receives `results.json`, `report.html`, pictures and
        the files of `per_image.py`.
      checkpoint: `last`, `best`, a step or a path; None: as `config.eval.checkpoint` says.

    Returns:
      What `results.json` holds.

    Raises:
      ConfigError, DataError: the config or the data cannot be used.
      CheckpointError: the checkpoint is missing, damaged or of another model.
    """
    began = time.monotonic()
    if checkpoint is None:
        untrained.ensure(config, workdir)
    path = find(workdir, checkpoint or config.eval.checkpoint)
    run = store.of_checkpoint(path)
    config = store.settle(run.config, config, path)
    store.check_place(workdir, run)
    placement = Placement()
    check(config, placement.num_devices)
    sources = build.sources(config, ("val", "test"), run.class_names)
    if not sources:
        raise ConfigError("the data has neither a val nor a test split; nothing to evaluate")
    model = build.model(config, len(run.class_names))
    evaluator = Evaluator(config, model, placement)
    variables = restore_variables(path, model, config.data.crop_size, placement)
    results = report(evaluator, variables, step_of(path), sources, workdir)
    results |= {
        "checkpoint": str(path),
        "device": devices.describe(),
        "seconds": round(time.monotonic() - began, 1),
        "eval_images_per_second": round(evaluator.images_per_second, 2),
    }
    if distributed.is_lead():
        files.write_json(epath.Path(workdir) / "results.json", results)
        leave_report(workdir)
    return results
