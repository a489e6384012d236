"""Writes annotations as the metadata of a split, once every picture was looked at.

    python -m ega_jax.data.convert coco --annotations=instances.json --images=DIR --out=META
    python -m ega_jax.main --config=configs/folder.py --config.data.root=DIR \
        --config.data.metadata=META

An image has one class here, which all its boxes are of. Where objects of several classes are in a
picture, the one that takes most of it may stand for it (`largest`), or it is left out (`skip`).
Regions become masks beside the boxes; crowds are to be ignored.
"""

import dataclasses
import io
import os
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from PIL import Image

from ega_jax.data.convert.annotations import Annotations, Object, Picture, Size, pixel_box
from ega_jax.data.files.classes import CLASSES_FILE, read_class_names
from ega_jax.data.files.headers import Header, read_headers
from ega_jax.data.files.listing import list_folder, path_fault
from ega_jax.data.files.metadata import MASKS_FILE
from ega_jax.data.files.write_metadata import (
    check_replaceable,
    csv,
    metadata_texts,
    write_metadata,
)
from ega_jax.data.prepare.prepare import Report, Row
from ega_jax.data.source import DataError
from ega_jax.runtime import files

REFUSE, LARGEST, SKIP = SEVERAL = ("refuse", "largest", "skip")
MASKS = "masks"  # folder

_SHOWN = 3  # names in a message


@dataclasses.dataclass(frozen=True)
class _Labelled:
    """An image as the metadata will have it."""

    image_id: str
    size: Size
    name: str  # of its class
    boxes: list[tuple[int, int, int, int]]
    objects: list[Object]
    crowds: list[Object]


class _Conversion:
    """Goes through the pictures of a split and keeps what was found."""

    def __init__(self, prefix: str, several: str) -> None:
        self.prefix, self.several = prefix, several
        self.labelled: dict[str, _Labelled] = {}
        self.row = Row(found=0, expected=0, unreadable=0, wrong_size=0, missing=0)
        self.problems: dict[str, list[str]] = defaultdict(list)
        self.notes: dict[str, list[str]] = defaultdict(list)
        self.turned: Counter[bool] = Counter()

    def add(self, picture: Picture, header: Header | str) -> None:
        """Takes a picture, or notes why not."""
        self.row.expected += 1
        where = picture.where
        if isinstance(header, str):
            missing = not picture.file or header == "does not exist"
            self.row.missing += missing
            self.row.unreadable += not missing
            name = "missing pictures" if missing else "unreadable pictures"
            self.problems[name].append(f"{where}: {picture.file} {header}".replace(":  ", ": "))
            return
        size = self._size(picture, header)
        if size is None:
            return
        image_id = os.path.normpath(os.path.join(self.prefix, picture.file))
        if fault := path_fault(picture.file) or ("," in image_id and "has a comma in its name"):
            self.problems["names that cannot be used"].append(f"{where}: {fault}; rename it")
            return
        if image_id in self.labelled:
            self.problems["pictures that are annotated twice"].append(where)
            return
        try:
            labelled = self._labelled(image_id, size, picture)
        except DataError as error:
            self.problems["objects that cannot be used"].append(f"{where}: {error}")
            return
        self.row.found += 1
        if labelled is not None:
            self.labelled[image_id] = labelled

    def _size(self, picture: Picture, header: Header) -> Size | None:
        """Returns the size that the annotation is for; None if it is another picture's."""
        stored = header.width, header.height
        upright = stored[::-1] if header.orientation >= 5 else stored
        size = picture.size or upright
        if size not in (stored, upright):
            self.row.wrong_size += 1
            self.problems["pictures of another size"].append(
                "{}: {} x {}, but the picture is {} x {}".format(picture.where, *size, *upright)
            )
            return None
        if stored != upright:
            self.turned[size == upright] += 1
        return size

    def _labelled(self, image_id: str, size: Size, picture: Picture) -> _Labelled | None:
        boxes, crowds = defaultdict(list), []
        for one in picture.objects(size):
            box = pixel_box(one.box, size)
            if box is None:
                self.notes["objects without extent were left out"].append(picture.where)
            elif one.crowd:
                crowds.append(one)
            else:
                boxes[one.name].append((box, one))
        if not boxes:
            self.notes["pictures without an object were left out"].append(picture.where)
            return None
        name = max(boxes, key=lambda name: _area([box for box, _ in boxes[name]]))
        if len(boxes) > 1:
            self.notes["pictures have objects of several classes"].append(
                f"{picture.where}: {', '.join(boxes)}"
            )
            if self.several == SKIP:
                return None
        chosen = boxes[name]
        return _Labelled(
            image_id, size, name, [box for box, _ in chosen], [one for _, one in chosen], crowds
        )


