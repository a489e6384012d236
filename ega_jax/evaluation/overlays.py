"""Evaluated images as pictures: boxes as in the paper's Fig. 5, masks as in its Fig. 6."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from ega_jax import localization
from ega_jax.data.source import Source
from ega_jax.evaluation import drawing
from ega_jax.runtime import distributed


@dataclasses.dataclass
class Example:
    """One evaluated image, kept for a picture.

    Attributes:
      image: `[S, S, 3]` uint8, as the network saw it.
      score_map: `[M, M]` of the true class.
      probability: of the predicted class.
      prediction: the predicted class.
    """

    image: np.ndarray
    score_map: np.ndarray
    probability: float
    prediction: int


def gather(examples: Mapping[int, Example]) -> dict[int, Example]:
    """Adds the examples of all processes to those of this one."""
    fields = [field.name for field in dataclasses.fields(Example)]
    columns = {
        f"{index}/{name}": np.asarray(getattr(example, name))
        for index, example in examples.items()
        for name in fields
    }
    every: dict[str, Any] = {
        name: value if value.ndim else value.item()
        for part in distributed.gather(columns)
        for name, value in part.items()
    }
    indices = sorted({int(name.partition("/")[0]) for name in every})
    return {i: Example(**{name: every[f"{i}/{name}"] for name in fields}) for i in indices}


def pictures(
    source: Source, examples: Mapping[int, Example], threshold: float, mask_threshold: float
) -> dict[str, np.ndarray]:
    """Draws evaluated images as the paper's Fig. 5 (boxes) and, with masks, Fig. 6.

    Images of classes without an object are left out.

    Args:
      source: the split.
      examples: by index, from `Evaluator.score`.
      threshold: at which the box is cut out of the score map.
      mask_threshold: the score from which on a pixel is of the mask.

    Returns:
      `boxes` and `masks`, grids `[H, W, 3]` uint8, those that the split has ground truth for;
      `maps` if it has none.
    """
    tiles: dict[str, list[np.ndarray]] = {}
    for index, example in examples.items():
        if not source.has_object(index):
            continue
        shown = drawing.enlarge(example.image, 192)
        scale = len(shown) / len(example.image)
        size = len(example.image)
        hot = drawing.heat_map(shown, example.score_map)
        mark = "" if example.prediction == source.labels[index] else " (wrong)"
        name = source.class_names[example.prediction]
        text = f"{source.image_ids[index]}: {name} {example.probability:.2f}{mark}"
        if source.boxes is not None:
            truth = localization.scale_boxes(source.boxes[index], source.image_sizes[index], size)
            box = localization.largest_box(example.score_map, threshold, (size, size))
            both = drawing.draw_boxes(hot, truth, drawing.RED, scale)
            both = drawing.draw_boxes(both, box, drawing.BLUE, scale)
            plain = drawing.draw_boxes(shown, truth, drawing.RED, scale)
            tiles.setdefault("boxes", []).append(_pair(plain, both, text))
        if source.load_mask is not None:
            truth, _ = source.load_mask(index, size)
            found = example.score_map >= mask_threshold
            plain = drawing.draw_mask(shown, truth, drawing.BLUE)
            other = drawing.draw_mask(shown, found, drawing.RED)
            tiles.setdefault("masks", []).append(_pair(plain, other, text))
        if source.boxes is None and source.load_mask is None:
            tiles.setdefault("maps", []).append(_pair(shown, hot, text))
    return {name: drawing.grid(sheet) for name, sheet in tiles.items()}


def _pair(left: np.ndarray, right: np.ndarray, text: str) -> np.ndarray:
    return drawing.caption(np.concatenate([left, right], axis=1), text)
