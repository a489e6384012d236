"""The threshold at which a run's validation split says to cut boxes out of its maps."""

import json
import logging

import ml_collections
from etils import epath

from ega_jax.runtime.nested import flatten

_READ_BY = ("method", "reader", "ccam")  # of the config: how maps are read off the network

logger = logging.getLogger(__name__)


def validated_threshold(
    config: ml_collections.ConfigDict, workdir: epath.Path | None
) -> float | None:
    """Returns the threshold asked for, else the one found on validation; None if there is neither.

    What was found on maps that were read otherwise is no threshold for these: the log says so, and
    the command that finds another.

    Args:
      config: of the run.
      workdir: of the run, where its `results.json` is; None: unknown.
    """
    if config.predict.threshold is not None:
        return config.predict.threshold
    if workdir is None or not (workdir / "results.json").exists():
        return None
    results = json.loads((workdir / "results.json").read_text())
    oracle = results.get("validation", {}).get("oracle")
    if oracle is None:
        return None
    known, settings = results["config"], config.to_dict()
    then = flatten({name: known[name] for name in _READ_BY if name in known}, ".")
    now = flatten({name: settings[name] for name in _READ_BY}, ".")
    changed = [name for name in now if name in then and now[name] != then[name]]
    if not changed:
        return oracle["threshold"]
    logger.warning(
        "the threshold in %s/results.json was found on maps that were read otherwise (%s) and is "
        "not used: `--mode=eval --workdir=%s %s` finds another there, or set predict.threshold",
        workdir,
        ", ".join(f"{name} {then[name]!r} there, {now[name]!r} here" for name in changed),
        workdir,
        " ".join(f"--config.{name}={now[name]}" for name in changed),
    )
    return None
