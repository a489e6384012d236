"""Boxes for a folder of pictures: `predictions.json` and overlays, no labels needed."""

import functools
import json
import logging
import os
from collections.abc import Iterator

import jax
import ml_collections
import numpy as np
from etils import epath

from ega_jax import localization
from ega_jax.config import build, store
from ega_jax.config.check import check
from ega_jax.data.files.pictures import fit, list_pictures, read_picture
from ega_jax.data.source import DataError
from ega_jax.evaluation import drawing
from ega_jax.evaluation.evaluator import restore_variables
from ega_jax.runtime import files
from ega_jax.runtime.checkpoints import find
from ega_jax.runtime.errors import ConfigError
from ega_jax.runtime.sharding import Placement, local_rows
from ega_jax.training import steps

logger = logging.getLogger(__name__)


def predict(
    config: ml_collections.ConfigDict, workdir: str, images: str, *, checkpoint: str = "last"
) -> list[dict]:
    """Finds the classes and boxes of the pictures in a folder.

    Writes into the workdir `predictions.json` (`image_id`, `class`, `class_name`, `score` in
    [0, 1], `box` xyxy in pixels of the picture, `threshold`; and what was skipped), and
    `predictions/<image id>.png`, the pictures with heat map and boxes.

    Args:
      config: of the run that trained the model; `predict` fields may differ.
      workdir: of that run.
      images: folder of JPEG and PNG files, searched through all its folders.
      checkpoint: `last`, `best`, a step or a path.

    Returns:
      The pictures that were skipped: `image_id` and `reason`.

    Raises:
      ConfigError, DataError: the config or the folder cannot be used.
      CheckpointError: the checkpoint is missing, damaged or of another model.
    """
    placement = Placement()
    check(config, placement.num_devices)
    path = find(workdir, checkpoint)
    store.check_same_network(config, path.parents[2])
    class_names = store.load_class_names(path.parents[2])
    top_k = config.predict.top_k
    if top_k > len(class_names):
        raise ConfigError(f"config.predict.top_k={top_k}: the model has {len(class_names)} classes")
    image_ids = list_pictures(images)
    threshold = _threshold(config, workdir)
    model = build.model(config, len(class_names))
    reader = build.reader(config, model)
    variables = restore_variables(path, model, config.data.crop_size, placement)
    step = jax.jit(
        functools.partial(steps.predict_step, model=model, reader=reader, top_k=top_k),
        in_shardings=(placement.replicated, placement.by_example),
        out_shardings=placement.by_example,
        compiler_options=placement.compiler_options,
    )

    predictions, skipped = [], []
    pictures = _read(images, image_ids, skipped)
    for names, originals, batch in _batches(pictures, config):
        out = jax.tree.map(local_rows, step(variables, placement.put_batch(batch)))
        for row, (image_id, original) in enumerate(zip(names, originals, strict=True)):
            found = []
            for k in range(top_k):
                score_map = localization.score_map(
                    out["cams"][row, ..., k], config.eval.map_size or config.data.crop_size
                )
                size = original.shape[1], original.shape[0]
                box = localization.largest_box(score_map, threshold, size)
                label = int(out["classes"][row, k])
                found.append(
                    {
                        "image_id": image_id,
                        "class": label,
                        "class_name": class_names[label],
                        "score": float(out["scores"][row, k]),
                        "box": [int(v) for v in box],
                        "threshold": threshold,
                    }
                )
                if k == 0:
                    overlay = drawing.heat_map(original, score_map)
            boxes = np.array([p["box"] for p in found])
            overlay = drawing.draw_boxes(overlay, boxes, drawing.BLUE)
            text = f"{found[0]['class_name']} {found[0]['score']:.2f}"
            drawing.save_png(
                epath.Path(workdir) / "predictions" / f"{image_id}.png",
                drawing.caption(overlay, text),
            )
            predictions += found
    result = {"checkpoint": str(path), "predictions": predictions, "skipped": skipped}
    files.write_json(epath.Path(workdir) / "predictions.json", result)
    logger.info(
        "%d pictures located, %d skipped: %s",
        len(image_ids) - len(skipped),
        len(skipped),
        os.path.join(workdir, "predictions.json"),
    )
    return skipped


def _threshold(config: ml_collections.ConfigDict, workdir: str) -> float:
    """Returns the threshold asked for, else the one found on validation, else the fixed one."""
    if config.predict.threshold is not None:
        return config.predict.threshold
    results = epath.Path(workdir) / "results.json"
    if results.exists():
        figures = json.loads(results.read_text())
        if (oracle := figures.get("validation", {}).get("oracle")) is not None:
            return oracle["threshold"]
    return config.eval.threshold


def _read(root: str, image_ids: list[str], skipped: list) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the readable pictures; reports the others and adds them to `skipped`."""
    for image_id in image_ids:
        try:
            yield image_id, read_picture(os.path.join(root, image_id))
        except DataError as error:
            logger.warning("skipped %s: %s", image_id, error)
            skipped.append({"image_id": image_id, "reason": str(error)})


def _batches(
    pictures: Iterator[tuple[str, np.ndarray]], config: ml_collections.ConfigDict
) -> Iterator[tuple[list[str], list[np.ndarray], dict[str, np.ndarray]]]:
    """Groups pictures into batches of one shape: ids, originals, what the network takes."""
    size, batch_size = config.data.crop_size, config.eval.batch_size
    names, originals = [], []
    images = np.zeros((batch_size, size, size, 3), np.uint8)

    def filled() -> tuple:
        return list(names), list(originals), {"image": images.copy()}

    for image_id, original in pictures:
        images[len(names)] = fit(original, size)
        names.append(image_id)
        originals.append(original)
        if len(names) == batch_size:
            yield filled()
            names.clear()
            originals.clear()
    if names:
        yield filled()
