"""Where a run goes on: at its last checkpoint, or at the one asked for, the first time."""

import json
import logging
import os

import ml_collections
from etils import epath

from ega_jax.config import build
from ega_jax.runtime import distributed, files
from ega_jax.runtime.checkpoints import CheckpointError, exist, find, step_of

_FILE = "went_on_from.json"  # in the workdir: what was asked for, and its step

logger = logging.getLogger(__name__)


def starting_point(workdir: str | os.PathLike, checkpoint: str | None) -> epath.Path | None:
    """Finds the checkpoint that a run goes on from; None: it begins.

    Whoever repeats a command until it is done (`launch/`) repeats `--checkpoint`, too, and means
    what came after it: what a run has saved since it went on from a checkpoint comes first.

    Args:
      workdir: of the run.
      checkpoint: the one asked for, as in `checkpoints.find`; None: the last one, if there is any.

    Raises:
      CheckpointError: there is no such checkpoint.
    """
    if not exist(workdir):
        return None if checkpoint is None else find(workdir, checkpoint)
    path = epath.Path(workdir) / _FILE
    if checkpoint is not None and path.exists():
        before = json.loads(path.read_text())
        last = find(workdir, "last")
        if before["checkpoint"] == checkpoint and _step_of(last) > before["step"]:
            logger.info(
                "The run went on from --checkpoint=%s before, and has saved since; remove %s to go "
                "back there once more.",
                checkpoint,
                path,
            )
            return last
    return find(workdir, checkpoint or "last")


def _step_of(checkpoint: epath.Path) -> int:
    """Returns the step of a checkpoint; -1 if it is damaged, for which another one is asked for."""
    try:
        return step_of(checkpoint)
    except CheckpointError:
        return -1


def remember(workdir: str | os.PathLike, checkpoint: str | None, step: int) -> None:
    """Writes down that a run goes on from the checkpoint asked for, once later ones are away."""
    if checkpoint is not None and distributed.is_lead():
        known = {"checkpoint": checkpoint, "step": step}
        files.write_json(epath.Path(workdir) / _FILE, known)


def warn_of_another_length(
    known: ml_collections.ConfigDict, config: ml_collections.ConfigDict, images: int
) -> None:
    """Says what a longer or shorter run does to what depends on the length.

    Args:
      known: the config of the run so far.
      config: with which it goes on.
      images: of the training split.
    """
    before, after = build.total_steps(known, images), build.total_steps(config, images)
    of_length = []
    if config.optimizer.schedule in ("cosine", "polynomial"):
        of_length.append("the learning rate")
    if build.entropy_share(config, images) is not None:
        of_length.append("the weight of the entropies")
    if before != after and of_length:
        logger.warning(
            "The run was to have %d steps and is to have %d: from here on %s will be as in a run "
            "of %d, in which the steps so far would have been others.",
            before,
            after,
            " and ".join(of_length),
            after,
        )
