"""Writes boxes as a CSV file, and regions as PNG masks."""

import csv
import io
import os
from collections.abc import Iterator

import numpy as np
from PIL import Image

from ega_jax.data.convert.regions import run_lengths
from ega_jax.data.export.annotated import Annotated, Every
from ega_jax.runtime import files

_COLUMNS = (
    *("image", "split", "class", "score", "confidence", "x0", "y0", "x1", "y1"),
    *("width", "height", "threshold"),
)


def write_csv(out: str | os.PathLike, every: Every) -> list[str]:
    """Writes `boxes.csv`, a line for each box; one without a box for a picture without an object.

    x0, y0, x1, y1 are the first and last pixels; score and confidence in [0, 1].

    Args:
      out: folder that receives the file.
      every: the pictures.

    Returns:
      The name of the file.
    """

    def chunks() -> Iterator[str]:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for picture in every():
            start = picture.image_id, picture.split, picture.name, f"{picture.score:.6f}"
            end = *picture.size, f"{picture.threshold:.6g}"
            for found in picture.objects:
                writer.writerow((*start, f"{found.confidence:.6f}", *found.box, *end))
            if not picture.objects:
                writer.writerow((*start, *[""] * 5, *end))
            yield text.getvalue()
            text.seek(0)
            text.truncate()

    files.write_chunks(os.path.join(out, "boxes.csv"), chunks())
    return ["boxes.csv"]


def write_png(out: str | os.PathLike, every: Every) -> list[str]:
    """Writes `masks/<image id>.png`: 0 where nothing is, i on the i-th object, from 1.

    Args:
      out: folder that receives the files.
      every: the pictures.

    Returns:
      The name of the folder.
    """
    for picture in every():
        buffer = io.BytesIO()
        Image.fromarray(_mask(picture)).save(buffer, format="PNG")
        files.write_bytes(os.path.join(out, "masks", f"{picture.image_id}.png"), buffer.getvalue())
    return ["masks"]


def _mask(picture: Annotated) -> np.ndarray:
    width, height = picture.size
    mask = np.zeros((height, width), np.uint8)
    for number, found in enumerate(picture.objects[:255], start=1):
        mask[run_lengths(found.counts, picture.size)] = number
    return mask
