"""Writes `review.html`: boxes that were found, the least sure first, to be accepted or mended."""

import base64
import heapq
import logging
import os
from collections.abc import Iterable
from typing import Any

from ega_jax.data.export.annotated import Annotated
from ega_jax.data.export.reviewed import Review
from ega_jax.data.files.pictures import read_picture
from ega_jax.data.source import DataError
from ega_jax.evaluation import gallery
from ega_jax.report.page import write_page

logger = logging.getLogger(__name__)

FILE = "review.html"
LONGEST = 512  # pixels of a picture's longer side in the page


def write_review(
    out: str | os.PathLike,
    pictures: Iterable[Annotated],
    review: Review,
    root: str | os.PathLike,
    number: int,
    of: str,
    command: str,
) -> None:
    """Writes the page, of the pictures with the least sure boxes of which nothing was said yet.

    Args:
      out: folder that receives it.
      pictures: all, with all that was found in them.
      review: what was said already.
      root: the folder that the pictures' ids start from.
      number: of pictures, at most.
      of: what tells these annotations from others, see `Review.read`.
      command: that merges what the page saves.

    Raises:
      ConfigError: Jinja2 is missing.
    """
    still_open = (one for one in pictures if review.open(one))
    worst = heapq.nsmallest(number, still_open, key=lambda one: _least(one, review))
    shown = [entry for one in worst if (entry := _entry(one, review, root)) is not None]
    data = {"of": of, "pictures": shown}
    values = {"title": "Boxes to review", "data": data, "command": command}
    write_page(os.path.join(out, FILE), "review", values, ["review.js"])


def _least(picture: Annotated, review: Review) -> float:
    return min(found.confidence for _, found in review.open(picture))


def _entry(picture: Annotated, review: Review, root: str | os.PathLike) -> dict[str, Any] | None:
    """Returns what the script knows of a picture; None if it cannot be read any more."""
    try:
        pixels = read_picture(os.path.join(root, picture.image_id))
    except DataError as error:
        logger.warning("not in %s: %s", FILE, error)
        return None
    small = gallery.thumbnail(pixels, picture.size, LONGEST)
    return {
        "id": picture.image_id,
        "name": picture.name,
        "size": picture.size,
        "thumbnail": base64.b64encode(small.tobytes()).decode(),
        "objects": [
            {"number": number, "box": found.box, "confidence": round(found.confidence, 4)}
            for number, found in review.open(picture)
        ],
    }
