"""Writes COCO's instance files, one for each split; see `convert/coco.py` for the format."""

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

from ega_jax.data.convert.regions import run_lengths
from ega_jax.data.export.annotated import Every, Found
from ega_jax.data.export.regions import polygons_of
from ega_jax.runtime import files


def write_coco(
    out: str | os.PathLike, every: Every, splits: Sequence[str], names: Sequence[str], regions: str
) -> list[str]:
    """Writes `instances_<split>.json`, or `instances.json` where there are no splits.

    An annotation has `bbox`, `area`, the confidence as `score`, and `segmentation`. All pictures
    are listed, also those without an object.

    Args:
      out: folder that receives the files.
      every: the pictures.
      splits: those that there are.
      names: of the categories, which are counted from 1.
      regions: `polygons`, `rle` or `none`.

    Returns:
      The names of the files.
    """
    written = []
    for split in splits:
        name = f"instances_{split}.json" if split else "instances.json"
        files.write_chunks(os.path.join(out, name), _chunks(every, split, names, regions))
        written.append(name)
    return written


def _chunks(every: Every, split: str, names: Sequence[str], regions: str) -> Iterator[str]:
    number_of = {name: number for number, name in enumerate(names, start=1)}
    categories = [{"id": number, "name": name} for name, number in number_of.items()]
    yield f'{{"info": {{"description": "found by ega_jax"}}, "categories": {json.dumps(categories)}'
    yield ', "images": ['
    separator = "\n"
    pictures = [0, 0]
    for picture in every():
        if picture.split == split:
            pictures[0] += 1
            width, height = picture.size
            entry = {"id": pictures[0], "file_name": picture.image_id}
            yield separator + json.dumps(entry | {"width": width, "height": height})
            separator = ",\n"
    yield '\n], "annotations": ['
    separator, number = "\n", 0
    for picture in every():
        if picture.split != split:
            continue
        pictures[1] += 1
        for found in picture.objects:
            number += 1
            ids = {"id": number, "image_id": pictures[1], "category_id": number_of[picture.name]}
            yield separator + json.dumps(ids | _annotation(found, picture.size, regions))
            separator = ",\n"
    yield "\n]}\n"


def _annotation(found: Found, size: tuple[int, int], regions: str) -> dict[str, Any]:
    x0, y0, x1, y1 = found.box
    width, height = x1 - x0 + 1, y1 - y0 + 1
    entry: dict[str, Any] = {"bbox": [x0, y0, width, height], "area": width * height, "iscrowd": 0}
    entry["score"] = round(found.confidence, 4)
    if regions == "none":
        return entry
    mask = run_lengths(found.counts, size)
    entry["area"] = int(mask.sum())
    if regions == "rle":
        entry["segmentation"] = {"size": [size[1], size[0]], "counts": found.counts}
    else:
        entry["segmentation"] = polygons_of(mask)
    return entry
