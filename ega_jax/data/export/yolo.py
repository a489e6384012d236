"""Writes YOLO's labels, a text file for each picture, and `data.yaml`; see `convert/yolo.py`."""

import os
from collections.abc import Sequence

import yaml

from ega_jax.data.export.annotated import Annotated, Every
from ega_jax.runtime import files


def write_yolo(
    out: str | os.PathLike, every: Every, splits: Sequence[str], names: Sequence[str]
) -> list[str]:
    """Writes `labels/*.txt`, a list `<split>.txt` of pictures, and then `data.yaml`.

    A picture without a split is of `train`. Where there is no `val`, which trainers ask for, it is
    `train`.

    Args:
      out: folder that receives the files; pictures belong into its `images`.
      every: the pictures.
      splits: those that there are, `train` for none.
      names: of the classes, which are counted from 0.

    Returns:
      The names of the lists and of `data.yaml`.
    """
    number_of = {name: number for number, name in enumerate(names)}
    for picture in every():
        stem = os.path.splitext(picture.image_id)[0]
        text = "".join(_lines(picture, number_of.get(picture.name)))
        files.write_text(os.path.join(out, "labels", f"{stem}.txt"), text)
    lists = {split: f"{split}.txt" for split in splits}
    for split, name in lists.items():
        ids = (one.image_id for one in every() if (one.split or "train") == split)
        files.write_chunks(os.path.join(out, name), (f"./images/{one}\n" for one in ids))
    # No `path`: the lists lie beside data.yaml, wherever that is.
    first = next(iter(lists.values()))
    content = {"train": first, "val": first} | lists | {"names": dict(enumerate(names))}
    files.write_text(
        os.path.join(out, "data.yaml"), yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    )
    return [*lists.values(), "data.yaml"]


def _lines(picture: Annotated, number: int | None) -> list[str]:
    lines = []
    for found in picture.objects:
        x0, y0, x1, y1 = found.box
        sides = x1 - x0 + 1, y1 - y0 + 1
        middle = x0 + sides[0] / 2, y0 + sides[1] / 2
        pixels = zip((*middle, *sides), picture.size * 2, strict=True)
        lines.append(f"{number} {' '.join(f'{at / side:.8f}' for at, side in pixels)}\n")
    return lines
