"""`--mode=predict`: classes and boxes of pictures; `predictions.json` and overlays."""

import logging
import os
from collections.abc import Iterator

import ml_collections
import numpy as np
from etils import epath

from ega_jax.config import store
from ega_jax.data.files.pictures import list_pictures, read_picture
from ega_jax.data.source import DataError
from ega_jax.evaluation import drawing
from ega_jax.evaluation.localizer import Localization, Localizer
from ega_jax.runtime import checkpoints, devices, files
from ega_jax.runtime.errors import ConfigError

logger = logging.getLogger(__name__)


def predict(
    config: ml_collections.ConfigDict, workdir: str, images: str, *, checkpoint: str | None = None
) -> list[dict]:
    """Finds the classes and boxes of the pictures in a folder.

    Writes into the workdir `predictions.json` (`image_id`, `class`, `class_name`, `score` in
    [0, 1], `box` xyxy in pixels of the picture, `threshold`; and what was skipped), and
    `predictions/<image id>.png`, the pictures with heat map and boxes.

    Args:
      config: of the run that trained the model, but for the fields of `store.FREE`.
      workdir: of that run, or an empty one.
      images: folder of JPEG and PNG files, searched through all its folders.
      checkpoint: `last`, `best`, a step or a path; None: as `config.eval.checkpoint` says.

    Returns:
      The pictures that were skipped: `image_id` and `reason`.

    Raises:
      ConfigError, DataError: the config or the folder cannot be used.
      CheckpointError: the checkpoint is missing, damaged or of another model.
    """
    image_ids = list_pictures(images)
    path = checkpoints.find(workdir, checkpoint or config.eval.checkpoint)
    run = store.of_checkpoint(path)
    store.check_place(workdir, run)
    if config.predict.top_k > len(run.class_names):
        raise ConfigError(
            f"config.predict.top_k={config.predict.top_k}: the model has {len(run.class_names)} "
            "classes"
        )
    localizer = Localizer.load(path, config=config)
    pictures = _Pictures(images, image_ids)
    skipped: list[dict] = []
    predictions = []
    found = localizer.each(
        pictures.read(skipped), top_k=config.predict.top_k, boxes=config.predict.boxes
    )
    for classes in found:
        image_id, picture = pictures.next_done()
        _draw(epath.Path(workdir) / "predictions" / f"{image_id}.png", picture, classes)
        predictions += [entry for found in classes for entry in _entries(image_id, found)]
    result = {
        "checkpoint": str(path),
        "device": devices.describe(),
        "predictions": predictions,
        "skipped": skipped,
    }
    files.write_json(epath.Path(workdir) / "predictions.json", result)
    logger.info(
        "%d pictures located, %d skipped: %s",
        len(image_ids) - len(skipped),
        len(skipped),
        os.path.join(workdir, "predictions.json"),
    )
    return skipped


class _Pictures:
    """The readable pictures of a folder, which wait until their batch is through the network."""

    def __init__(self, root: str, image_ids: list[str]):
        self._root, self._image_ids = root, image_ids
        self._waiting: list[tuple[str, np.ndarray]] = []

    def read(self, skipped: list[dict]) -> Iterator[np.ndarray]:
        """Yields the pictures that can be read; reports the others and adds them to `skipped`."""
        for image_id in self._image_ids:
            try:
                picture = read_picture(os.path.join(self._root, image_id))
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
    """Returns what `predictions.json` says of a class in a picture: an entry for each box."""
    return [
        {
            "image_id": image_id,
            "class": found.label,
            "class_name": found.class_name,
            "score": found.score,
            "box": box.tolist(),
            "threshold": found.threshold,
        }
        for box in found.boxes
    ]


def _draw(path: epath.Path, picture: np.ndarray, classes: list[Localization]) -> None:
    """Writes a picture with the heat map of its best class and the boxes of all."""
    best = classes[0]
    overlay = drawing.heat_map(picture, best.score_map)
    boxes = np.concatenate([found.boxes for found in classes])
    overlay = drawing.draw_boxes(overlay, boxes, drawing.BLUE)
    drawing.save_png(path, drawing.caption(overlay, f"{best.class_name} {best.score:.2f}"))
