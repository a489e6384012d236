"""The images of a report as JSON for the page's script."""

import base64
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from ega_jax.evaluation import gallery
from ega_jax.report.runs import Reported, images_in_common


def pictures(runs: Sequence[Reported]) -> dict[str, Any] | None:
    """Puts together what the script needs to know of the images, those that all runs have.

    Args:
      runs: one or several.

    Returns:
      `images`, a list of `id`, `label` (a name), `size`, `object`, `thumbnail` (base64 of a JPEG)
      and, with masks, `mask`; and `runs`, a list of `name`, `mapSize`, `thresholds`, `start` (where
      the slider is at first), and for each image `predictions` (names), `probabilities`, `highest`,
      `truths` (boxes) and `maps`, and `boxes` and `levels` of all, see `_boxes`; each only where it
      is known. None where a run has no images.

    Raises:
      ConfigError: the runs have no image in common.
    """
    chosen = images_in_common(runs)
    if chosen is None:
        return None
    first, rows = runs[0].kept, chosen[0]
    thumbnails = gallery.split_ragged(first, "thumbnails")
    masks = gallery.split_ragged(first, "masks") if "masks" in first else None
    images = []
    for row in rows:
        image = {
            "id": first["image_ids"][row].item(),
            "label": first["class_names"][first["labels"][row]].item(),
            "size": first["sizes"][row].tolist(),
            "object": bool(first["has_object"][row]),
            "thumbnail": _text(thumbnails[row].tobytes()),
        }
        if masks is not None and len(masks[row]):
            image["mask"] = _text(masks[row].tobytes())
        images.append(image)
    return {
        "images": images,
        "runs": [_of_run(run, some) for run, some in zip(runs, chosen, strict=True)],
    }


def _of_run(run: Reported, rows: Sequence[int]) -> dict[str, Any]:
    kept = run.kept
    maps = gallery.split_ragged(kept, "maps")
    thresholds = kept["thresholds"]
    start = run.threshold if "truths" in kept else run.mask_threshold
    result: dict[str, Any] = {
        "name": run.name,
        "mapSize": int(kept["map_size"]),
        "thresholds": thresholds.tolist(),
        "start": int(np.abs(thresholds - start).argmin()),
        "maps": [_text(maps[row].tobytes()) for row in rows],
    }
    if "predictions" in kept:
        names = kept["class_names"][kept["predictions"][rows]]
        result["predictions"] = names.tolist()
        result["probabilities"] = [
            round(float(p), 4) if np.isfinite(p) else None for p in kept["probabilities"][rows]
        ]
    if "largest" in kept:
        result["highest"] = kept["highest"][rows].tolist()
        result["levels"] = int(kept["largest"].shape[1])
        result["boxes"] = _boxes(kept["largest"][rows])
    if "truths" in kept:
        truths = gallery.split_ragged(kept, "truths")
        result["truths"] = [truths[row].tolist() for row in rows]
    return result


def _boxes(largest: np.ndarray) -> str:
    """Packs boxes `[n, K, 4]` as the script unpacks them: little-endian, 16 bits, zlib, base64.

    Each is replaced by its difference from the one a level below, which is mostly nothing.
    """
    steps = np.diff(largest.astype("<u2"), axis=1, prepend=np.uint16(0))
    return _text(zlib.compress(steps.astype("<u2").tobytes(), 9))


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
