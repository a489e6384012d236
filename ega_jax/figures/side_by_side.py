"""Fig. 5 and 6: what several runs make of the same test images.

They are drawn from what the evaluation of each run kept (`evaluation.gallery`), without the
networks and the data. Colours are the paper's: boxes, ground truth red and prediction blue; masks,
ground truth blue and prediction red.
"""

import dataclasses
import io
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from PIL import Image

from ega_jax import localization
from ega_jax.evaluation import drawing, gallery
from ega_jax.report.runs import Reported, images_in_common
from ega_jax.runtime.errors import ConfigError

BOXES, MASKS, MAPS = "boxes", "masks", "maps"

_WIDTH = 7.0  # inches of a page with two columns
_NAME = 0.25  # inches for the names of the runs
_TEXT = 0.17  # inches for the line below a picture
_LETTERS = 22  # of a class name in a line


@dataclasses.dataclass(frozen=True)
class Shown:
    """A test image.

    Attributes:
      class_name: of the object.
      picture: `[h, w, 3]` uint8.
      truths: `[B, 4]` true boxes, as shares of width and height from the upper left corner, the
        second corner outside; None: not known.
      mask: `[S, S]` bool, the true mask; None: not known.
    """

    class_name: str
    picture: np.ndarray
    truths: np.ndarray | None
    mask: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class Found:
    """What a run makes of an image, at its own thresholds.

    Attributes:
      levels: `[S, S]` uint8, its score map.
      mask_threshold: in [0, 1].
      box: `[4]`, see `Shown.truths`.
      iou: of the box and the true box that it fits best; None where none is known.
    """

    levels: np.ndarray
    mask_threshold: float
    box: np.ndarray
    iou: float | None


def figures(runs: Sequence[Reported], number: int) -> dict[str, Figure]:
    """Draws images in columns: the pictures with the truth, and a row for each run.

    Args:
      runs: that were evaluated on the same split and kept images.
      number: of images, at equal distances among those with an object that all runs kept.

    Returns:
      `boxes` and `masks`, those that the split has ground truth for; `maps` if it has none.

    Raises:
      ConfigError: the runs have no image of an object in common.
    """
    columns = _columns(runs, number)
    shown = _shown(runs[0], columns[0])
    rows = [_found(run, places) for run, places in zip(runs, columns, strict=True)]
    kinds = [
        kind
        for kind, known in ((BOXES, shown[0].truths), (MASKS, shown[0].mask))
        if known is not None
    ]
    names = [run.name for run in runs]
    return {kind: _figure(kind, shown, names, rows) for kind in kinds or [MAPS]}


def _columns(runs: Sequence[Reported], number: int) -> list[list[int]]:
    """Chooses images; returns where each run has them."""
    common = images_in_common(runs) or [[] for _ in runs]
    objects = [i for i, place in enumerate(common[0]) if runs[0].kept["has_object"][place]]
    if not objects:
        raise ConfigError(
            f"{' and '.join(run.name for run in runs)}: no image of an object was kept by all; "
            "--mode=eval keeps as many as config.report.images"
        )
    picked = np.linspace(0, len(objects) - 1, min(number, len(objects))).round().astype(int)
    return [[places[objects[i]] for i in picked] for places in common]


def _shown(run: Reported, places: Sequence[int]) -> list[Shown]:
    kept = run.kept
    side = int(kept["map_size"])
    names = kept["class_names"][kept["labels"]].tolist()
    files = gallery.split_ragged(kept, "thumbnails")
    truths = gallery.split_ragged(kept, "truths") if "truths" in kept else None
    masks = gallery.split_ragged(kept, "masks") if "masks" in kept else None
    return [
        Shown(
            names[place],
            np.asarray(Image.open(io.BytesIO(files[place].tobytes())).convert("RGB")),
            None if truths is None else _shares(truths[place], side),
            None if masks is None else gallery.unpack_levels(masks[place].tobytes()) > 0,
        )
        for place in places
    ]


