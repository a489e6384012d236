"""What a workdir says its run is: `config.json` and `classes.json`."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections
from etils import epath

from ega_jax.config.check import _require
from ega_jax.methods import METHODS
from ega_jax.runtime import files
from ega_jax.runtime.errors import ConfigError


def check_same_network(config: ml_collections.ConfigDict, workdir: str | os.PathLike) -> None:
    """Compares with the run in a workdir: its weights would fit other networks, but mean nothing.

    Raises:
      ConfigError: a field of the network differs.
    """
    run = load(workdir)
    trained = run.get("method", "cam")
    if METHODS[trained].own_network or METHODS[config.method].own_network:
        _require(
            config.method == trained,
            "method",
            config.method,
            f"the run in {workdir} has the network of {trained!r}; set that, or another --workdir",
        )
    for name, trained in run.model.items():
        if name not in ("pretrained", "dropout", "dtype"):
            value = config.model[name]
            _require(
                value == trained,
                f"model.{name}",
                value,
                f"the run in {workdir} has {trained!r}; set that, or another --workdir",
            )


def save(config: ml_collections.ConfigDict, workdir: str | os.PathLike) -> None:
    """Writes `config.json` into the workdir."""
    files.write_json(epath.Path(workdir) / "config.json", config.to_dict())


def load(workdir: str | os.PathLike) -> ml_collections.ConfigDict:
    """Reads the `config.json` of a workdir.

    Raises:
      ConfigError: the file is missing or unreadable.
    """
    path = epath.Path(workdir) / "config.json"
    values = _read_json(path)
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds no config; give the workdir of a trained model")
    return ml_collections.ConfigDict(_with_tuples(values))


def save_class_names(names: Sequence[str], workdir: str | os.PathLike) -> None:
    """Writes `classes.json`, the class names in the order of their labels, into the workdir."""
    files.write_json(epath.Path(workdir) / "classes.json", list(names))


def load_class_names(workdir: str | os.PathLike) -> list[str]:
    """Reads the `classes.json` of a workdir.

    Raises:
      ConfigError: the file is missing or unreadable.
    """
    return _read_json(epath.Path(workdir) / "classes.json")


def save_left_out(left_out: Mapping[str, str], workdir: str | os.PathLike) -> None:
    """Writes `left_out.json`, the training images that a run leaves out, by id, and why."""
    files.write_json(epath.Path(workdir) / "left_out.json", dict(left_out))


def load_left_out(workdir: str | os.PathLike) -> dict[str, str] | None:
    """Reads the `left_out.json` of a workdir; None if there is none.

    Raises:
      ConfigError: the file is unreadable.
    """
    path = epath.Path(workdir) / "left_out.json"
    return _read_json(path) if path.exists() else None


def _read_json(path: epath.Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"cannot read {path}: {error}; give the workdir of a trained model"
        ) from error


def _with_tuples(value: object) -> object:
    """Turns JSON's lists back into the tuples that configs hold."""
    if isinstance(value, dict):
        return {k: _with_tuples(v) for k, v in value.items()}
    return tuple(value) if isinstance(value, list) else value
