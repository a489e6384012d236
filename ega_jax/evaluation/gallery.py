"""Some images of a split, kept small while they are scored, to be looked at in the report.

They are kept in `report.npz` of the workdir, a few KB for each, with the counts of the split. Its
arrays, of n images:

| name | |
| --- | --- |
| `split` | `test` or `val` |
| `thresholds` | `[T]` float64 |
| `class_names` | `[C]`, in the order of the labels |
| `counts/<part>/<name>` | `Scores.to_arrays` without the records |
| `image_ids`, `labels` | `[n]` |
| `predictions`, `probabilities` | `[n]`, absent without a classifier |
| `has_object` | `[n]` bool, false for an image of a class without an object |
| `sizes` | `[n, 2]` width and height of the original image |
| `map_size` | side S of the score maps, in whose pixels boxes are |
| `highest`, `largest` | `[n]` and `[n, K, 4]`, see `localization.BoxOutcomes` |
| `truths`, `truths/ends` | `[B, 4]` true boxes of all images, and where those of each end |
| `thumbnails`, `thumbnails/ends` | JPEG files, one after the other, uint8 |
| `maps`, `maps/ends` | the 8-bit levels of the maps, see `pack_levels` |
| `masks`, `masks/ends` | true masks alike, of 0 and 1; absent without |
"""

import io
import os
import zlib
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from etils import epath
from PIL import Image

from ega_jax import localization
from ega_jax.data.source import Source
from ega_jax.evaluation.score_files import DAMAGED
from ega_jax.evaluation.scores import Scores
from ega_jax.runtime import distributed, files
from ega_jax.runtime.errors import ConfigError

FILE = "report.npz"
THUMBNAIL = 192  # pixels of the longer side, at most
WIDEST = 256  # pixels of a map's side that is kept as it is

_RAGGED = ("thumbnails", "maps", "masks")


class Gallery:
    """Images of a split, evenly spread over it, that are kept while it is scored."""

    def __init__(self, split: str, source: Source, number: int, thresholds: np.ndarray):
        """Chooses images.

        Args:
          split: its name.
          source: the split.
          number: of images, at most.
          thresholds: `[T]`, at which they have boxes.
        """
        self.split, self.source, self.thresholds = split, source, thresholds
        number = min(number, len(source))
        self.indices = np.linspace(0, len(source) - 1, number).round().astype(int)
        self._chosen = frozenset(self.indices.tolist())
        self._kept: dict[int, dict[str, np.ndarray]] = {}

    def __contains__(self, index: int) -> bool:
        """Says whether an image is wanted."""
        return index in self._chosen

    def add(self, index: int, image: np.ndarray, score_map: np.ndarray) -> None:
        """Keeps an image.

        Args:
          index: in the split.
          image: `[H, W, 3]` uint8, as the network saw it.
          score_map: `[S, S]` float64 in [0, 1].
        """
        source, side = self.source, len(score_map)
        kept: dict[str, Any] = {
            "thumbnails": thumbnail(image, self._size(index, image)),
            "maps": pack_levels(localization.quantize(score_map)),
            "map_size": np.int32(side),
            "sizes": np.array(self._size(index, image), np.int32),
        }
        if source.load_mask is not None and source.has_object(index):
            kept["masks"] = pack_levels(source.load_mask(index, side)[0].astype(np.uint8))
        if source.boxes is None:  # otherwise its boxes are in the records
            levels = localization.quantize(score_map.max())
            found = localization.boxes_at_thresholds(score_map, self.thresholds)
            largest = np.zeros((min(len(self.thresholds), 256), 4), np.int32)
            largest[: len(found.largest)] = found.largest
            kept |= {"highest": np.array(levels, np.uint8), "largest": largest}
        self._kept[index] = kept

    def to_arrays(self, scores: Scores) -> dict[str, np.ndarray]:
        """Puts together what `report.npz` holds; to be called by all processes.

        Args:
          scores: of the whole split, of all processes.
        """
        kept = self._gathered()
        rows = scores.records.to_arrays()
        row_of = {int(index): row for row, index in enumerate(rows["index"])}
        indices = [index for index in sorted(kept) if index in row_of]
        chosen = [row_of[index] for index in indices]
        source = self.source
        arrays: dict[str, Any] = {
            "split": np.array(self.split),
            "thresholds": self.thresholds,
            "class_names": np.array(source.class_names, str),
            "image_ids": np.array([source.image_ids[index] for index in indices], str),
            "labels": source.labels[indices] if indices else np.zeros(0, np.int32),
            "has_object": np.array([source.has_object(index) for index in indices], bool),
        }
        for part, values in scores.to_arrays().items():
            if not part.startswith("records"):
                arrays[f"counts/{part}"] = values
        for name, column in (("predictions", "prediction"), ("probabilities", "probability")):
            if column in rows:
                arrays[name] = rows[column][chosen]
        if not indices:
            return arrays
        for name in ("sizes", "map_size", "highest", "largest"):
            if name in kept[indices[0]]:
                arrays[name] = np.stack([kept[index][name] for index in indices])
            elif name in rows:  # what was scored
                arrays[name] = rows[name][chosen]
        arrays["map_size"] = arrays["map_size"][0]
        if scores.boxes is not None:
            truths = [self._truths(index, int(arrays["map_size"])) for index in indices]
            arrays |= _ragged("truths", truths)
        for name in _RAGGED:
            if any(name in kept[index] for index in indices):
                none = np.zeros(0, np.uint8)
                arrays |= _ragged(name, [kept[index].get(name, none) for index in indices])
        return arrays

    def _gathered(self) -> dict[int, dict[str, np.ndarray]]:
        """Adds what other processes kept."""
        mine = {f"{i}/{name}": v for i, kept in self._kept.items() for name, v in kept.items()}
        every: dict[int, dict[str, np.ndarray]] = {}
        for part in distributed.gather(mine):
            for key, value in part.items():
                index, _, name = key.partition("/")
                every.setdefault(int(index), {})[name] = value
        return every

    def _size(self, index: int, image: np.ndarray) -> tuple[int, int]:
        """Returns width and height of the original image, or of what the network saw."""
        if self.source.image_sizes is None:
            return image.shape[1], image.shape[0]
        width, height = self.source.image_sizes[index].tolist()
        return width, height

    def _truths(self, index: int, side: int) -> np.ndarray:
        source = self.source
        if not source.has_object(index):
            return np.zeros((0, 4), np.int64)
        return localization.scale_boxes(source.boxes[index], source.image_sizes[index], side)


