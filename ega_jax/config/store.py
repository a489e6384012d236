"""What a workdir says its run is: its config, its classes, and the images it was trained on.

`config.json`, `classes.json` and `data.json` are written when a run begins. Going on with the run,
evaluating it and predicting with it may change the fields of `FREE`, and going on writes them down;
whatever else differs would put another run's name on its weights, and is refused.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath
from ml_collections.config_dict import ConfigDict

from ega_jax.config.check import AUTO
from ega_jax.config.fields import RENAMED, get_config
from ega_jax.data import hierarchy
from ega_jax.data.source import Source
from ega_jax.methods import METHODS
from ega_jax.runtime import checkpoints, files
from ega_jax.runtime.errors import ConfigError
from ega_jax.runtime.nested import flatten

# What may differ from the run's own config, sections as a whole; docs/runs.md has it too.
FREE = (
    # its length
    "steps",
    "epochs",
    # what it logs and keeps
    "log_every_steps",
    "profile",
    "checkpoint",
    # how it is evaluated and used
    "eval",
    "reader",
    "predict",
    "annotate",
    "report",
    "ccam",
    "data.mask_values",
    # where files are; other classes and other training images are found out by `Facts`
    "data.root",
    "data.val_root",
    "data.metadata",
    "data.masks",
    "data.class_names",
    "data.check_files",
    "danet.hierarchy",
    # memory
    "data.cache",
    "remat",
)


@dataclasses.dataclass(frozen=True)
class Run:
    """What is known of a run besides its weights.

    Attributes:
      config: with which it was trained.
      class_names: in the order of the labels.
    """

    config: ConfigDict
    class_names: tuple[str, ...]


def settle(run: ConfigDict, given: ConfigDict, place: str | os.PathLike) -> ConfigDict:
    """Returns a run's config with the free fields of another one.

    Args:
      run: the config of the run.
      given: the config it is to be used with.
      place: of the run, for the message.

    Raises:
      ConfigError: a field that is not free differs; names all of them, with both values.
    """
    if differences := _fixed_differences(run, given):
        said = "\n  config.{}: the run has {!r}, asked for is {!r}"
        lines = "".join(said.format(*difference) for difference in differences)
        raise ConfigError(
            f"{place} is another run:{lines}\nLeave these fields as the run has them, or choose "
            "another --workdir."
        )
    settled = given.copy_and_resolve_references()
    with settled.ignore_type():
        settled.batch_size = run.batch_size
    return settled


def fixed_changes(run: ConfigDict, given: ConfigDict) -> list[str]:
    """Lists the fields that differ and are not free, each as `name: old -> new`."""
    return [f"{name}: {old!r} -> {new!r}" for name, old, new in _fixed_differences(run, given)]


def changes(run: ConfigDict, given: ConfigDict) -> list[str]:
    """Lists the free fields that differ, each as `name: old -> new`."""
    return [
        f"{name}: {old!r} -> {new!r}"
        for name, old, new in _differences(run, given)
        if _is_free(name)
    ]


def _fixed_differences(run: ConfigDict, given: ConfigDict) -> list[tuple[str, Any, Any]]:
    return [
        (name, old, new)
        for name, old, new in _differences(run, given)
        if not _is_free(name)
        and (name, new) != ("batch_size", AUTO)  # settled when a run begins
        and not (name == "method" and _trained_as(old) == _trained_as(new))
    ]


def _differences(run: ConfigDict, given: ConfigDict) -> list[tuple[str, Any, Any]]:
    """Lists fields with other values; the sections of methods that a run does not use are equal."""
    old, new = flat(run), flat(given)
    unused = _unused(run.method) | (set() if run.ega.enabled or given.ega.enabled else {"ega"})
    return [
        (name, old.get(name), new.get(name))
        for name in old | new
        if old.get(name) != new.get(name)
        and (name.partition(".")[0] not in unused or name == "ega.enabled")
    ]


def _trained_as(method: str) -> str:
    return METHODS[method].trained_as or method


def _unused(method: str) -> set[str]:
    """Names the sections of the methods that are not this one."""
    sections = {name: {"nl_ccam": "ccam"}.get(name, name) for name in METHODS}
    return set(sections.values()) - {sections[method]}


def _is_free(name: str) -> bool:
    return any(name == free or name.startswith(f"{free}.") for free in FREE)


def flat(config: ConfigDict) -> dict[str, Any]:
    """Returns the fields of a config by their dotted names."""
    return flatten(config.to_dict(), ".")


def data_facts(config: ConfigDict, source: Source) -> dict[str, Any]:
    """Describes what a run is trained on, beyond its config.

    Args:
      config: of the run.
      source: the training split.

    Returns:
      `train_images`, their number; `train_digest`, the SHA-256 of their ids and labels; and for
      DANet `hierarchy_digest`, that of its file.

    Raises:
      DataError: the file of DANet's hierarchy cannot be read.
    """
    digest = hashlib.sha256()
    for image_id, label in zip(source.image_ids, source.labels.tolist(), strict=True):
        digest.update(f"{image_id}\0{label}\n".encode("utf-8", "surrogateescape"))
    facts = {"train_images": len(source), "train_digest": digest.hexdigest()}
    if config.method == "danet":
        facts["hierarchy_digest"] = hierarchy.digest(config.danet.hierarchy)
    return facts


def check_data(
    workdir: str | os.PathLike,
    checkpoint: str | os.PathLike,
    names: Sequence[str],
    facts: Mapping[str, Any],
) -> None:
    """Compares the data with what the run to go on with was trained on.

    Args:
      workdir: of the run, if it has begun there.
      checkpoint: to go on from, where it has not.
      names: of the classes, in the order of their labels.
      facts: of `data_facts`.

    Raises:
      ConfigError: the classes or the training images are others.
    """
    remedy = "Give the data of the run with config.data"
    if exists(workdir):
        place, trained = epath.Path(workdir), load_class_names(workdir)
        remedy += ", or choose another --workdir."
    else:
        place, trained = (
            checkpoints.workdir_of(checkpoint),
            list(of_checkpoint(checkpoint).class_names),
        )
        remedy += ", or train anew, without --checkpoint."
    name = place or checkpoint
    if list(names) != trained:
        raise ConfigError(
            f"{name} was trained on other classes: {_first_difference(trained, names)}. {remedy}"
        )
    # Earlier versions did not write it, and a checkpoint may lie outside of a workdir.
    if place is None or not (place / "data.json").exists():
        return
    known = read_json(place / "data.json")
    if known.get("hierarchy_digest") != facts.get("hierarchy_digest"):
        raise ConfigError(
            f"config.danet.hierarchy: {name} was trained with another hierarchy. {remedy}"
        )
    if known != dict(facts):
        raise ConfigError(
            f"{name} was trained on other images: {known.get('train_images')} then, "
            f"{facts['train_images']} now, with other names or labels. {remedy}"
        )


def _first_difference(old: Sequence[str], new: Sequence[str]) -> str:
    if len(old) != len(new):
        return f"{len(old)} then ({', '.join(old[:3])}, ...), {len(new)} now ({', '.join(new[:3])})"
    label = next(i for i, (a, b) in enumerate(zip(old, new, strict=True)) if a != b)
    return f"class {label} was {old[label]!r} and is {new[label]!r}"


def exists(workdir: str | os.PathLike) -> bool:
    """Says whether a run has begun in a workdir."""
    return (epath.Path(workdir) / "config.json").exists()


def save(
    workdir: str | os.PathLike,
    config: ConfigDict,
    class_names: Sequence[str],
    facts: Mapping[str, Any],
) -> None:
    """Writes what a run is into its workdir."""
    workdir = epath.Path(workdir)
    files.write_json(workdir / "classes.json", list(class_names))
    files.write_json(workdir / "data.json", dict(facts))
    files.write_json(workdir / "config.json", config.to_dict())


def load(workdir: str | os.PathLike) -> ConfigDict:
    """Reads the `config.json` of a workdir.

    Raises:
      ConfigError: the file is missing or unreadable.
    """
    path = epath.Path(workdir) / "config.json"
    return parse(read_json(path), path)


def load_class_names(workdir: str | os.PathLike) -> list[str]:
    """Reads the `classes.json` of a workdir.

    Raises:
      ConfigError: the file is missing or unreadable.
    """
    return read_json(epath.Path(workdir) / "classes.json")


def of_checkpoint(path: str | os.PathLike) -> Run:
    """Reads what run a checkpoint is of, wherever it lies.

    A checkpoint of an earlier version does not know; its workdir then does.

    Args:
      path: folder of a checkpoint, as `checkpoints.find` returns.

    Raises:
      ConfigError: neither the checkpoint nor a workdir around it says.
      CheckpointError: the checkpoint is damaged.
    """
    manifest = checkpoints.read_manifest(path)
    if "run" in manifest:
        run = manifest["run"]
        return Run(parse(run["config"], path), tuple(run["classes"]))
    workdir = checkpoints.workdir_of(path)
    if workdir is None:
        raise ConfigError(
            f"{path} does not say what run it is of; put it below `checkpoints` of its workdir, "
            "beside config.json and classes.json"
        )
    return Run(load(workdir), tuple(load_class_names(workdir)))


def find_run(workdir: str | None, checkpoint: str | None) -> str:
    """Returns where a run says what it is: its workdir, or a checkpoint that lies elsewhere.

    Args:
      workdir: of the run, if given.
      checkpoint: `last`, `best`, a step or a path, if given.

    Returns:
      A place for `read_run`.

    Raises:
      ConfigError, CheckpointError: there is no such checkpoint, or what it says is unreadable.
    """
    elsewhere = checkpoint is not None and epath.Path(checkpoint).is_dir()
    if workdir is not None and exists(workdir) and not elsewhere:
        place = workdir
    else:
        place = os.fspath(checkpoints.find(workdir or "", checkpoint or "last"))
    read_run(place)
    return place


def read_run(place: str | os.PathLike) -> ConfigDict:
    """Reads the config of a run off its workdir or one of its checkpoints."""
    return load(place) if exists(place) else of_checkpoint(place).config


def refuse_run(workdir: str | os.PathLike) -> None:
    """Refuses a folder with a run to those who would replace its results.

    Raises:
      ConfigError: there is a run in it.
    """
    if exists(workdir) or checkpoints.exist(workdir):
        raise ConfigError(
            f"{workdir} is the folder of a training run, whose results would be replaced; choose "
            "another --workdir"
        )


def check_place(workdir: str | os.PathLike, run: Run) -> None:
    """Looks whether a workdir may receive results of a run: it is the run's own, or no run's.

    Raises:
      ConfigError: it is another run's.
    """
    if exists(workdir):
        settle(load(workdir), run.config, workdir)
        if load_class_names(workdir) != list(run.class_names):
            raise ConfigError(
                f"{workdir} is another run, of other classes; choose another --workdir"
            )


def describe(config: ConfigDict, class_names: Sequence[str]) -> dict[str, Any]:
    """Returns what a checkpoint keeps for `of_checkpoint`."""
    return {"config": config.to_dict(), "classes": list(class_names)}


def parse(values: Any, place: str | os.PathLike) -> ConfigDict:
    """Builds a config from what JSON holds; fields that it lacks have their defaults.

    Raises:
      ConfigError: it holds no config, or fields that there are no more.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"{place} holds no config; give the workdir of a trained model")
    config = get_config()
    known = flat(config)
    given = {RENAMED.get(name, name): value for name, value in flatten(values, ".").items()}
    if unknown := sorted(given.keys() - known.keys()):
        raise ConfigError(
            f"{place} has fields that this version does not know: {', '.join(unknown)}; it was "
            "written by a later one"
        )
    try:
        config.update_from_flattened_dict(
            {name: tuple(v) if isinstance(v, list) else v for name, v in given.items()}
        )
    except TypeError as error:
        raise ConfigError(f"{place}: {error}") from error
    return config


def save_left_out(left_out: Mapping[str, str], workdir: str | os.PathLike) -> None:
    """Writes `left_out.json`, the training images that a run leaves out, by id, and why."""
    files.write_json(epath.Path(workdir) / "left_out.json", dict(left_out))


def load_left_out(workdir: str | os.PathLike) -> dict[str, str] | None:
    """Reads the `left_out.json` of a workdir; None if there is none.

    Raises:
      ConfigError: the file is unreadable.
    """
    path = epath.Path(workdir) / "left_out.json"
    return read_json(path) if path.exists() else None


def read_json(path: epath.Path) -> Any:
    """Reads a file of a workdir.

    Raises:
      ConfigError: it is missing or unreadable.
    """
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"cannot read {path}: {error}; give the workdir of a trained model"
        ) from error
