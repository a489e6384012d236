"""`--mode=eval`: a trained model over the validation and test splits, to `results.json`."""

import time

import ml_collections
from etils import epath

from ega_jax.config import build, store
from ega_jax.config.check import check
from ega_jax.evaluation.evaluator import Evaluator, restore_variables
from ega_jax.evaluation.reports import report
from ega_jax.runtime import distributed, files
from ega_jax.runtime.checkpoints import find
from ega_jax.runtime.errors import ConfigError
from ega_jax.runtime.sharding import Placement


def evaluate(config: ml_collections.ConfigDict, workdir: str, *, checkpoint: str = "last") -> dict:
    """Scores a trained model on the validation and test splits.

    Args:
      config: that of the run; data and `eval` fields may differ from training.
      workdir: of the run; receives `results.json`, pictures and the files of `per_image.py`.
      checkpoint: `last`, `best`, a step or a path.

    Returns:
      What `results.json` holds.

    Raises:
      ConfigError, DataError: the config or the data cannot be used.
      CheckpointError: the checkpoint is missing, damaged or of another model.
    """
    began = time.monotonic()
    placement = Placement()
    check(config, placement.num_devices)
    path = find(workdir, checkpoint)
    store.check_same_network(config, path.parents[2])
    class_names = store.load_class_names(path.parents[2])
    sources = build.sources(config, ("val", "test"), class_names)
    if not sources:
        raise ConfigError("the data has neither a val nor a test split; nothing to evaluate")
    model = build.model(config, len(class_names))
    evaluator = Evaluator(config, model, placement)
    variables = restore_variables(path, model, config.data.crop_size, placement)
    results = report(evaluator, variables, int(path.name), sources, workdir)
    results["seconds"] = round(time.monotonic() - began, 1)
    num_images = sum(len(source) for source in sources.values())
    results["images_per_second"] = round(num_images / results["seconds"], 2)
    if distributed.is_lead():
        files.write_json(epath.Path(workdir) / "results.json", results)
    return results
