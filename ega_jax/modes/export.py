"""`--mode=export`: the network as a file that runs without this package; see docs/export.md."""

import logging
from typing import Any

import jax
import ml_collections
from etils import epath
from jax.export import Exported

from ega_jax.aot import portable
from ega_jax.config import build, store
from ega_jax.config.check import check
from ega_jax.config.fields import words
from ega_jax.evaluation.evaluator import restore_variables
from ega_jax.evaluation.threshold import validated_threshold
from ega_jax.modes import untrained
from ega_jax.runtime import checkpoints, files
from ega_jax.runtime.sharding import Placement

logger = logging.getLogger(__name__)


def export(
    config: ml_collections.ConfigDict, workdir: str, *, checkpoint: str | None = None
) -> dict[str, Any]:
    """Writes `export/network.jax` and `export/network.json` into the workdir.

    The first is a program of `jax.export` for CPUs, GPUs and TPUs and any number of images, with
    the weights; the second says what goes in, what comes out, and how boxes come of it.

    Args:
      config: of the run that trained the network, but for the fields of `store.FREE`.
      workdir: of that run, or an empty one.
      checkpoint: `last`, `best`, a step or a path; None: as `config.eval.checkpoint` says.

    Returns:
      What `network.json` holds.

    Raises:
      ConfigError: the config cannot be used.
      CheckpointError: the checkpoint is missing, damaged or of another model.
    """
    if checkpoint is None:
        untrained.ensure(config, workdir)
    path = checkpoints.find(workdir, checkpoint or config.eval.checkpoint)
    run = store.of_checkpoint(path)
    store.check_place(workdir, run)
    config = store.settle(run.config, config, path)
    check(config)
    model = build.model(config, len(run.class_names))
    variables = restore_variables(path, model, config.data.crop_size, Placement())
    size = config.predict.size or config.data.crop_size
    exported = portable.export(config, model, variables, size)
    data = bytes(exported.serialize())
    found = validated_threshold(config, checkpoints.workdir_of(path))
    facts = {
        "checkpoint": str(path),
        "classes": list(run.class_names),
        "background_classes": list(words(config.data.background_classes)),
        "images": _described(exported.in_avals[0]),
        **{name: _described(out) for name, out in _outputs(exported).items()},
        "maps_by": config.reader.name or config.method,
        "map_size": config.eval.map_size or size,
        "threshold": config.eval.threshold if found is None else found,
        "platforms": list(exported.platforms),
        "jax": jax.__version__,
        "calling_convention": exported.calling_convention_version,
    }
    out = epath.Path(workdir) / "export"
    files.write_bytes(out / "network.jax", data)
    files.write_json(out / "network.json", facts)
    logger.info("Exported: %s, %.1f MB", out / "network.jax", len(data) / 1e6)
    return facts


def _outputs(exported: Exported) -> dict[str, jax.core.ShapedArray]:
    return jax.tree.unflatten(exported.out_tree, exported.out_avals)


def _described(array: jax.core.ShapedArray) -> dict[str, Any]:
    """Returns shape and dtype; what is not a number there, `batch`, is any."""
    shape = [side if isinstance(side, int) else str(side) for side in array.shape]
    return {"shape": shape, "dtype": array.dtype.name}
