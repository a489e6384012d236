"""A trained network as a function: pictures in, classes, boxes and maps out.

from ega_jax import Localizer

localizer = Localizer.load("runs/quickstart")
for found in localizer.localize(["cat.jpg", array, pil_image]):
    print(found.class_name, found.score, found.boxes)
"""

import dataclasses
import os
from collections.abc import Iterable, Iterator

import ml_collections
import numpy as np
from etils import epath
from PIL import Image, ImageOps

from ega_jax import localization
from ega_jax.config import build, store
from ega_jax.config.check import check
from ega_jax.data.files.image_files import rgb_pixels
from ega_jax.data.files.pictures import fit, read_picture
from ega_jax.evaluation.evaluator import restore_variables
from ega_jax.evaluation.threshold import validated_threshold
from ega_jax.evaluation.tiles import Frame
from ega_jax.evaluation.views import Views
from ega_jax.runtime import checkpoints
from ega_jax.runtime.errors import ConfigError
from ega_jax.runtime.sharding import Placement

Picture = np.ndarray | Image.Image | str | os.PathLike

BOXES = ("largest", "all")
OWN = "own"  # a threshold for each map, from it alone


@dataclasses.dataclass(frozen=True)
class Localization:
    """Where one class is in one picture.

    Attributes:
      label: of the class.
      class_name: its name.
      score: the network's probability of the class, in [0, 1].
      boxes: `[N, 4]` int64, x0, y0, x1, y1 in pixels of the picture, the largest object first; none
        where the class is one without an object (`data.background_classes`), or nothing is above
        the threshold.
      score_map: `[S, S]` float64 in [0, 1], over the whole picture whatever its shape.
      threshold: at which the boxes are cut out of the map.
      confidences: `[N]` float64 in [0, 1], of the boxes: the class's score times the highest value
        of the map on the object. They rank boxes and are no probabilities; see docs/annotate.md.
      parts: `[S, S]` int32 over the map: i + 1 where the object of box i is, else 0.
    """

    label: int
    class_name: str
    score: float
    boxes: np.ndarray
    score_map: np.ndarray
    threshold: float
    confidences: np.ndarray
    parts: np.ndarray


