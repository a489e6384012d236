"""Shows what is in a data set: a contact sheet, and figures that tell how hard it is.

    python -m ega_jax.main --mode=inspect --config=configs/quickstart.py

Two bounds belong to every localization figure: a map that knows the mask, at the network's
resolution, is what a method can reach; one box in the middle of all images is what it reaches
without looking.
"""

import dataclasses
import itertools
import logging
import os
from typing import Any

import cv2
import jax
import ml_collections
import numpy as np
from etils import epath

from ega_jax import localization
from ega_jax.config import build
from ega_jax.config.check import check
from ega_jax.data.source import Source, with_objects
from ega_jax.evaluation import centre, drawing
from ega_jax.runtime import files

logger = logging.getLogger(__name__)

TILE = 192  # pixels, longer side of a picture on the sheet
QUANTILES = (0, 5, 25, 50, 75, 95, 100)  # percent
FIXED = 0.2  # threshold


def inspect_all(config: ml_collections.ConfigDict, workdir: str) -> list[dict[str, Any]]:
    """Inspects every split that a config names, into the folder `data` of the workdir.

    Raises:
      ConfigError, DataError: the config or the data cannot be used.
    """
    check(config)
    results = []
    for source in build.sources(config).values():
        figures = inspect(
            source,
            grid=_map_side(config, source),
            map_size=config.eval.map_size or config.data.crop_size,
            output_dir=epath.Path(workdir) / "data",
        )
        logger.info("%s", table(figures))
        results.append(figures)
    return results


def _map_side(config: ml_collections.ConfigDict, source: Source) -> int:
    """Returns the side of the network's class maps, in cells."""
    size = config.data.crop_size
    model = build.model(config, source.num_classes)
    _, out = jax.eval_shape(
        lambda key, images: model.init_with_output(key, images, train=False)[0],
        jax.random.key(0),
        jax.ShapeDtypeStruct((1, size, size, 3), np.float32),
    )
    return out["cams"].shape[1]


def inspect(
    source: Source,
    *,
    grid: int,
    map_size: int,
    output_dir: str | os.PathLike,
    num_tiles: int = 50,
) -> dict[str, Any]:
    """Writes a contact sheet and a file of figures of one split.

    Args:
      source: the split.
      grid: side of the network's class maps, in cells.
      map_size: side of the score maps, in pixels.
      output_dir: gets `<name>.png` and `<name>.json`, `/` in the source's name becoming `_`.
      num_tiles: pictures on the sheet.

    Returns:
      The figures: those of `summarize`, and where boxes are known `box_area`, quantiles of the
      largest box's share of its image, `centred_box` and, with masks too, `mask_as_map`, without
      the images of classes without an object. All shares and accuracies in percent.
    """
    figures = summarize(source)
    located = with_objects(source)
    if located is not None and located.boxes is not None:
        figures["box_area"] = box_area_quantiles(located)
        figures["centred_box"] = best_centred_box(located, map_size)
        if located.load_mask is not None:
            figures["mask_as_map"] = score_masks(located, grid, map_size)
    path = epath.Path(output_dir) / source.name.replace("/", "_")
    drawing.save_png(path.with_suffix(".png"), contact_sheet(source, num_tiles))
    files.write_json(path.with_suffix(".json"), figures)
    return figures


def summarize(source: Source) -> dict[str, Any]:
    """Counts images, per class too."""
    counts = np.bincount(source.labels, minlength=source.num_classes).tolist()
    return {
        "name": source.name,
        "images": len(source),
        "images_per_class": dict(zip(source.class_names, counts, strict=True)),
    }


def box_area_quantiles(source: Source) -> dict[str, float]:
    """Computes how much of its image the largest box takes, in percent, per quantile in percent."""
    areas = []
    for boxes, image_size in zip(source.boxes, source.image_sizes, strict=True):
        sides = boxes[:, 2:] - boxes[:, :2] + 1
        areas.append(100 * sides.prod(axis=1).max() / image_size.prod())
    return dict(zip(map(str, QUANTILES), np.percentile(areas, QUANTILES).tolist(), strict=True))


