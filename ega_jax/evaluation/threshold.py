"""The threshold at which a run's validation split says to cut boxes out of its maps."""

import logging
import shlex
from collections.abc import Mapping
from typing import Any

import ml_collections
from etils import epath

from ega_jax.config import store
from ega_jax.runtime.nested import flatten

# Of the config, what maps depend on, of the same network and images: how they are read off it, and
# the views that it is given.
_READ_BY = ("method", "reader", "ccam")
_VIEWS = ("eval.map_size", "predict.size", "predict.scales", "predict.flip", "predict.tiles")
_SIZES = ("predict.size", "eval.map_size")  # None: that of the one before, data.crop_size at last

logger = logging.getLogger(__name__)


def validated_threshold(
    config: ml_collections.ConfigDict, workdir: epath.Path | None
) -> float | None:
    """Returns the threshold asked for, else the one found on validation; None if there is neither.

    What was found on maps that were read otherwise is no threshold for these, and what was found in
    other views may not be the best: the log says so, and the command that finds another.

    Args:
      config: of the run.
      workdir: of the run, where its `results.json` is; None: unknown.
    """
    if config.predict.threshold is not None:
        return config.predict.threshold
    if workdir is None or not (workdir / "results.json").exists():
        return None
    results = store.read_json(workdir / "results.json")
    oracle = results.get("validation", {}).get("oracle")
    if oracle is None:
        return None
    then, now = (_read_by(values) for values in (results["config"], config.to_dict()))
    changed = [name for name in now if name in then and now[name] != then[name]]
    if not changed:
        return oracle["threshold"]
    in_views = all(name in _VIEWS for name in changed)
    logger.warning(
        "the threshold in %s/results.json was found %s (%s) and is %s: `--mode=eval --workdir=%s "
        "%s` finds another there, or set predict.threshold",
        workdir,
        "in other views" if in_views else "on maps that were read otherwise",
        ", ".join(f"{name} {then[name]!r} there, {now[name]!r} here" for name in changed),
        "used all the same" if in_views else "not used",
        workdir,
        shlex.join(f"--config.{name}={_typed(now[name])}" for name in changed),
    )
    return oracle["threshold"] if in_views else None


def _read_by(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of a config that maps depend on, by their dotted names."""
    every = flatten(values, ".")
    size = every.get("data.crop_size")
    for name in _SIZES:
        if name in every:
            size = every[name] = every[name] or size
    return {
        name: list(value) if isinstance(value, tuple) else value  # as JSON has them
        for name, value in every.items()
        if any(f"{name}.".startswith(f"{one}.") for one in (*_READ_BY, *_VIEWS))
    }


def _typed(value: Any) -> str:
    return f"({','.join(map(str, value))},)" if isinstance(value, list) else str(value)