class Localizer:
    """A trained network, ready for pictures; compiled at the first batch.

    Attributes:
      class_names: in the order of the labels.
      threshold: at which boxes are cut out of score maps unless told otherwise.
      checkpoint: the folder that the weights are from.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        run: store.Run,
        checkpoint: epath.Path,
        threshold: float,
    ):
        """Reads the weights; `load` is the usual way here.

        Args:
          config: of the run, but for the fields of `store.FREE`.
          run: what the weights are of.
          checkpoint: folder of the checkpoint.
          threshold: see the attribute.

        Raises:
          ConfigError: the config is impossible.
          CheckpointError: the checkpoint is damaged.
        """
        placement = Placement()
        check(config, placement.num_devices)
        self._batch_size = config.eval.batch_size
        self.class_names = run.class_names
        self.threshold = threshold
        self.checkpoint = checkpoint
        model = build.model(config, len(run.class_names))
        variables = restore_variables(checkpoint, model, config.data.crop_size, placement)
        self._views = Views(config, model, variables, placement)
        self._background = frozenset(build.background(config, run.class_names))

    @classmethod
    def load(
        cls,
        place: str | os.PathLike,
        *,
        checkpoint: str | None = None,
        config: ml_collections.ConfigDict | None = None,
    ) -> "Localizer":
        """Reads a trained network.

        Args:
          place: workdir of a run, or folder of a checkpoint.
          checkpoint: of a workdir: `last`, `best`, a step or a path; None: as `eval.checkpoint` of
            the config says.
          config: that of the run, but for the fields of `store.FREE`; None: the run's own.

        Raises:
          ConfigError: the config is not the run's, or impossible.
          CheckpointError: there is no such checkpoint, or it is damaged.
        """
        if checkpoint is None and (epath.Path(place) / "manifest").is_dir():
            path = epath.Path(place).absolute()
        else:
            which = checkpoint or (config or store.load(place)).eval.checkpoint
            path = checkpoints.find(os.fspath(place), which)
        run = store.of_checkpoint(path)
        config = run.config if config is None else store.settle(run.config, config, path)
        threshold = validated_threshold(config, checkpoints.workdir_of(path))
        return cls(config, run, path, config.eval.threshold if threshold is None else threshold)

    def localize(
        self,
        images: Iterable[Picture],
        labels: Iterable[int] | None = None,
        *,
        threshold: float | str | None = None,
        boxes: str = "largest",
        max_objects: int | None = None,
        smallest: float = localization.SMALLEST,
    ) -> list[Localization]:
        """Finds the most probable class of each picture, or a given one, and where it is.

        Args:
          images: `[H, W, 3]` uint8 RGB arrays of any sizes, PIL images, or paths.
          labels: of the classes to find, one for each picture; None: the most probable ones.
          threshold: in [0, 1), at which the boxes are cut out of the maps; `OWN` for each map's
            own, which needs no boxes to be found; None: the localizer's.
          boxes: `largest` for one box, `all` for one around each object above the threshold.
          max_objects: instead of `boxes`: one around each object, at most so many, the largest
            first.
          smallest: with `max_objects`, the share of the largest object's area that others have at
            least.

        Returns:
          One `Localization` for each picture, in their order.

        Raises:
          DataError: a picture cannot be read.
          ValueError: an array is no picture, a label is no class, or `boxes` is neither.
        """
        found = self.each(
            images,
            labels,
            threshold=threshold,
            boxes=boxes,
            max_objects=max_objects,
            smallest=smallest,
        )
        return [best for (best,) in found]

    def each(
        self,
        images: Iterable[Picture],
        labels: Iterable[int] | None = None,
        *,
        top_k: int = 1,
        threshold: float | str | None = None,
        boxes: str = "largest",
        max_objects: int | None = None,
        smallest: float = localization.SMALLEST,
    ) -> Iterator[list[Localization]]:
        """Yields what `localize` finds picture by picture, in the memory of one batch.

        Args:
          images: as for `localize`.
          labels: as for `localize`.
          top_k: without labels, how many classes of each picture, the most probable first.
          threshold: as for `localize`.
          boxes: as for `localize`.
          max_objects: as for `localize`.
          smallest: as for `localize`.
        """
        if boxes not in BOXES:
            raise ValueError(f"boxes={boxes!r}: must be one of {', '.join(BOXES)}")
        if top_k > len(self.class_names):
            raise ConfigError(f"top_k={top_k}: the model has {len(self.class_names)} classes")
        if max_objects is None:
            max_objects, smallest = (None if boxes == "all" else 1), 0.0
        if max_objects is not None and max_objects < 1:
            raise ValueError(f"max_objects={max_objects}: must be at least 1, or None")
        cut = self.threshold if threshold is None else threshold
        if isinstance(cut, str) and cut != OWN:
            raise ValueError(f"threshold={cut!r}: must be a number in [0, 1) or {OWN!r}")
        for originals, wanted, batches in self._batches(images, labels):
            seen = self._views.look(batches, wanted, top_k)
            for row, original in enumerate(originals):
                yield [
                    self._describe(
                        int(seen.classes[row, k]),
                        float(seen.scores[row, k]),
                        seen.score_map(row, k),
                        original.shape[1::-1],
                        cut,
                        max_objects,
                        smallest,
                    )
                    for k in range(seen.classes.shape[1])
                ]

    def _describe(
        self,
        label: int,
        score: float,
        score_map: np.ndarray,
        size: tuple[int, int],
        threshold: float | str,
        max_objects: int | None,
        smallest: float,
    ) -> Localization:
        if isinstance(threshold, str):
            threshold = localization.own_threshold(score_map)
        boxes, parts, peaks = localization.find_objects(
            score_map,
            threshold,
            size,
            max_objects=0 if label in self._background else max_objects,
            smallest=smallest,
        )
        return Localization(
            label,
            self.class_names[label],
            score,
            boxes,
            score_map,
            threshold,
            score * peaks,
            parts,
        )

    def _batches(
        self, images: Iterable[Picture], labels: Iterable[int] | None
    ) -> Iterator[tuple[list[np.ndarray], np.ndarray | None, dict[Frame, np.ndarray]]]:
        """Groups pictures into batches: originals, labels, and what the network is shown."""
        batch_size = self._batch_size
        originals: list[np.ndarray] = []
        batch = {
            frame: np.zeros((batch_size, frame.size, frame.size, 3), np.uint8)
            for frame in self._views.frames
        }
        wanted = None if labels is None else np.zeros(batch_size, np.int32)
        pairs = ((image, None) for image in images)
        if labels is not None:
            pairs = zip(images, labels, strict=True)
        for image, label in pairs:
            original = as_array(image)
            for frame, rows in batch.items():
                rows[len(originals)] = fit(frame.cut(original, original.shape), frame.size)
            if wanted is not None:
                wanted[len(originals)] = self._check_label(label)
            originals.append(original)
            if len(originals) == batch_size:
                yield originals, wanted, {frame: rows.copy() for frame, rows in batch.items()}
                originals = []
        if originals:
            yield originals, wanted, batch

    def _check_label(self, label: int) -> int:
        if not 0 <= label < len(self.class_names):
            raise ValueError(f"label {label}: the model has {len(self.class_names)} classes")
        return label


def as_array(image: Picture) -> np.ndarray:
    """Returns a picture as `[H, W, 3]` uint8 RGB, upright.

    Raises:
      DataError: it is a path to what cannot be read.
      ValueError: it is an array of another shape or type, or an image of more than 16 bits.
    """
    if isinstance(image, Image.Image):
        try:
            return rgb_pixels(ImageOps.exif_transpose(image))
        except ValueError as error:
            raise ValueError(f"a picture of mode {image.mode} {error}") from error
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ValueError(
                f"a picture is [H, W, 3] uint8; this is {list(image.shape)} {image.dtype}"
            )
        return image
    return read_picture(image)
