"""`--mode=annotate`: boxes and regions for pictures whose class is known, in other tools' formats.

The network comes first: what it finds is kept in `parts/*.json`, a few hundred pictures in each,
written whole or not at all. A call that was stopped goes on behind the last part. The formats are
written from the parts, so other ones can be had later without the network.
"""

import hashlib
import json
import logging
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import ml_collections
from etils import epath

from ega_jax.config import build, store
from ega_jax.config.fields import words
from ega_jax.data.export.annotated import Annotated
from ega_jax.data.export.parts import Parts
from ega_jax.data.export.reviewed import FILE as REVIEW
from ega_jax.data.export.reviewed import Review
from ega_jax.data.export.write import check_stems, write
from ega_jax.data.files.labelled import Labelled, list_labelled
from ega_jax.data.files.listing import report_left_out
from ega_jax.evaluation.annotating import find
from ega_jax.evaluation.localizer import OWN, Localizer
from ega_jax.evaluation.threshold import validated_threshold
from ega_jax.modes import untrained
from ega_jax.report import page
from ega_jax.report import review as review_page
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
    skipped and left out. And `review.html`, in which a person accepts, rejects and moves boxes.

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
    path, config, names = _run(config, workdir, checkpoint)
    pictures = list_labelled(images, store.of_checkpoint(path).class_names, metadata)
    report_left_out(images, pictures.left_out)
    formats = words(config.annotate.format)
    check_stems(pictures.ids, formats)
    threshold = validated_threshold(config, checkpoints.workdir_of(path))
    out = _folder(config, workdir)
    with lock.only_one(out):
        _settle(out, _plan(config, path, pictures, threshold))
        parts = Parts(out, len(pictures.ids), PART)
        missing = parts.missing()
        cut = OWN if threshold is None else threshold
        if missing:
            run = store.of_checkpoint(path)
            localizer = Localizer(config, run, path, config.eval.threshold)
        for number, chosen in missing:
            parts.save(number, *find(localizer, pictures, chosen, config.predict, cut))
            logger.info("%d of %d pictures", chosen.stop, len(pictures.ids))
        facts = {
            "checkpoint": str(path),
            "device": devices.describe(),
            "threshold": cut,
            "left_out": [{"file": file, "reason": why} for file, why in pictures.left_out],
            "settings": config.annotate.to_dict(),
            "formats": list(dict.fromkeys([*_written_before(out), *formats])),
        }
        return _finish(out, parts, facts, formats, names, workdir)


def merge(
    config: ml_collections.ConfigDict, workdir: str, file: str, *, checkpoint: str | None = None
) -> None:
    """Takes up what a person said of boxes, and writes again what was written.

    All formats that are there are written again, with the settings of the last call that annotated;
    the network is not asked.

    Args:
      config: as for `annotate`.
      workdir: of the run.
      file: that the review page saved, see `data.export.reviewed`.
      checkpoint: as for `annotate`.

    Raises:
      ConfigError: nothing was annotated there.
      DataError: the file cannot be read or is of other annotations.
    """
    _, config, names = _run(config, workdir, checkpoint)
    out = _folder(config, workdir)
    summary = out / "summary.json"
    if not summary.exists():
        raise ConfigError(
            f"--merge: {out} has no annotations that are finished; --mode=annotate --images=... "
            "makes them"
        )
    with lock.only_one(out):
        parts, of = Parts.there(out), _fingerprint(out)
        said = Review.read(os.path.expanduser(file), of, parts.pictures())
        _known_review(out, parts).merge(said).save(out / REVIEW, of)
        logger.info(
            "Merged: %s", ", ".join(f"{n} {verdict}" for verdict, n in said.counts().items())
        )
        facts = json.loads(summary.read_text())
        _finish(out, parts, facts, _written_before(out), names, workdir)


def _run(
    config: ml_collections.ConfigDict, workdir: str, checkpoint: str | None
) -> tuple[epath.Path, ml_collections.ConfigDict, list[str]]:
    """Returns the checkpoint, the config settled with it, and the classes that have objects."""
    path = checkpoints.find(workdir, checkpoint or config.eval.checkpoint)
    run = store.of_checkpoint(path)
    store.check_place(workdir, run)
    config = store.settle(run.config, config, path)
    background = set(build.background(config, run.class_names))
    names = [name for label, name in enumerate(run.class_names) if label not in background]
    return path, config, names


