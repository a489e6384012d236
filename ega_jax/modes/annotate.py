"""`--mode=annotate`: boxes and regions for pictures whose class is known, in other tools' formats.

The network comes first: what it finds is kept in `parts/*.json`, a few hundred pictures in each,
written whole or not at all. A call that was stopped goes on behind the last part. The formats are
written from the parts, so other ones can be had later without the network.
"""

import collections
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from typing import Any

import ml_collections
import numpy as np
from etils import epath

from ega_jax import localization
from ega_jax.config import build, store
from ega_jax.config.fields import words
from ega_jax.data.export.annotated import Annotated, Found
from ega_jax.data.export.regions import run_lengths_of
from ega_jax.data.export.write import check_stems, write
from ega_jax.data.files.labelled import Labelled, list_labelled
from ega_jax.data.files.listing import report_left_out
from ega_jax.data.files.pictures import read_picture
from ega_jax.data.source import DataError
from ega_jax.evaluation.localizer import OWN, Localization, Localizer, validated_threshold
from ega_jax.modes import untrained
from ega_jax.runtime import checkpoints, devices, files, lock
from ega_jax.runtime.errors import ConfigError

logger = logging.getLogger(__name__)

PART = 256  # pictures

_FREE = ("top_k", "save_maps", "save_masks")  # fields of `predict` that change nothing


def annotate(
    config: ml_collections.ConfigDict,
    workdir: str,
    images: str,
    *,
    metadata: str | None = None,
    checkpoint: str | None = None,
) -> list[dict]:
    """Finds the objects of pictures whose class is known, and writes them for other tools.

    Writes into `annotate.out`, or `annotations` in the workdir, what `annotate.format` says and
    `summary.json`: how many pictures and objects there are, of each class, the threshold, what was
    skipped and left out.

    Args:
      config: of the run that trained the model, but for the fields of `store.FREE`.
      workdir: of that run, or an empty one.
      images: see `labelled.list_labelled`.
      metadata: see `labelled.list_labelled`.
      checkpoint: `last`, `best`, a step or a path; None: as `config.eval.checkpoint` says.

    Returns:
      The pictures that were skipped: `image_id` and `reason`.

    Raises:
      ConfigError, DataError: the config, the pictures or their classes cannot be used, or the
        folder has annotations of other pictures or settings.
      CheckpointError: the checkpoint is missing, damaged or of another model.
      WorkdirInUseError: another process annotates there.
    """
    if checkpoint is None:
        untrained.ensure(config, workdir)
    path = checkpoints.find(workdir, checkpoint or config.eval.checkpoint)
    run = store.of_checkpoint(path)
    store.check_place(workdir, run)
    config = store.settle(run.config, config, path)
    pictures = list_labelled(images, run.class_names, metadata)
    report_left_out(images, pictures.left_out)
    formats = words(config.annotate.format)
    check_stems(pictures.ids, formats)
    threshold = validated_threshold(config, checkpoints.workdir_of(path))
    out = epath.Path(
        os.path.expanduser(config.annotate.out) or os.path.join(workdir, "annotations")
    )
    background = set(build.background(config, run.class_names))
    with lock.only_one(out):
        _settle(out, _plan(config, path, pictures, threshold))
        parts = _Parts(out, len(pictures.ids))
        missing = parts.missing()
        localizer = Localizer.load(path, config=config) if missing else None
        for number, chosen in missing:
            settings = config.predict, OWN if threshold is None else threshold
            files.write_json(parts.path(number), _part(localizer, pictures, chosen, *settings))
            logger.info("%d of %d pictures", chosen.stop, len(pictures.ids))
        written = write(
            out,
            lambda: parts.pictures(config.annotate.min_confidence),
            formats,
            root=pictures.root,
            names=[n for label, n in enumerate(run.class_names) if label not in background],
            regions=config.annotate.regions,
            images=config.annotate.images,
        )
        skipped = parts.skipped()
        summary = {
            "checkpoint": str(path),
            "device": devices.describe(),
            "threshold": OWN if threshold is None else threshold,
            **_counts(parts.pictures(config.annotate.min_confidence)),
            "written": written,
            "skipped": skipped,
            "left_out": [{"file": file, "reason": why} for file, why in pictures.left_out],
        }
        files.write_json(out / "summary.json", summary)
    logger.info(
        "%d objects in %d pictures, none in %d, %d skipped: %s",
        *(summary[name] for name in ("objects", "pictures", "without_object")),
        len(skipped),
        out,
    )
    return skipped


