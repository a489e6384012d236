"""What a person said of boxes: read from the file that the page saves, kept, and applied.

The page saves `{"review_of": ..., "decisions": [...]}`, with `image`, `object` (its number in the
picture, from 0), `verdict` (`accept`, `reject` or `move`) and of a moved one `box`. All that was
merged is kept in the same form in `review.json` beside the annotations; taking a decision out of it
undoes it.
"""

import collections
import dataclasses
import json
import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from etils import epath

from ega_jax.data.convert.regions import run_lengths
from ega_jax.data.export.annotated import Annotated, Found
from ega_jax.data.export.regions import run_lengths_of
from ega_jax.data.source import DataError
from ega_jax.runtime import files

ACCEPT, REJECT, MOVE = VERDICTS = ("accept", "reject", "move")
FILE = "review.json"


@dataclasses.dataclass(frozen=True)
class Decision:
    """What was said of a box.

    Attributes:
      verdict: `accept`, `reject` or `move`.
      box: where it was moved to, as `Found.box`; None otherwise.
    """

    verdict: str
    box: tuple[int, int, int, int] | None = None


class Review:
    """Decisions, by picture and number of the object."""

    def __init__(self, decisions: dict[tuple[str, int], Decision] | None = None):
        """Starts with some decisions or none."""
        self.decisions = decisions or {}

    @classmethod
    def read(cls, path: str | os.PathLike, of: str, pictures: Iterable[Annotated]) -> "Review":
        """Reads a file of the page.

        Args:
          path: the file.
          of: what it must be of, as the page was told.
          pictures: all, with all that was found in them.

        Raises:
          DataError: it cannot be read, is of other annotations, or a decision is of no object or
            its box outside the picture.
        """
        path = epath.Path(path)
        if not path.exists():
            raise DataError(f"no file {path}; give what the review page saved with --merge")
        try:
            values = json.loads(path.read_bytes())
            stated, decisions = values["review_of"], values["decisions"]
            review = cls({_key(one): _decision(one) for one in decisions})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path} is no review ({type(error).__name__}: {error}); give what the review page "
                "saved"
            ) from error
        if stated != of:
            raise DataError(f"{path} is the review of other annotations than these")
        review._check(path, pictures)
        return review

    def _check(self, path: epath.Path, pictures: Iterable[Annotated]) -> None:
        open_ = dict(self.decisions)
        by_picture = collections.defaultdict(list)
        for image_id, number in self.decisions:
            by_picture[image_id].append(number)
        for picture in pictures:
            for number in by_picture.get(picture.image_id, ()):
                if not 0 <= number < len(picture.objects):
                    continue
                box = open_.pop((picture.image_id, number)).box
                if box is not None and not _is_inside(box, picture.size):
                    raise DataError(
                        f"{path}: the box {list(box)} of {picture.image_id} is not in its "
                        f"{picture.size[0]} x {picture.size[1]} pixels"
                    )
        if open_:
            image_id, number = next(iter(open_))
            raise DataError(f"{path}: there is no object {number} in {image_id}")

    def merge(self, later: "Review") -> "Review":
        """Returns both; where both say something, what the later one says."""
        return Review(self.decisions | later.decisions)

    def save(self, path: str | os.PathLike, of: str) -> None:
        """Writes a file that `read` reads."""
        decisions = [
            {"image": image, "object": number, "verdict": one.verdict}
            | ({} if one.box is None else {"box": list(one.box)})
            for (image, number), one in self.decisions.items()
        ]
        files.write_json(path, {"review_of": of, "decisions": decisions})

    def counts(self) -> dict[str, int]:
        """Returns how many boxes were accepted, rejected and moved."""
        said = collections.Counter(one.verdict for one in self.decisions.values())
        return {verdict: said[verdict] for verdict in VERDICTS}

    def open(self, picture: Annotated) -> list[tuple[int, Found]]:
        """Returns the objects of a picture of which nothing was said, with their numbers."""
        return [
            (number, one)
            for number, one in enumerate(picture.objects)
            if (picture.image_id, number) not in self.decisions
        ]

    def applied(self, pictures: Iterable[Annotated], least: float = 0.0) -> Iterator[Annotated]:
        """Yields the pictures with the objects that are left.

        A picture whose objects were all rejected, or are too uncertain, is left out: that there is
        one is known, and without its box the picture would teach that there is none.

        Args:
          pictures: with all that was found in them.
          least: confidence below which objects are left out that nobody accepted or moved.
        """
        for picture in pictures:
            left, dropped = [], 0
            for number, one in enumerate(picture.objects):
                said = self.decisions.get((picture.image_id, number))
                if said is None and one.confidence < least:
                    dropped += 1
                elif said is not None and said.verdict == REJECT:
                    dropped += 1
                elif said is not None and said.box is not None:
                    left.append(_moved(one, said.box, picture.size))
                else:
                    left.append(one)
            if left or not dropped:
                yield dataclasses.replace(picture, objects=tuple(left))

    def left_out(self, pictures: Iterable[Annotated], least: float = 0.0) -> Iterator[str]:
        """Yields the ids of the pictures that `applied` leaves out."""
        for picture in pictures if self.decisions or least > 0 else ():
            if not any(True for _ in self.applied([picture], least)):
                yield picture.image_id


def _key(values: dict[str, Any]) -> tuple[str, int]:
    image, number = values["image"], values["object"]
    if not isinstance(image, str) or type(number) is not int:
        raise TypeError(f"image {image!r}, object {number!r}")
    return image, number


def _decision(values: dict[str, Any]) -> Decision:
    verdict, box = values["verdict"], values.get("box")
    if verdict not in VERDICTS:
        raise ValueError(f"verdict {verdict!r}")
    if verdict != MOVE:
        return Decision(verdict)
    if len(box) != 4 or not all(type(value) is int for value in box):
        raise ValueError(f"box {box!r}")
    return Decision(verdict, tuple(box))


def _is_inside(box: tuple[int, int, int, int], size: tuple[int, int]) -> bool:
    x0, y0, x1, y1 = box
    return 0 <= x0 <= x1 < size[0] and 0 <= y0 <= y1 < size[1]


def _moved(found: Found, box: tuple[int, int, int, int], size: tuple[int, int]) -> Found:
    """Gives an object another box; its region is what of it is inside, or the box itself."""
    inside = np.zeros((size[1], size[0]), bool)
    x0, y0, x1, y1 = box
    inside[y0 : y1 + 1, x0 : x1 + 1] = True
    region = inside & run_lengths(found.counts, size)
    counts = run_lengths_of(region if region.any() else inside)
    return Found(box, found.confidence, counts)