def _folder(config: ml_collections.ConfigDict, workdir: str) -> epath.Path:
    told = os.path.expanduser(config.annotate.out)
    return epath.Path(told or os.path.join(workdir, "annotations"))


def _fingerprint(out: epath.Path) -> str:
    """Returns what tells these annotations from others: a digest of what they depend on."""
    return hashlib.sha256((out / "plan.json").read_bytes()).hexdigest()[:16]


def _known_review(out: epath.Path, parts: Parts) -> Review:
    path = out / REVIEW
    return Review.read(path, _fingerprint(out), parts.pictures()) if path.exists() else Review()


def _written_before(out: epath.Path) -> list[str]:
    """Returns the formats that calls have written so far."""
    path = out / "summary.json"
    if not path.exists():
        return []
    facts = json.loads(path.read_text())
    return facts.get("formats", list(facts["written"]))  # older versions had only the last ones


def _finish(
    out: epath.Path,
    parts: Parts,
    facts: dict[str, Any],
    formats: Sequence[str],
    names: Sequence[str],
    workdir: str,
) -> list[dict]:
    """Writes the formats, `summary.json` and the page for the review; returns what was skipped."""
    settings, review = facts["settings"], _known_review(out, parts)
    root, least = json.loads((out / "plan.json").read_text())["images"], settings["min_confidence"]
    left_out = list(review.left_out(parts.pictures(), least))

    def every() -> Iterator[Annotated]:
        return review.applied(parts.pictures(), least)

    written = write(
        out,
        every,
        formats,
        root=root,
        names=names,
        regions=settings["regions"],
        images=settings["images"],
        left_out=left_out,
        splits={picture.split for picture in parts.pictures()},
    )
    skipped = parts.skipped()
    facts |= {
        **_counts(every()),
        "written": written,
        "skipped": skipped,
        "reviewed": review.counts() | {"left_out": left_out},
    }
    files.write_json(out / "summary.json", facts)
    logger.info(
        "%d objects in %d pictures, none in %d, %d skipped: %s",
        *(facts[name] for name in ("objects", "pictures", "without_object")),
        len(skipped),
        out,
    )
    if settings["review"] and page.available():
        command = f"--mode=annotate --workdir={shlex.quote(workdir)} --merge={REVIEW}"
        if checkpoints.workdir_of(facts["checkpoint"]) != epath.Path(workdir).absolute():
            command += f" --checkpoint={shlex.quote(facts['checkpoint'])}"
        if settings["out"]:
            command += f" --config.annotate.out={shlex.quote(settings['out'])}"
        review_page.write_review(
            out, parts.pictures(), review, root, settings["review"], _fingerprint(out), command
        )
        logger.info("To look at the boxes and mend them: %s", out / review_page.FILE)
    elif settings["review"]:
        logger.info("%s %s", review_page.FILE, page.HOW_TO_HAVE_IT)
    return skipped


def _plan(
    config: ml_collections.ConfigDict,
    path: epath.Path,
    pictures: Labelled,
    threshold: float | None,
) -> dict[str, Any]:
    """Returns what the parts depend on."""
    digest = hashlib.sha256()
    for i, entry in enumerate(zip(pictures.ids, pictures.labels, pictures.splits, strict=True)):
        entry += _state(pictures.path(i))  # another picture may have come in its place
        digest.update("\0".join(map(str, entry)).encode("utf-8", "surrogateescape") + b"\n")
    predict = {k: v for k, v in config.predict.to_dict().items() if k not in _FREE}
    return {
        "checkpoint": checkpoints.fingerprint(path),
        "method": config.method,
        "images": os.path.abspath(pictures.root),
        "pictures": digest.hexdigest(),
        "background_classes": config.data.background_classes,
        "reader": config.reader.to_dict(),
        "ccam": config.ccam.to_dict(),
        "map_size": config.eval.map_size,
        "predict": predict | {"threshold": OWN if threshold is None else threshold},
    }


def _state(path: str) -> tuple[int, int]:
    """Returns size and time of a file; zeros if it is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


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
