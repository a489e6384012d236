"""What was found in a picture, as it is kept until all are done and then written."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self


@dataclasses.dataclass(frozen=True)
class Found:
    """An object.

    Attributes:
      box: x0, y0, x1, y1 in pixels of the picture, first and last ones.
      confidence: in [0, 1].
      counts: its pixels, as COCO's compressed run lengths (`regions.run_lengths_of`).
    """

    box: tuple[int, int, int, int]
    confidence: float
    counts: str


@dataclasses.dataclass(frozen=True)
class Annotated:
    """A picture and the objects of its class; none if there is none to be found.

    Attributes:
      image_id: its path below the folder of the pictures.
      split: `train`, `val`, `test`, or empty.
      name: of its class.
      size: width and height.
      score: the network's probability of the class, in [0, 1].
      threshold: at which the objects were cut out.
      objects: the largest first.
    """

    image_id: str
    split: str
    name: str
    size: tuple[int, int]
    score: float
    threshold: float
    objects: tuple[Found, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns what JSON can hold."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Restores what `to_json` gave."""
        objects = (Found(**one | {"box": tuple(one["box"])}) for one in values["objects"])
        return cls(**{**values, "size": tuple(values["size"]), "objects": tuple(objects)})


# Goes through all pictures, from the first one each time it is called.
Every = Callable[[], Iterator[Annotated]]