class _Parts:
    """The files that keep what was found."""

    def __init__(self, out: epath.Path, number: int):
        self._out = out
        self._chosen = [slice(i, min(i + PART, number)) for i in range(0, number, PART)]

    def path(self, number: int) -> epath.Path:
        return self._out / "parts" / f"{number:06d}.json"

    def missing(self) -> list[tuple[int, slice]]:
        """Returns the number of each part that is still to be made, and its pictures."""
        parts = enumerate(self._chosen)
        return [(number, chosen) for number, chosen in parts if not self.path(number).exists()]

    def pictures(self, min_confidence: float) -> Iterator[Annotated]:
        """Yields all pictures, with the objects that are sure enough."""
        for part in self._read():
            for values in part["pictures"]:
                sure = [one for one in values["objects"] if one["confidence"] >= min_confidence]
                yield Annotated.from_json(values | {"objects": sure})

    def skipped(self) -> list[dict]:
        return [entry for part in self._read() for entry in part["skipped"]]

    def _read(self) -> Iterator[dict]:
        for number in range(len(self._chosen)):
            path = self.path(number)
            try:
                yield json.loads(path.read_text())
            except ValueError as error:
                raise DataError(f"{path} is damaged ({error}); remove it and annotate again") from (
                    error
                )


def _plan(
    config: ml_collections.ConfigDict,
    path: epath.Path,
    pictures: Labelled,
    threshold: float | None,
) -> dict[str, Any]:
    """Returns what the parts depend on."""
    digest = hashlib.sha256()
    for entry in zip(pictures.ids, pictures.labels, pictures.splits, strict=True):
        digest.update("\0".join(map(str, entry)).encode("utf-8", "surrogateescape") + b"\n")
    predict = {k: v for k, v in config.predict.to_dict().items() if k not in _FREE}
    return {
        "checkpoint": checkpoints.read_manifest(path)["step"],
        "images": os.path.abspath(pictures.root),
        "pictures": digest.hexdigest(),
        "background_classes": config.data.background_classes,
        "reader": config.reader.to_dict(),
        "map_size": config.eval.map_size,
        "predict": predict | {"threshold": OWN if threshold is None else threshold},
    }


def _settle(out: epath.Path, plan: Mapping[str, Any]) -> None:
    """Writes down what the parts will be of, or looks whether those there are of the same.

    Raises:
      ConfigError: they are of something else.
    """
    path, plan = out / "plan.json", json.loads(json.dumps(plan))
    if not path.exists():
        files.write_json(path, plan)
        return
    known = json.loads(path.read_text())
    if different := [name for name in plan if plan[name] != known.get(name)]:
        raise ConfigError(
            f"{out} has annotations of other {' and '.join(different)}; remove it, or choose "
            "another folder with --config.annotate.out"
        )


def _part(
    localizer: Localizer,
    pictures: Labelled,
    chosen: slice,
    predict: ml_collections.ConfigDict,
    threshold: float | str,
) -> dict[str, Any]:
    """Finds the objects of some pictures."""
    skipped: list[dict] = []
    waiting: list[tuple[int, tuple[int, int]]] = []

    labels: collections.deque[int] = collections.deque()  # of pictures that were just read

    def readable() -> Iterator[np.ndarray]:
        for i in range(chosen.start, chosen.stop):
            try:
                picture = read_picture(pictures.path(i))
            except DataError as error:
                logger.warning("skipped %s: %s", pictures.ids[i], error)
                skipped.append({"image_id": pictures.ids[i], "reason": str(error)})
                continue
            waiting.append((i, picture.shape[1::-1]))
            labels.append(pictures.labels[i])
            yield picture

    def known() -> Iterator[int]:
        while labels:
            yield labels.popleft()

    found = localizer.each(
        readable(),
        known(),
        threshold=threshold,
        boxes=predict.boxes,
        max_objects=predict.max_objects,
        smallest=predict.smallest,
    )
    annotated = []
    for (one,) in found:
        i, size = waiting.pop(0)
        name, split = pictures.ids[i], pictures.splits[i]
        annotated.append(_annotated(name, split, size, one).to_json())
    return {"pictures": annotated, "skipped": skipped}


def _annotated(image_id: str, split: str, size: tuple[int, int], found: Localization) -> Annotated:
    objects = [
        Found(
            tuple(box),
            float(confidence),
            run_lengths_of(localization.region_in_image(found.parts, number, size)),
        )
        for number, (box, confidence) in enumerate(
            zip(found.boxes.tolist(), found.confidences, strict=True)
        )
    ]
    return Annotated(
        image_id, split, found.class_name, size, found.score, found.threshold, tuple(objects)
    )


def _counts(every: Iterator[Annotated]) -> dict[str, Any]:
    """Counts pictures and objects, all together and by class."""
    pictures = objects = empty = 0
    classes: dict[str, dict[str, int]] = {}
    for picture in every:
        of_class = classes.setdefault(picture.name, {"pictures": 0, "objects": 0})
        pictures += 1
        objects += len(picture.objects)
        empty += not picture.objects
        of_class["pictures"] += 1
        of_class["objects"] += len(picture.objects)
    return {
        "pictures": pictures,
        "objects": objects,
        "without_object": empty,
        "classes": dict(sorted(classes.items())),
    }