def score_masks(source: Source, grid: int, map_size: int) -> dict[str, float]:
    """Scores the masks as if a network had drawn them.

    Args:
      source: a split with boxes and masks.
      grid: a mask is averaged onto this many cells a side, then treated like a class map.
      map_size: side of the score maps, in pixels.

    Returns:
      CorLoc at the threshold 0.2 and at the best threshold, in percent, and that threshold.
    """
    counts = localization.BoxCounts(localization.thresholds(0.01))
    for i, boxes in enumerate(source.boxes):
        mask, _ = source.load_mask(i, map_size)
        cam = cv2.resize(mask.astype(np.float64), (grid, grid), interpolation=cv2.INTER_AREA)
        counts.add(
            localization.score_map(cam, map_size),
            localization.scale_boxes(boxes, source.image_sizes[i], map_size),
        )
    oracle = counts.oracle()
    return {
        "corloc_fixed": 100 - counts.at(FIXED)["corloc_err"],
        "corloc_oracle": 100 - oracle["corloc_err"],
        "oracle_threshold": oracle["threshold"],
    }


def best_centred_box(source: Source, map_size: int) -> dict[str, float]:
    """Finds the one box in the middle of all images that is right (IoU >= 0.5) most often.

    Returns:
      Its `corloc`, `width` and `height`, in percent.
    """
    truth = centre.Truth.of(dataclasses.replace(source, load_mask=None), map_size)
    best = centre.BoxSizes.of(truth).figures()["oracle"]
    return {
        "corloc": best["max_box_acc"]["50"],
        "width": best["width"]["50"],
        "height": best["height"]["50"],
    }


def contact_sheet(source: Source, num_tiles: int = 50) -> np.ndarray:
    """Draws images with their boxes (red), masks' outlines (white) and class names.

    The classes take turns; with no more than twelve of them each has its column.

    Returns:
      `[H, W, 3]` uint8.
    """
    of_class = [np.flatnonzero(source.labels == label) for label in range(source.num_classes)]
    turns = itertools.zip_longest(*of_class)
    chosen = [i for turn in turns for i in turn if i is not None][:num_tiles]
    columns = source.num_classes if source.num_classes <= 12 else 10
    return drawing.grid([_tile(source, int(i)) for i in chosen], columns)


def _tile(source: Source, index: int) -> np.ndarray:
    image = source.load_image(np.int64(index)).numpy()
    scale = TILE / max(image.shape[:2])
    size = tuple(round(side * scale) for side in image.shape[1::-1])
    filter_ = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    tile = cv2.resize(image, size, interpolation=filter_)
    if source.load_mask is not None:
        mask, _ = source.load_mask(index, TILE)
        mask = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(tile, outlines, -1, drawing.WHITE, 1, cv2.LINE_AA)
    if source.boxes is not None:
        tile = drawing.draw_boxes(tile, source.boxes[index], drawing.RED, scale)
    return drawing.caption(tile, source.class_names[source.labels[index]])


def table(figures: dict[str, Any]) -> str:
    """Formats what `inspect` returns, a line per figure."""
    counts = figures["images_per_class"].values()
    lines = [
        f"{figures['name']}: {figures['images']} images of {len(counts)} classes, "
        f"{min(counts)} to {max(counts)} of each"
    ]
    if "box_area" in figures:
        areas = ", ".join(f"{area:.0f}" for area in figures["box_area"].values())
        quantiles = ", ".join(figures["box_area"])
        lines.append(f"  box area, % of the image (quantiles {quantiles} %): {areas}")
        lines.append(
            "  one centred box, CorLoc: {corloc:.1f} % ({width:.0f} x {height:.0f} % of the image)"
            "".format(**figures["centred_box"])
        )
    if "mask_as_map" in figures:
        lines.append(
            "  mask as map, CorLoc: {corloc_fixed:.1f} % at {fixed}, {corloc_oracle:.1f} % at best "
            "({oracle_threshold:.2f})".format(fixed=FIXED, **figures["mask_as_map"])
        )
    return "\n".join(lines)
