"""Reads the weights of one's own run, to start another from: of other classes, say."""

import json
import os
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from etils import epath

from ega_jax.models import NETWORKS
from ega_jax.models.network import Network
from ega_jax.models.weights.files import WeightFileError
from ega_jax.runtime import checkpoints
from ega_jax.runtime.sharding import Placement

Place = tuple[str, ...]  # of an array among a network's variables, collection first

_SAME = ("width", "batch_norm", "input_scaling")  # what weights mean depends on these, beside shape
_LISTED = 6  # arrays in a message; the rest is counted


def read_run(
    path: str | os.PathLike, network: Network, places: Mapping[Place, Any]
) -> dict[Place, np.ndarray]:
    """Reads what a run has learned of a network, but for the state of its optimizer.

    The trunk has to be the same. Of the head, and of what the method puts into the network, what
    has the same name and shape is read: a classifier of other classes is not.

    Args:
      path: of a workdir, whose last checkpoint is taken, or of a checkpoint's folder.
      network: the network that is to start from it.
      places: its arrays, of which shape and type matter.

    Returns:
      The arrays that the run has, by their places.

    Raises:
      WeightFileError: the run's network is another one.
      CheckpointError: there is no checkpoint, or it is damaged.
    """
    folder = epath.Path(path)
    if not (folder / "manifest").is_dir():
        folder = checkpoints.find(folder, "last")
    manifest = checkpoints.read_manifest(folder)
    _check_same_network(folder, manifest, network)
    saved = manifest["arrays"]
    read, faults = {}, []
    for place, array in places.items():
        name = "/".join(place if place[0] == "params" else ("model_state", *place))
        shape = tuple(saved[name]["shape"]) if name in saved else None
        if shape == array.shape:
            read[place] = jax.ShapeDtypeStruct(array.shape, saved[name]["dtype"])
        elif "aux" not in place and not place[1].startswith(("head", "insert_")):
            had = "absent" if shape is None else list(shape)
            faults.append(f"{'/'.join(place)}: {had} there, {list(array.shape)} here")
    if faults:
        more = f"; and {len(faults) - _LISTED} more" if len(faults) > _LISTED else ""
        raise WeightFileError(
            f"{folder} does not fit {type(network).__name__}: {'; '.join(faults[:_LISTED])}{more}"
        )
    return _restore(folder, read)


def _check_same_network(folder: epath.Path, manifest: Mapping, network: Network) -> None:
    """Compares with the config that a checkpoint keeps, or that lies in the workdir around it."""
    try:
        if "run" in manifest:
            config = manifest["run"]["config"]
        else:  # of an earlier version
            config = json.loads((folder.parents[2] / "config.json").read_text())
        trained = {name: config["model"][name] for name in ("name", *_SAME)}
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise WeightFileError(
            f"{folder} does not say what network it is of ({type(error).__name__}: {error}); give "
            "the workdir of a run, or a checkpoint in it"
        ) from error
    here = {name: getattr(network, name) for name in _SAME}
    here["name"] = next((name for name, kind in NETWORKS.items() if type(network) is kind), "")
    for name, value in trained.items():
        if here[name] != value:
            raise WeightFileError(
                f"{folder} was trained with model.{name}={value!r}, not {here[name]!r}; set "
                f"--config.model.{name}={value}"
            )


def _restore(folder: epath.Path, wanted: Mapping[Place, Any]) -> dict[Place, np.ndarray]:
    """Restores some arrays of a checkpoint."""
    template: dict[str, Any] = {}
    for place, array in wanted.items():
        node = template
        *parents, leaf = place if place[0] == "params" else ("model_state", *place)
        for name in parents:
            node = node.setdefault(name, {})
        node[leaf] = array
    state = checkpoints.restore(folder, template, sharding=Placement().replicated, partial=True)
    restored = {}
    for place in wanted:
        node = state
        for name in place if place[0] == "params" else ("model_state", *place):
            node = node[name]
        restored[place] = np.asarray(node)
    return restored