def convert(
    annotations: Annotations,
    *,
    images: str,
    out: str,
    root: str | None = None,
    split: str = "train",
    several: str = REFUSE,
    check: bool = False,
) -> Report:
    """Checks annotations and pictures, and writes the metadata of a split if all is well.

    Args:
      annotations: what is said of the pictures.
      images: the folder that their paths are relative to.
      out: receives the folder `split`, `class_names.txt` if there is none yet, and `masks`. What
        class names it has already, are the classes.
      root: the folder that the ids are to be relative to, `config.data.root`; None: `images`.
      split: `train`, `val` or `test`.
      several: what to do about pictures with objects of several classes: `refuse`, `largest` or
        `skip`.
      check: only look; nothing is written.

    Returns:
      What was found. Nothing was written if it has problems.

    Raises:
      DataError: a folder does not exist or does not lie in the other, or that of the split holds
        something else than metadata.
      OSError: `out` cannot be written to.
    """
    if not os.path.isdir(images):
        raise DataError(f"no folder {images!r}; set --images")
    prefix = os.path.relpath(images, root or images)
    if prefix.startswith(".."):
        raise DataError(f"{images} does not lie in {root}; correct --root")
    check_replaceable(os.path.join(out, split))
    run = _Conversion(prefix, several)
    paths = [os.path.join(images, picture.file) for picture in annotations.pictures]
    for picture, header in zip(annotations.pictures, read_headers(paths), strict=True):
        run.add(picture, header if picture.file else "no picture of that name")
    names = _names(run, annotations.names, os.path.join(out, CLASSES_FILE))
    if several == REFUSE and (mixed := run.notes.get("pictures have objects of several classes")):
        run.problems["pictures with objects of several classes"] = mixed
    if len(run.turned) == 2:
        run.problems["turned pictures"].append(
            "some sizes are those of the stored, some those of the upright pictures"
        )
    if not run.labelled and not run.problems:
        run.problems["no picture with an object"].append(images)
    masked = _masked(run)
    report = _report(run, images, annotations, split)
    if not report.problems and not check:
        _write(list(run.labelled.values()), names, masked, out, split)
    return report


def _names(run: _Conversion, declared: Sequence[str], path: str) -> tuple[str, ...]:
    """Settles the classes: those that there are already, else those with a picture."""
    used = {one.name for one in run.labelled.values()}
    if os.path.exists(path):
        names = read_class_names(path)
        for name in sorted(used - set(names)):
            run.problems["classes that cannot be used"].append(
                f"{name} is not in {path}; convert the split with all classes first, or add it at "
                "the end"
            )
        return names
    names = tuple(name for name in declared if name in used)
    if unused := [name for name in declared if name not in used]:
        run.notes["classes without a picture were left out"] = unused
    return names


def _masked(run: _Conversion) -> bool:
    """Says whether all objects have a region, so that there can be masks."""
    objects = [one for labelled in run.labelled.values() for one in labelled.objects]
    bare = sum(one.region is None for one in objects)
    if 0 < bare < len(objects):
        run.notes[f"of {len(objects)} objects have a box only, so no masks are written"] = [
            ""
        ] * bare
    return bare == 0 and bool(objects)


def _report(run: _Conversion, images: str, annotations: Annotations, split: str) -> Report:
    known = {os.path.normpath(picture.file) for picture in annotations.pictures}
    if extra := [file for file in list_folder(images).pictures if file not in known]:
        run.notes[f"pictures in {images} are not annotated"] = extra
    if run.turned[False]:
        run.notes[
            "sizes are those of pictures before they are turned upright; train with "
            "--config.data.apply_exif=false"
        ] = [""] * run.turned[False]
    remedies = {
        "pictures with objects of several classes": "let the largest class stand for the picture "
        "by --several=largest, or leave these out by --several=skip",
    }
    problems = {}
    for name, items in run.problems.items():
        remedy = f". Remedy: {remedies[name]}" if name in remedies else ""
        problems[name] = f"{split}: {len(items)} {name}{_some(items)}{remedy}"
    notes = [f"{len(items)} {name}{_some(items)}" for name, items in run.notes.items()]
    return Report({split: run.row}, problems, notes)


def _write(
    labelled: Sequence[_Labelled], names: Sequence[str], masked: bool, out: str, split: str
) -> None:
    labels = {one.image_id: names.index(one.name) for one in labelled}
    sizes = {one.image_id: one.size for one in labelled}
    texts = metadata_texts(labels, sizes, {one.image_id: one.boxes for one in labelled})
    if masked:
        rows = [(one.image_id, *_write_masks(one, out, split)) for one in labelled]
        texts[MASKS_FILE] = csv(rows)
    if not os.path.exists(path := os.path.join(out, CLASSES_FILE)):
        files.write_text(path, "\n".join(names) + "\n")
    write_metadata(os.path.join(out, split), texts, len(names))


def _write_masks(one: _Labelled, out: str, split: str) -> tuple[str, str]:
    """Writes the mask of an image, and what is to be ignored in it; returns their paths."""
    names = []
    for objects, end in ((one.objects, ".png"), (one.crowds, ".ignore.png")):
        regions = [each.region(one.size) for each in objects if each.region is not None]
        if not regions:
            names.append("")
            continue
        buffer = io.BytesIO()
        Image.fromarray(np.any(regions, axis=0)).save(buffer, "PNG")
        names.append(f"{split}/{one.image_id}{end}")
        files.write_bytes(os.path.join(out, MASKS, names[-1]), buffer.getvalue())
    mask, ignored = names
    return mask, ignored


def _area(boxes: Sequence[tuple[int, int, int, int]]) -> int:
    return sum((x1 - x0 + 1) * (y1 - y0 + 1) for x0, y0, x1, y1 in boxes)


def _some(items: Sequence[str]) -> str:
    few = [item for item in items[:_SHOWN] if item]
    return f" ({', '.join(few)}{', ...' if len(items) > _SHOWN else ''})" if few else ""