def of_sources(
    sources: Mapping[str, Source], number: int, thresholds: np.ndarray
) -> Gallery | None:
    """Returns a gallery of the test split, or else of the validation split; None without both."""
    for split in ("test", "val"):
        if split in sources:
            return Gallery(split, sources[split], number, thresholds)
    return None


def thumbnail(image: np.ndarray, size: tuple[int, int], longest: int = THUMBNAIL) -> np.ndarray:
    """Makes a small JPEG of an image, in the proportions of the original.

    Args:
      image: `[H, W, 3]` uint8, of any proportions.
      size: width and height of the original.
      longest: of its sides in pixels, if the image has so many.

    Returns:
      The bytes of the file, uint8.
    """
    longest = min(longest, max(image.shape[:2]))
    factor = longest / max(size)
    small = max(1, round(size[0] * factor)), max(1, round(size[1] * factor))
    buffer = io.BytesIO()
    resized = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    Image.fromarray(resized).save(buffer, format="JPEG", quality=80)
    return np.frombuffer(buffer.getvalue(), np.uint8)


def pack_levels(levels: np.ndarray) -> np.ndarray:
    """Compresses an 8-bit map without loss; a map wider than `WIDEST` is shrunk before.

    Each value is replaced by its difference from what its neighbours to the left, above and above
    left predict, which is next to nothing in a smooth map; zlib does the rest.

    Args:
      levels: `[S, S]` uint8.

    Returns:
      The compressed bytes, uint8.
    """
    if len(levels) > WIDEST:
        levels = cv2.resize(levels, (WIDEST, WIDEST), interpolation=cv2.INTER_AREA)
    rows = np.diff(levels, axis=1, prepend=np.uint8(0))
    both = np.diff(rows, axis=0, prepend=np.uint8(0))
    # Runs are all that repeats here: looking for more takes a hundred times as long, for 5 %.
    packer = zlib.compressobj(strategy=zlib.Z_RLE)
    return np.frombuffer(packer.compress(both.tobytes()) + packer.flush(), np.uint8)


def unpack_levels(packed: bytes) -> np.ndarray:
    """Undoes `pack_levels`: `[S, S]` uint8."""
    both = np.frombuffer(zlib.decompress(packed), np.uint8)
    side = int(np.sqrt(both.size))
    return both.reshape(side, side).cumsum(0, np.uint8).cumsum(1, np.uint8)


def _ragged(name: str, parts: list[np.ndarray]) -> dict[str, np.ndarray]:
    ends = np.cumsum([len(part) for part in parts])
    return {name: np.concatenate(parts), f"{name}/ends": ends}


def split_ragged(arrays: Mapping[str, np.ndarray], name: str) -> list[np.ndarray]:
    """Returns the parts of one of the arrays that hold those of all images."""
    return np.split(arrays[name], arrays[f"{name}/ends"][:-1])


def save(workdir: str | os.PathLike, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes `report.npz`, whole or not at all."""
    buffer = io.BytesIO()
    named: dict[str, Any] = dict(arrays)
    np.savez_compressed(buffer, **named)
    files.write_bytes(epath.Path(workdir) / FILE, buffer.getvalue())


def load(workdir: str | os.PathLike) -> dict[str, np.ndarray] | None:
    """Reads `report.npz`; None if there is none.

    Raises:
      ConfigError: it is damaged.
    """
    path = epath.Path(workdir) / FILE
    if not path.exists():
        return None
    try:
        with np.load(io.BytesIO(path.read_bytes())) as arrays:
            return dict(arrays)
    except DAMAGED as error:
        raise ConfigError(
            f"{path} is damaged ({error}); --mode=eval writes it once more"
        ) from error