def _found(run: Reported, places: Sequence[int]) -> list[Found]:
    kept = run.kept
    side = int(kept["map_size"])
    maps = gallery.split_ragged(kept, "maps")
    truths = gallery.split_ragged(kept, "truths") if "truths" in kept else None
    unused = np.zeros((len(kept["highest"]), 0), np.uint8)  # which of the boxes are correct
    outcomes = localization.BoxOutcomes(
        kept["thresholds"], kept["highest"], kept["largest"], unused
    )
    boxes = outcomes.largest_at(run.threshold)
    return [
        Found(
            gallery.unpack_levels(maps[place].tobytes()),
            run.mask_threshold,
            _shares(boxes[place], side),
            None
            if truths is None or not len(truths[place])
            else float(localization.box_ious(boxes[place][None], truths[place]).max()),
        )
        for place in places
    ]


def _shares(boxes: np.ndarray, side: int) -> np.ndarray:
    """Brings boxes with both corners inside from pixels of the map to shares of its sides."""
    return (boxes + np.array([0, 0, 1, 1])) / side


def _figure(
    kind: str, shown: Sequence[Shown], names: Sequence[str], rows: Sequence[Sequence[Found]]
) -> Figure:
    side = min((_WIDTH - _NAME) / len(shown), 1.6)
    size = _NAME + side * len(shown), (side + _TEXT) * (1 + len(rows))
    close = ConstrainedLayoutEngine(w_pad=0.01, h_pad=0.01, wspace=0, hspace=0)
    figure = Figure(figsize=size, layout=close)
    grid = figure.subplots(1 + len(rows), len(shown), squeeze=False)
    for axes, image in zip(grid[0], shown, strict=True):
        _truth(axes, kind, image)
        name = textwrap.fill(image.class_name.replace("_", " "), _LETTERS)
        axes.set_xlabel(name, fontsize=6, labelpad=1)
    for line, name, row in zip(grid[1:], names, rows, strict=True):
        for axes, image, found in zip(line, shown, row, strict=True):
            _prediction(axes, kind, image, found)
        line[0].set_ylabel(name, fontsize=7)
    return figure


def _truth(axes: Axes, kind: str, image: Shown) -> None:
    picture = image.picture
    if kind == MASKS and image.mask is not None:
        picture = drawing.draw_mask(picture, image.mask, drawing.BLUE)
    _place(axes, picture)
    if kind == BOXES and image.truths is not None:
        _outline(axes, image.truths, drawing.RED)


def _prediction(axes: Axes, kind: str, image: Shown, found: Found) -> None:
    if kind == MASKS:
        inside = found.levels >= int(found.mask_threshold * 255)
        _place(axes, drawing.draw_mask(image.picture, inside, drawing.RED))
        return
    _place(axes, drawing.heat_map(image.picture, found.levels / 255))
    if kind == BOXES:
        _outline(axes, image.truths, drawing.RED)
        _outline(axes, found.box, drawing.BLUE)
        if found.iou is not None:
            axes.set_xlabel(f"IoU {found.iou:.2f}", fontsize=6, labelpad=1)


def _place(axes: Axes, picture: np.ndarray) -> None:
    """Shows a picture in its proportions, on axes from 0 to 1."""
    height, width = picture.shape[:2]
    axes.imshow(picture, extent=(0, 1, 1, 0), aspect=height / width, interpolation="bicubic")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _outline(axes: Axes, boxes: np.ndarray, colour: tuple[int, int, int]) -> None:
    edge = tuple(part / 255 for part in colour)
    around = patheffects.withStroke(linewidth=1.6, foreground="white")  # blue lies on blue, too
    for x0, y0, x1, y1 in boxes.reshape(-1, 4):
        box = Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=edge, linewidth=1.0)
        box.set(clip_on=False, path_effects=[around])  # it may run along the edge of the picture
        axes.add_patch(box)
