"""Saving and restoring training states with orbax: the only module that imports it.

Layout below the workdir: `checkpoints/last/<step>` (the newest few), `checkpoints/best/<step>` (the
best on validation localization, one). Beside the state each checkpoint holds a manifest: its step,
what run it is of, and shape, type and checksum of every array. Orbax writes aside and renames, or
in a bucket says at the end that a folder is whole, so what a killed run was writing is not taken
for a checkpoint; but it restores an array with a flipped bit without a word, hence the checksums.
"""

import hashlib
import json
import logging
import os
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from ega_jax.runtime import distributed, files
from ega_jax.runtime.errors import UserError

logger = logging.getLogger(__name__)


class CheckpointError(UserError, RuntimeError):
    """A checkpoint is missing, damaged or of another model. It is never changed or deleted."""


class Checkpoints:
    """The checkpoints of one workdir, for a run that writes them.

    Use as a context manager: leaving it waits for the writes under way.
    """

    def __init__(
        self,
        workdir: str | os.PathLike,
        *,
        keep: int,
        run: Mapping[str, Any] | None = None,
    ):
        """Opens (and creates) `workdir/checkpoints`.

        Args:
          workdir: of the run.
          keep: how many of the newest stay in `last`.
          run: what every checkpoint says of its run, in JSON's types; see `config.store.describe`.
        """
        self._extra = {} if run is None else {"run": dict(run)}
        self.folder = epath.Path(workdir).absolute() / "checkpoints"
        self._last = _manager(self.folder / "last", keep)
        self._best = _manager(self.folder / "best", 1)
        self.best_score = self._read_best_score()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._last.close()
        self._best.close()

    def wait(self) -> None:
        """Waits for the writes under way.

        Raises:
          CheckpointError: one of them failed, on a full disk say.
        """
        for manager in (self._last, self._best):
            try:
                manager.wait_until_finished()
            except (OSError, ValueError) as error:  # tensorstore's are ValueErrors
                raise CheckpointError(
                    f"a checkpoint could not be written to {self.folder}: {error}\nEarlier ones "
                    "are as they were. Make room, and start the same command again to go on"
                ) from error

    def require_room(self, state: Any) -> None:
        """Looks whether a checkpoint of `state` fits onto the disk, before time goes into it.

        Raises:
          CheckpointError: it does not; says what it takes and what is free.
        """
        free, needed = files.free_bytes(self.folder), sum(a.nbytes for a in _leaves(state).values())
        if free is not None and free < needed:
            raise CheckpointError(
                f"no room for a checkpoint in {self.folder}: it takes {needed / 1e6:.1f} MB, "
                f"{free / 1e6:.1f} are free. Earlier ones are as they were. Make room and start "
                "the same command again, or choose another --workdir"
            )

    @property
    def latest_step(self) -> int | None:
        """Step of the newest checkpoint in `last`, None if there is none."""
        return self._last.latest_step()

    def save(self, state: Any) -> None:
        """Writes `state` to `last`, in the background; a step that is already there is left."""
        if int(state.step) != self._last.latest_step():
            self.require_room(state)
            _save(self._last, state, self._extra)

    def save_if_best(self, state: Any, score: float) -> bool:
        """Writes `state` to `best` if `score` (higher is better) beats every earlier one.

        A step that is already there is left: a finished run that is only read in another way.
        """
        if not score > self.best_score:
            return False
        self.best_score = score
        if int(state.step) != self._best.latest_step():
            self.require_room(state)
            _save(self._best, state, {"score": score, **self._extra})
        return True

    def set_aside_after(self, step: int) -> None:
        """Moves checkpoints of steps beyond `step` to `set_aside`: the run goes on from `step`."""
        for manager, name in ((self._last, "last"), (self._best, "best")):
            newer = [s for s in manager.all_steps() if s > step]
            if distributed.is_lead():
                for each in newer:
                    self._set_aside(name, each)
            distributed.wait_for_all(f"{name} set aside")
            manager.reload()
        self.best_score = self._read_best_score()

    def _read_best_score(self) -> float:
        """Returns the score to beat; a best checkpoint that is damaged is moved out of the way."""
        score = -np.inf
        step = self._best.latest_step()
        if step is not None and distributed.is_lead():
            try:
                score = read_manifest(self.folder / "best" / str(step))["score"]
            except CheckpointError as error:
                logger.warning("%s", error)
                self._set_aside("best", step)
        score = float(distributed.gather({"score": np.array(score)})[0]["score"])
        self._best.reload()
        return score

    def _set_aside(self, name: str, step: int) -> None:
        target = self.folder / "set_aside" / name
        target.mkdir(parents=True, exist_ok=True)
        count = len([p for p in target.iterdir() if p.name.startswith(f"{step}.")])
        (self.folder / name / str(step)).rename(target / f"{step}.{count}")
        logger.info("Checkpoint %s/%d moved to %s.", name, step, target)


