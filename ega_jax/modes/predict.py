"""`--mode=predict`: classes and boxes of pictures; `predictions.json` and overlays."""

import logging
import os
from collections.abc import Iterator

import ml_collections
import numpy as np
from etils import epath

from ega_jax.config import store
from ega_jax.data.files.listing import report_left_out
from ega_jax.data.files.pictures import Pictures, list_pictures, read_picture
from ega_jax.data.source import DataError
from ega_jax.evaluation import drawing
from ega_jax.evaluation.localizer import Localization, Localizer
from ega_jax.modes import untrained
from ega_jax.runtime import checkpoints, devices, files
from ega_jax.runtime.errors import ConfigError

logger = logging.getLogger(__name__)


def predict(
    config: ml_collections.ConfigDict, workdir: str, images: str, *, checkpoint: str | None = None
) -> list[dict]:
    """Finds the classes and boxes of pictures.

    Writes into the workdir `predictions.json` (`image_id`, `class`, `class_name`, `score` in
    [0, 1], `box` xyxy in pixels of the picture, or null for a class without an object and where
    nothing is above the threshold, `threshold`; what was skipped, and which files were no
    pictures), and `predictions/<image id>.png`, with heat map and boxes; if asked for,
    `maps/<image id>.png` and `masks/<image id>.png` too.

    Args:
      config: of the run that trained the model, but for the fields of `store.FREE`.
      workdir: of that run, or an empty one.
      images: folder of pictures, a picture, a list or a pattern; see `pictures.list_pictures`.
      checkpoint: `last`, `best`, a step or a path; None: as `config.eval.checkpoint` says.

    Returns:
      The pictures that were skipped: `image_id` and `reason`.

    Raises:
      ConfigError, DataError: the config or the folder cannot be used.
      CheckpointError: the checkpoint is missing, damaged or of another model.
    """
    there = list_pictures(images)
    report_left_out(images, there.left_out)
    if checkpoint is None:
        untrained.ensure(config, workdir)
    path = checkpoints.find(workdir, checkpoint or config.eval.checkpoint)
    run = store.of_checkpoint(path)
    store.check_place(workdir, run)
    if config.predict.top_k > len(run.class_names):
        raise ConfigError(
            f"config.predict.top_k={config.predict.top_k}: the model has {len(run.class_names)} "
            "classes"
        )
    localizer = Localizer.load(path, config=config)
    pictures = _Waiting(there)
    skipped: list[dict] = []
    predictions = []
    found = localizer.each(
        pictures.read(skipped),
        top_k=config.predict.top_k,
        boxes=config.predict.boxes,
        max_objects=config.predict.max_objects,
        smallest=config.predict.smallest,
    )
    for classes in found:
        image_id, picture = pictures.next_done()
        _draw(epath.Path(workdir) / "predictions" / f"{image_id}.png", picture, classes)
        _save(epath.Path(workdir), image_id, picture, classes[0], config)
        predictions += [entry for found in classes for entry in _entries(image_id, found)]
    result = {
        "checkpoint": str(path),
        "device": devices.describe(),
        "predictions": predictions,
        "skipped": skipped,
        "left_out": [{"file": file, "reason": why} for file, why in there.left_out],
    }
    files.write_json(epath.Path(workdir) / "predictions.json", result)
    logger.info(
        "%d pictures located, %d skipped, %d files left out: %s",
        len(there.ids) - len(skipped),
        len(skipped),
        len(there.left_out),
        os.path.join(workdir, "predictions.json"),
    )
    return skipped


class _Waiting:
    """The readable pictures, which wait until their batch is through the network."""

    def __init__(self, pictures: Pictures):
        self._pictures = pictures
        self._waiting: list[tuple[str, np.ndarray]] = []

    def read(self, skipped: list[dict]) -> Iterator[np.ndarray]:
        """Yields the pictures that can be read; reports the others and adds them to `skipped`."""
        for image_id in self._pictures.ids:
            try:
                picture = read_picture(self._pictures.path(image_id))
            except DataError as error:
                logger.warning("skipped %s: %s", image_id, error)
                skipped.append({"image_id": image_id, "reason": str(error)})
                continue
            self._waiting.append((image_id, picture))
            yield picture

    def next_done(self) -> tuple[str, np.ndarray]:
        """Returns id and pixels of the picture whose turn it is."""
        return self._waiting.pop(0)


def _entries(image_id: str, found: Localization) -> list[dict]:
    """Returns what `predictions.json` says of a class in a picture: an entry for each box.

    Where there is no box there is one entry, whose box is None.
    """
    return [
        {
            "image_id": image_id,
            "class": found.label,
            "class_name": found.class_name,
            "score": found.score,
            "box": box,
            "threshold": found.threshold,
        }
        for box in found.boxes.tolist() or [None]
    ]


def _save(
    workdir: epath.Path,
    image_id: str,
    picture: np.ndarray,
    found: Localization,
    config: ml_collections.ConfigDict,
) -> None:
    """Writes map and mask of a picture's best class, those that the config asks for."""
    grey = drawing.resize_map(found.score_map, picture.shape[1::-1])
    if config.predict.save_maps:
        drawing.save_png(workdir / "maps" / f"{image_id}.png", np.rint(255 * grey).astype(np.uint8))
    if config.predict.save_masks:
        inside = (grey > found.threshold) & bool(len(found.boxes))
        mask = np.where(inside, 255, 0).astype(np.uint8)
        drawing.save_png(workdir / "masks" / f"{image_id}.png", mask)


def _draw(path: epath.Path, picture: np.ndarray, classes: list[Localization]) -> None:
    """Writes a picture with the heat map of its best class and the boxes of all."""
    best = classes[0]
    overlay = drawing.heat_map(picture, best.score_map) if len(best.boxes) else picture
    boxes = np.concatenate([found.boxes for found in classes])
    overlay = drawing.draw_boxes(overlay, boxes, drawing.BLUE)
    drawing.save_png(path, drawing.caption(overlay, f"{best.class_name} {best.score:.2f}"))
