"""Scores maps that know the object, and maps that do not, with every metric: docs/evaluation.md.

    python -m benchmarks.known_maps
    python -m benchmarks.known_maps --picture=docs/inverted.png

The truth is that of the first test images of `creatures`: their boxes for the metrics of boxes,
their masks for the others.
"""

import argparse
import functools
from collections.abc import Callable

import cv2
import numpy as np

from ega_jax import localization
from ega_jax.data.creatures.source import creatures
from ega_jax.data.source import Source
from ega_jax.evaluation import drawing
from ega_jax.evaluation.centre import centre_gaussian
from ega_jax.evaluation.scores import Scores

IMAGES, SIZE, CELLS = 100, 64, 8  # maps as the quickstart's
SHOWN = 32  # the image of the picture

Maps = Callable[[int, np.ndarray], np.ndarray]  # number and mask of an image to its score map


def _cells(index: int, mask: np.ndarray) -> np.ndarray:
    """Averages the mask onto the cells of a class map, and enlarges them as one."""
    del index
    cells = cv2.resize(mask.astype(float), (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    return localization.score_map(cells, SIZE)


def _noise(index: int, mask: np.ndarray) -> np.ndarray:
    """Draws every cell of a class map by itself."""
    del mask
    return localization.score_map(np.random.default_rng(index).random((CELLS, CELLS)), SIZE)


MAPS: dict[str, Maps] = {
    "the mask": lambda index, mask: mask.astype(float),
    "the mask on 8×8 cells": _cells,
    "1 − the mask": lambda index, mask: 1 - mask.astype(float),
    "1 − the mask on 8×8 cells": lambda index, mask: 1 - _cells(index, mask),
    "1 everywhere": lambda index, mask: np.ones(mask.shape),
    "a Gaussian in the middle": lambda index, mask: centre_gaussian(SIZE),
    "noise on 8×8 cells": _noise,
}
COLUMNS = (
    "MaxBoxAcc, IoU .5",
    "MaxBoxAccV2",
    "PxAP",
    "pointing game",
    "pointing game, 0 px",
    "energy",
    "brighter outside",
    "what `best` goes by",
)


@functools.cache
def split() -> Source:
    """Draws the images."""
    return creatures("test", num_images=IMAGES)


def figures(maps: Maps) -> list[float]:
    """Scores one kind of map; returns the figures of `COLUMNS`, in percent."""
    source = split()
    scores = Scores.empty(source, localization.thresholds(0.001))
    for index in range(len(source)):
        mask, _ = source.load_mask(index, SIZE)
        scores.add(source, index, maps(index, mask))
    found = scores.figures(0.2)
    oracle, pointing = found["oracle"], found["in_masks"]
    boxes = [oracle["max_box_acc"]["50"], oracle["max_box_acc_v2"]]
    return [*boxes, found["pxap"], *pointing.values(), scores.selection]


def table() -> list[str]:
    """Formats the figures of all maps as rows in Markdown, the header first."""
    lines = ["| map | " + " | ".join(COLUMNS) + " |", "| --- " * (len(COLUMNS) + 1) + "|"]
    for name, maps in MAPS.items():
        lines.append(f"| {name} | " + " | ".join(f"{value:.1f}" for value in figures(maps)) + " |")
    return lines


def picture() -> np.ndarray:
    """Draws one image with its box, and the maps of MAPS with the box that fits best.

    Returns:
      `[H, W, 3]` uint8.
    """
    source = split()
    mask, _ = source.load_mask(SHOWN, SIZE)
    truth = localization.scale_boxes(source.boxes[SHOWN], source.image_sizes[SHOWN], SIZE)
    image = cv2.resize(source.load_image(np.int64(SHOWN)).numpy(), (SIZE, SIZE))
    image = drawing.enlarge(image, 192)
    scale = len(image) / SIZE
    tiles = [drawing.caption(drawing.draw_boxes(image, truth, drawing.RED, scale), "true box")]
    for name in ("the mask on 8×8 cells", "1 − the mask on 8×8 cells", "1 everywhere"):
        score_map = MAPS[name](SHOWN, mask)
        boxes = localization.boxes_at_thresholds(score_map, localization.thresholds(0.001)).contours
        ious = localization.box_ious(boxes, truth).max(axis=1)
        tile = drawing.heat_map(image, score_map)
        tile = drawing.draw_boxes(tile, truth, drawing.RED, scale)
        tile = drawing.draw_boxes(tile, boxes[ious.argmax()], drawing.BLUE, scale)
        text = name.replace("×", "x").replace("−", "-")
        tiles.append(drawing.caption(tile, f"{text}: IoU {ious.max():.2f}"))
    return drawing.grid(tiles, len(tiles))


def main() -> None:
    """Prints the table, or writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--picture", help="a PNG file to write instead of the table")
    flags = parser.parse_args()
    if flags.picture:
        drawing.save_png(flags.picture, picture())
    else:
        print("\n".join(table()))


if __name__ == "__main__":
    main()