def find(workdir: str | os.PathLike, which: str) -> epath.Path:
    """Returns the folder of a checkpoint.

    Args:
      workdir: of the run.
      which: `last`, `best`, a step, one of the choices that errors list (`last/100`), or the path
        of a checkpoint's folder, or of a `last`, `best` or workdir, of which the newest is taken.

    Raises:
      CheckpointError: there is no such checkpoint; says which there are.
    """
    folder = epath.Path(workdir).absolute() / "checkpoints"
    if which in ("last", "best"):
        steps = _steps(folder / which)
        if steps:
            return folder / which / str(steps[-1])
    elif which.isdigit():
        for name in ("last", "best"):
            if int(which) in _steps(folder / name):
                return folder / name / which
    else:
        for path in (folder / which, epath.Path(which).expanduser().absolute()):
            if (path / "checkpoints").is_dir():  # a workdir
                return find(path, "last")
            if path.is_dir():
                steps = _steps(path) if path.name in ("last", "best") else []
                return path / str(steps[-1]) if steps else path
    raise CheckpointError(f"no checkpoint {which!r} in {folder}; there are: {_choices(folder)}")


def workdir_of(path: str | os.PathLike) -> epath.Path | None:
    """Returns the workdir that a checkpoint lies in, also one set aside; None if it was copied."""
    for parent in epath.Path(path).expanduser().absolute().parents:
        if parent.name == "checkpoints":
            return parent.parent
    return None


def step_of(path: str | os.PathLike) -> int:
    """Returns the number of updates that a checkpoint has seen.

    Raises:
      CheckpointError: its manifest is missing or unreadable.
    """
    manifest = read_manifest(path)
    # A version that did not write the step named folders by it, set aside as `<step>.<number>`.
    return int(manifest.get("step", epath.Path(path).name.partition(".")[0]))


def exist(workdir: str | os.PathLike) -> bool:
    """Says whether a run has a checkpoint to go on from."""
    return bool(_steps(epath.Path(workdir) / "checkpoints" / "last"))


def restore(path: str | os.PathLike, template: Any, *, sharding: Any, partial: bool = False) -> Any:
    """Reads a checkpoint into the structure of `template`.

    Args:
      path: folder of one checkpoint, as `find` returns.
      template: pytree of the state's shapes and types (`jax.eval_shape` gives one).
      sharding: of every restored array.
      partial: the checkpoint may hold more than `template`, which is then left unread.

    Raises:
      CheckpointError: it is damaged, or was written by another model; names the arrays.
    """
    path = epath.Path(path)
    manifest = read_manifest(path)
    _check_compatible(path, manifest["arrays"], template, partial)
    target = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), template
    )
    try:
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
            args = ocp.args.PyTreeRestore(
                item=target,
                restore_args=ocp.checkpoint_utils.construct_restore_args(target),
                partial_restore=partial,
            )
            state = checkpointer.restore(path / "state", args=args)
    except Exception as error:
        raise CheckpointError(_damaged(path, f"{type(error).__name__}: {error}")) from error
    for name, array in _leaves(state).items():
        if _checksum(array) != manifest["arrays"][name]["crc32"]:
            raise CheckpointError(_damaged(path, f"checksum of {name} does not match"))
    return state


