"""What a run may train on: images that all processes leave out alike, and classes with images."""

import logging
from collections.abc import Mapping

import numpy as np

from ega_jax.data.source import DataError, Source, without
from ega_jax.runtime import distributed

logger = logging.getLogger(__name__)

_SHOWN = 5  # names in a message


def leave_out(source: Source, recorded: Mapping[str, str] | None) -> Source:
    """Leaves out the training images that cannot be used, the same in all processes.

    What is left out decides on every batch from then on. So it is settled once, when the run
    begins: what any process cannot read, none reads. A run that goes on leaves out the same.

    Args:
      source: the training split.
      recorded: what the run has left out so far, by id, and why; None: it has not begun.

    Raises:
      DataError: nothing is left, or an image that the run has used cannot be read any more.
    """
    if recorded is None:
        bad = source.unusable
        columns = {"ids": np.array(list(bad), str), "why": np.array(list(bad.values()), str)}
        recorded = {
            image_id: reason
            for part in distributed.gather(columns)
            for image_id, reason in zip(part["ids"].tolist(), part["why"].tolist(), strict=True)
        }
        recorded = {name: recorded[name] for name in source.image_ids if name in recorded}
    if new := [name for name in source.unusable if name not in recorded]:
        raise DataError(
            f"{source.name}: {len(new)} images were fine when the run began and cannot be used any "
            f"more, the first is {new[0]!r}: {source.unusable[new[0]]}. Without them every batch "
            "would be another: restore them, or begin a new run"
        )
    if recorded:
        few = ", ".join(f"{name} ({recorded[name]})" for name in list(recorded)[:_SHOWN])
        logger.warning(
            "%s: %d of %d images are left out: %s%s",
            source.name,
            len(recorded),
            len(source),
            few,
            ", ..." if len(recorded) > _SHOWN else "",
        )
    return without(source, recorded)


def check_training(source: Source, num_classes: int | None) -> None:
    """Checks that there is something to learn: two classes with images, and no phantom ones.

    Classes that have a name but no image are only warned about.

    Args:
      source: the training split.
      num_classes: as the config says it; None: as many as the labels need.

    Raises:
      DataError: says what the likely cause is.
    """
    counts = np.bincount(source.labels, minlength=source.num_classes)
    empty = np.flatnonzero(counts == 0).tolist()
    names = source.class_names
    if source.num_classes - len(empty) < 2:
        name = names[int(np.argmax(counts))]
        remedy = "correct the labels, class_labels.txt, in all splits"
        if source.image_ids[0].startswith(f"{name}/"):  # a class folder
            remedy = (
                "the images must lie in a folder for each class, DIR/<class>/ or "
                "DIR/train/<class>/ with --config.data.root=DIR; if the class folders are in "
                f"{name!r}, give that folder"
            )
        raise DataError(
            f"{source.name}: all {len(source)} training images are of one class, {name!r}, and "
            f"there is nothing to learn: {remedy}"
        )
    if not empty:
        return
    unnamed = names == tuple(map(str, range(len(names))))
    if unnamed and num_classes is None:
        lacking = ", ".join(map(str, empty[:_SHOWN])) + (", ..." if len(empty) > _SHOWN else "")
        cause = "labels count from 0 without gaps"
        if empty == [0]:
            cause = "labels count from 0, and these seem to count from 1: subtract 1 in all splits"
        raise DataError(
            f"{source.name}: no training image has the label {lacking} of 0 to {len(names) - 1}; "
            f"{cause}. If such classes are meant, set --config.data.num_classes={len(names)}"
        )
    few = ", ".join(names[i] for i in empty[:_SHOWN]) + (", ..." if len(empty) > _SHOWN else "")
    logger.warning(
        "%s: %d of %d classes have no training image: %s", source.name, len(empty), len(names), few
    )


def warn_of_shared(sources: Mapping[str, Source]) -> None:
    """Warns where images that are trained with are validated or tested with, too.

    Args:
      sources: splits by name, whose ids mean the same images.
    """
    trained = set(sources["train"].image_ids) if "train" in sources else set()
    for split in ("val", "test"):
        shared = (
            [one for one in sources[split].image_ids if one in trained] if split in sources else []
        )
        if shared:
            logger.warning(
                "%d images of the %s split are in the training split, too, %r for one: its figures "
                "are of images that were trained with.",
                len(shared),
                split,
                shared[0],
            )
