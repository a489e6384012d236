"""A network that looks at the same pictures several times: in sizes, in tiles, and mirrored."""

import dataclasses
import functools
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import ml_collections
import numpy as np

from ega_jax import localization
from ega_jax.config import build
from ega_jax.evaluation.tiles import Frame, stitch, tiles_of
from ega_jax.models.network import Network
from ega_jax.runtime import memory
from ega_jax.runtime.sharding import Placement, local_rows
from ega_jax.training import steps

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Seen:
    """What was seen in a batch.

    Attributes:
      classes: `[B, K]` labels.
      scores: `[B, K]` float32, their probabilities, means over the views of whole pictures.
      cams: of each view `[B, h, w, K]` float32; sizes may differ. All tiles are one view.
      side: of the score maps.
    """

    classes: np.ndarray
    scores: np.ndarray
    cams: list[np.ndarray]
    side: int

    def score_map(self, row: int, k: int) -> np.ndarray:
        """Returns the map of a class, the mean over the views: `[side, side]` in [0, 1]."""
        maps = [localization.score_map(cam[row, ..., k], self.side) for cam in self.cams]
        return maps[0] if len(maps) == 1 else localization.score_map(np.mean(maps, 0), self.side)


class Views:
    """A network with its weights, ready to look.

    Attributes:
      frames: parts of the pictures that batches are needed of.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        model: Network,
        variables: dict,
        placement: Placement,
    ):
        """Prepares the steps; each is compiled when it is first needed.

        Args:
          config: of the run; `predict` says which views there are.
          model: its network.
          variables: `params` and `batch_stats`.
          placement: on the devices.
        """
        self._config, self._model, self._variables = config, model, variables
        self._placement = placement
        self._reader = build.reader(config, model)
        self._steps: dict[int | str, Any] = {}
        self._sizes = build.view_sizes(config)
        self._tiles = tiles_of(self._sizes[0], config.predict.tiles)
        self.frames = [*map(Frame, self._sizes), *self._tiles]
        self._rows = config.eval.batch_size  # that the memory suffices for, as far as is known

    def look(
        self, batches: Mapping[Frame, np.ndarray], labels: np.ndarray | None, top_k: int
    ) -> Seen:
        """Looks at a batch in all views.

        Where a device's memory does not suffice, at half of it at a time, from then on.

        Args:
          batches: `[B, size, size, 3]` uint8 by frame.
          labels: `[B]` of the classes to look for; None: the most probable ones, in the mean over
            the views of whole pictures.
          top_k: without labels, how many of these, most probable first.

        Raises:
          OutOfMemoryError: a device has not enough memory for a picture.
        """
        while True:
            try:
                return self._in_parts(batches, labels, top_k)
            except memory.OutOfMemoryError as error:
                if self._rows % (2 * self._placement.num_devices):
                    raise
                self._rows //= 2
                logger.warning("%s; going on with batches of %d", error, self._rows)

    def _in_parts(
        self, batches: Mapping[Frame, np.ndarray], labels: np.ndarray | None, top_k: int
    ) -> Seen:
        """Looks at so many rows at a time as are known to fit."""
        parts = []
        for start in range(0, len(batches[self.frames[0]]), self._rows):
            rows = slice(start, start + self._rows)
            part = {frame: images[rows] for frame, images in batches.items()}
            parts.append(self._look(part, None if labels is None else labels[rows], top_k))
        if len(parts) == 1:
            return parts[0]
        return Seen(
            np.concatenate([part.classes for part in parts]),
            np.concatenate([part.scores for part in parts]),
            [np.concatenate(cams) for cams in zip(*(part.cams for part in parts), strict=True)],
            parts[0].side,
        )

    def _look(
        self, batches: Mapping[Frame, np.ndarray], labels: np.ndarray | None, top_k: int
    ) -> Seen:
        flips = (False, True) if self._config.predict.flip else (False,)
        whole = [(Frame(size), mirrored) for mirrored in flips for size in self._sizes]
        if labels is None and len(whole) > 1:
            classes = self._likeliest([_seen_as(batches, *one) for one in whole], top_k)
            cams, scores = [], []
        else:
            out = self._first({"image": _seen_as(batches, *whole.pop(0))}, labels, top_k)
            classes, cams, scores = out["classes"], [out["cams"]], [out["scores"]]

        def look_at(frame: Frame, mirrored: bool) -> tuple[np.ndarray, np.ndarray]:
            images = _seen_as(batches, frame, mirrored)
            seen = self._call("maps", {"image": images, "classes": classes})
            return seen["cams"][:, :, ::-1] if mirrored else seen["cams"], seen["scores"]

        for frame, mirrored in whole:
            cam, score = look_at(frame, mirrored)
            cams.append(cam)
            scores.append(score)
        if self._tiles:
            for mirrored in flips:
                cams.append(stitch([look_at(tile, mirrored)[0] for tile in self._tiles]))
        predict, data = self._config.predict, self._config.data
        side = self._config.eval.map_size or predict.size or data.crop_size
        if len(cams) == 1:
            return Seen(classes, scores[0], cams, side)
        mean = np.mean(scores, axis=0)
        order = np.argsort(-mean, axis=1, kind="stable")
        return Seen(
            np.take_along_axis(classes, order, axis=1),
            np.take_along_axis(mean, order, axis=1),
            [np.take_along_axis(cam, order[:, None, None], axis=3) for cam in cams],
            side,
        )

    def _likeliest(self, views: Sequence[np.ndarray], top_k: int) -> np.ndarray:
        """Returns the classes `[B, K]` whose probability is the highest in the mean over views."""
        mean = np.mean(
            [self._call("classes", {"image": view[:, None]})["probabilities"] for view in views], 0
        )
        return np.argsort(-mean, axis=1, kind="stable")[:, :top_k].astype(np.int32)

    def _first(
        self, batch: dict[str, np.ndarray], labels: np.ndarray | None, top_k: int
    ) -> dict[str, np.ndarray]:
        """Returns `classes` and `scores` `[B, K]` and `cams` `[B, h, w, K]`."""
        if labels is None:
            return self._call(top_k, batch)
        out = self._call("label", batch | {"label": labels})
        scores = np.take_along_axis(out["probabilities"], labels[:, np.newaxis], axis=1)
        return {"classes": labels[:, np.newaxis], "scores": scores, "cams": out["cams"][..., None]}

    def _call(self, kind: int | str, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs a step: `classes`, `label`, `maps`, or for so many of the most probable classes."""
        if kind not in self._steps:
            if isinstance(kind, int):
                step: Any = functools.partial(steps.predict_step, top_k=kind)
            elif kind == "classes":
                step = steps.crops_step
            else:
                step = {"label": steps.eval_step, "maps": steps.maps_step}[kind]
            if kind != "classes":
                step = functools.partial(step, reader=self._reader)
            self._steps[kind] = jax.jit(
                functools.partial(step, model=self._model),
                in_shardings=(self._placement.replicated, self._placement.by_example),
                out_shardings=self._placement.by_example,
                compiler_options=self._placement.compiler_options,
            )
        size = self._config.eval.batch_size
        with memory.told(f"lower config.eval.batch_size={size}, or config.predict.size and scales"):
            out = self._steps[kind](self._variables, self._placement.put_batch(batch))
            return jax.tree.map(local_rows, out)


def _seen_as(batches: Mapping[Frame, np.ndarray], frame: Frame, mirrored: bool) -> np.ndarray:
    """Returns the batch of a frame, from left to right or mirrored."""
    return batches[frame][:, :, ::-1] if mirrored else batches[frame]