def read_manifest(path: str | os.PathLike) -> dict:
    """Reads what is known of a checkpoint without its arrays.

    Returns:
      `arrays` with shapes, types and checksums, `step`, `run` if it was told, and `score` of a best
      one.

    Raises:
      CheckpointError: the manifest is missing or unreadable.
    """
    path = epath.Path(path) / "manifest" / "metadata"
    try:
        manifest = json.loads(path.read_text())
        for entry in manifest["arrays"].values():
            entry["shape"], entry["dtype"], entry["crc32"]  # all there
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{path}: {type(error).__name__}: {error}"
        raise CheckpointError(_damaged(path.parent.parent, reason)) from error
    return manifest


def fingerprint(path: str | os.PathLike) -> str:
    """Returns what tells a checkpoint from any other: a digest of its arrays' checksums.

    Raises:
      CheckpointError: the manifest is missing or unreadable.
    """
    arrays = json.dumps(read_manifest(path)["arrays"], sort_keys=True)
    return hashlib.sha256(arrays.encode()).hexdigest()


def _manager(folder: epath.Path, keep: int) -> ocp.CheckpointManager:
    options = ocp.CheckpointManagerOptions(
        max_to_keep=keep,
        create=True,
        # The loop decides when to save; orbax's own schedule must not overrule it.
        should_save_fn=lambda step, latest: True,
    )
    return ocp.CheckpointManager(folder, options=options, item_names=("state", "manifest"))


def _save(manager: ocp.CheckpointManager, state: Any, extra: dict) -> None:
    arrays = {
        name: {"shape": list(a.shape), "dtype": str(a.dtype), "crc32": _checksum(a)}
        for name, a in _leaves(state).items()
    }
    args = ocp.args.Composite(
        state=ocp.args.StandardSave(state),
        manifest=ocp.args.JsonSave({"arrays": arrays, "step": int(state.step), **extra}),
    )
    manager.save(int(state.step), args=args, force=True)


def _leaves(tree: Any) -> dict[str, Any]:
    """Names every array by its path, e.g. `params/conv1_1/conv/kernel`."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): x for path, x in leaves}


def _checksum(array: Any) -> int:
    return zlib.crc32(np.ascontiguousarray(jax.device_get(array)).tobytes())


def _check_compatible(path: epath.Path, saved: dict, template: Any, partial: bool) -> None:
    here = {name: (list(x.shape), str(x.dtype)) for name, x in _leaves(template).items()}
    there = {name: (entry["shape"], entry["dtype"]) for name, entry in saved.items()}
    differences = [
        f"{name}: {_describe(there.get(name))} in the checkpoint, {_describe(here.get(name))} here"
        for name in sorted(here.keys() if partial else here.keys() | there.keys())
        if here.get(name) != there.get(name)
    ]
    if differences:
        shown = "\n  ".join(differences[:8])
        more = f"\n  and {len(differences) - 8} more" if len(differences) > 8 else ""
        raise CheckpointError(
            f"{path} was written by another model or optimizer:\n  {shown}{more}\n"
            "Run with the config it was trained with, or choose another --workdir."
        )


def _describe(entry: tuple[list[int], str] | None) -> str:
    return "absent" if entry is None else f"{entry[1]}{entry[0]}"


def _damaged(path: epath.Path, reason: str) -> str:
    others = _choices(path.parent.parent, besides=path)
    return (
        f"checkpoint {path} is damaged: {reason}\nIt was left as it is. "
        f"Choose another with --checkpoint; there are: {others}"
    )


def _steps(folder: epath.Path) -> list[int]:
    if not folder.is_dir():
        return []
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit() and _is_whole(p))


def _is_whole(path: epath.Path) -> bool:
    """Says whether orbax has ended writing; on a disk a name without a suffix says so."""
    if not _in_bucket(path) or ocp.utils.is_checkpoint_finalized(path):
        return True
    about = path / "_CHECKPOINT_METADATA"  # one copied from a disk has the time in it, too
    if not about.exists():
        return False
    text = about.read_text()
    try:
        return bool(json.loads(text).get("commit_timestamp_nsecs"))
    except ValueError:  # half of it is there
        return False


def _in_bucket(path: epath.Path) -> bool:
    return "://" in str(path)


def _choices(folder: epath.Path, besides: epath.Path | None = None) -> str:
    found = [
        f"{name}/{step}"
        for name in ("last", "best")
        for step in _steps(folder / name)
        if folder / name / str(step) != besides
    ]
    return ", ".join(found) or "none"
