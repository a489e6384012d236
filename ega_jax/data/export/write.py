"""Writes what was found in the formats asked for, each in its own folder or file."""

import os
import shutil
from collections.abc import Collection, Sequence

from ega_jax.data.export.annotated import Every
from ega_jax.data.export.coco import write_coco
from ega_jax.data.export.tables import write_csv, write_png
from ega_jax.data.export.voc import write_voc
from ega_jax.data.export.yolo import write_yolo
from ega_jax.data.source import SPLITS, DataError

# Those with a text file for each picture, called as it is without its end.
BY_STEM = ("voc", "yolo")
_OWN = (*BY_STEM, "png")  # with a file for each picture


def write(
    out: str | os.PathLike,
    every: Every,
    formats: Sequence[str],
    *,
    root: str | os.PathLike,
    names: Sequence[str],
    regions: str = "polygons",
    images: str = "link",
    left_out: Sequence[str] = (),
    splits: Collection[str] | None = None,
) -> dict[str, list[str]]:
    """Writes all formats; a second call writes the same once more.

    COCO's files, `boxes.csv` and `masks` lie in `out` itself, those of VOC and YOLO in its folders
    `voc` and `yolo`, with the pictures.

    Args:
      out: folder that receives them.
      every: the pictures.
      formats: of `FORMATS`.
      root: the folder that the pictures' ids start from.
      names: of the classes that have objects, in the order of their labels.
      regions: in COCO's files, see `coco.write_coco`.
      images: how pictures come into the folders of VOC and YOLO: `link`, `copy` or `none`.
      left_out: ids of pictures that are not among them any more: files of their own are removed.
      splits: those that there were, also if none of their pictures is left; None: those of the
        pictures.

    Returns:
      By format, what was written, relative to `out`.
    """
    there = {picture.split for picture in every()} if splits is None else splits
    splits = [split for split in (*SPLITS, "") if split in there]
    lists = [one for one in SPLITS if one in {split or "train" for split in splits or [""]}]
    written: dict[str, list[str]] = {}
    for one in formats:
        place = os.path.join(out, one)
        for image_id in left_out:
            _remove(os.fspath(out), one, image_id, images)
        if one == "coco":
            written[one] = write_coco(out, every, splits, names, regions)
        elif one == "csv":
            written[one] = write_csv(out, every)
        elif one == "png":
            written[one] = write_png(out, every)
        elif one == "voc":
            _place(os.path.join(place, "JPEGImages"), every, root, images)
            written[one] = [f"voc/{name}" for name in write_voc(place, every, lists)]
        else:
            _place(os.path.join(place, "images"), every, root, images)
            written[one] = [f"yolo/{name}" for name in write_yolo(place, every, lists, names)]
    return written


def check_stems(ids: Sequence[str], formats: Sequence[str]) -> None:
    """Looks whether text files beside the pictures would have names of their own and be found.

    Raises:
      DataError: two pictures are called the same but for the end, or one lies where trainers would
        look for its labels elsewhere; names them.
    """
    # They put `labels` for the last `images` of a path, and take a picture without labels for one
    # without objects.
    hidden = [one for one in ids if "/images/" in f"/{one}"] if "yolo" in formats else []
    if hidden:
        raise DataError(
            f"{hidden[0]}: trainers on yolo files would not find the labels of a picture in a "
            "folder images; give the folder that contains it as --images, rename it, or leave yolo "
            "out of annotate.format"
        )
    for one in BY_STEM:
        seen: dict[str, str] = {}
        for image_id in ids if one in formats else ():
            other = seen.setdefault(os.path.splitext(image_id)[0], image_id)
            if other != image_id:
                raise DataError(
                    f"{other} and {image_id} would have the same {one} file; rename one, or leave "
                    f"{one} out of annotate.format"
                )


def _remove(out: str, form: str, image_id: str, images: str) -> None:
    """Removes what a format has for a picture alone, if it is there and was written by us.

    Of pictures these are links, and files where pictures are copied. Nothing is, where somebody put
    a link to a folder of their own in place of one of ours.
    """
    stem = os.path.splitext(image_id)[0]
    texts = {"voc": f"voc/Annotations/{stem}.xml", "yolo": f"yolo/labels/{stem}.txt"}
    pictures = {"voc": f"voc/JPEGImages/{image_id}", "yolo": f"yolo/images/{image_id}"}
    own = [os.path.join(out, texts.get(form, f"masks/{image_id}.png"))] if form in _OWN else []
    if form in pictures:
        picture = os.path.join(out, pictures[form])
        own += [picture] if os.path.islink(picture) or images == "copy" else []
    for path in own:
        inside = os.path.realpath(os.path.dirname(path)).startswith(os.path.realpath(out) + os.sep)
        if os.path.lexists(path) and inside:
            os.remove(path)


def _place(folder: str, every: Every, root: str | os.PathLike, how: str) -> None:
    """Links or copies the pictures to their paths below a folder; a copy that is there stays."""
    if how == "none":
        return
    for picture in every():
        source = os.path.realpath(os.path.join(root, picture.image_id))
        target = os.path.join(folder, picture.image_id)
        linked = os.path.islink(target)
        if os.path.exists(target) and (not linked or how == "link"):
            continue
        os.makedirs(os.path.dirname(target), exist_ok=True)
        aside = f"{target}.tmp"
        if how == "link":
            if os.path.lexists(aside):
                os.remove(aside)
            os.symlink(source, aside)
        else:
            shutil.copyfile(source, aside)
        os.replace(aside, target)
