"""The evaluation loop: a trained network over a split, to figures, pictures and `results.json`."""

import dataclasses
import functools
import io
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import ml_collections
import numpy as np
from etils import epath

from ega_jax import localization
from ega_jax.config import build
from ega_jax.data.pipeline import eval_batches
from ega_jax.data.source import Source
from ega_jax.evaluation import pool
from ega_jax.evaluation.gallery import Gallery, of_sources
from ega_jax.evaluation.overlays import Example, gather
from ega_jax.evaluation.scores import Scores
from ega_jax.evaluation.tiles import stitch, tiles_of
from ega_jax.models.network import Network
from ega_jax.models.norm import MAIN
from ega_jax.runtime import distributed, files
from ega_jax.runtime.checkpoints import restore
from ega_jax.runtime.sharding import Placement, local_rows
from ega_jax.training import steps

logger = logging.getLogger(__name__)


def variables_of(state: steps.TrainState) -> dict:
    """Returns what inference needs: parameters and the main batch norm's statistics."""
    return {"params": state.params} | {k: v for k, v in state.model_state.items() if k == MAIN}


def restore_variables(path: Any, model: nn.Module, image_size: int, placement: Placement) -> dict:
    """Reads from a checkpoint what inference needs; auxiliary statistics and optimizer stay unread.

    Raises:
      CheckpointError: it is damaged or of another model.
    """
    images = jax.ShapeDtypeStruct((1, image_size, image_size, 3), "float32")
    init = functools.partial(model.init, train=False)
    template = dict(jax.eval_shape(init, jax.random.key(0), images))
    params = template.pop("params")
    saved = restore(
        path,
        {"params": params, "model_state": {k: v for k, v in template.items() if k == MAIN}},
        sharding=placement.replicated,
        partial=True,
    )
    return {"params": saved["params"], **saved["model_state"]}


class Evaluator:
    """Scores splits with one compiled step."""

    def __init__(self, config: ml_collections.ConfigDict, model: Network, placement: Placement):
        """Prepares the steps; the first batch compiles them."""
        self.config = config
        self.placement = placement
        shardings: dict[str, Any] = {
            "in_shardings": (placement.replicated, placement.by_example),
            "out_shardings": placement.by_example,
            "compiler_options": placement.compiler_options,
        }
        self.step = jax.jit(
            functools.partial(steps.eval_step, model=model, reader=build.reader(config, model)),
            **shardings,
        )
        self.crops_step = jax.jit(functools.partial(steps.crops_step, model=model), **shardings)
        self.sizes = build.view_sizes(config)
        self._tiles = tiles_of(self.sizes[0], config.predict.tiles)
        self.map_size = config.eval.map_size or config.predict.size or config.data.crop_size
        self.before_batch: Callable[[], None] = lambda: None  # may end the program
        self._images, self._seconds = 0, 0.0
        self._compiled, self._compiling = False, 0.0  # seconds of the first batch
        self.thresholds = localization.thresholds(config.eval.threshold_interval)

    def gallery(self, sources: Mapping[str, Source]) -> Gallery | None:
        """Returns what keeps images of a run for its report; None without a split to score."""
        return of_sources(sources, self.config.report.images, self.thresholds)

    @property
    def images_per_second(self) -> float:
        """Images that this process scores in a second; the first batch, which compiles, apart."""
        return self._images / self._seconds if self._images else 0.0

    def score(
        self,
        variables: dict,
        source: Source,
        keep: Sequence[int] = (),
        workers: int | None = None,
        maps: str | os.PathLike | None = None,
        gallery: Gallery | None = None,
    ) -> tuple[Scores, dict[int, Example]]:
        """Runs the network over a split and scores its predictions and maps.

        The devices compute a batch while the maps of the one before it are scored.

        Args:
          variables: `params` and `batch_stats`.
          source: the split.
          keep: indices of images to return for pictures.
          workers: processes that score maps, see `pool.score_images`; None: as many as pay. The
            figures do not depend on it.
          maps: folder that receives `<image id>.npy`, the score maps `[S, S]` float64 in [0, 1].
          gallery: keeps those images that it wants.

        Returns:
          The scores of the split and the kept examples, of all processes together.
        """
        scores = Scores.empty(source, self.thresholds)
        crops = self._crop_probabilities(variables, source) if self.config.eval.ten_crop else {}
        examples = {}
        if workers is None:
            workers = pool.worker_count(len(source) // jax.process_count())

        def images():
            for batch, whole, cams in self._predictions(variables, source):
                for row in np.flatnonzero(batch["mask"]):
                    index = int(batch["index"][row])
                    chosen = crops.get(index, whole[row])
                    shown = gallery is not None and index in gallery
                    if index in keep or shown or maps is not None:
                        score_map = localization.score_map(cams[row], self.map_size)
                    if index in keep:
                        best = int(chosen.argmax())
                        examples[index] = Example(
                            batch["image"][row], score_map, float(chosen[best]), best
                        )
                    if shown:
                        gallery.add(index, batch["image"][row], score_map)
                    if maps is not None:
                        _save_map(epath.Path(maps) / f"{source.image_ids[index]}.npy", score_map)
                    load = functools.partial(
                        scores.request, source, index, cams[row], self.map_size
                    )
                    yield (index, chosen, whole[row] if crops else None), load

        start, before = time.monotonic(), self._compiling
        unanswered: list[str] = []
        for (index, chosen, whole), outcome in pool.score_images(
            images(), self.thresholds, workers
        ):
            if not np.isfinite(chosen).all():
                unanswered.append(source.image_ids[index])
            scores.add_outcome(source, index, outcome, chosen, whole)
        self._seconds += time.monotonic() - start - (self._compiling - before)
        if unanswered:
            logger.warning(
                "%s: the network's answer to %d images, %r for one, is no number; they count as "
                "classified wrongly.",
                source.name,
                len(unanswered),
                unanswered[0],
            )
        parts = distributed.gather(scores.to_arrays())
        every = [Scores.from_arrays(part) for part in parts]
        return functools.reduce(Scores.merge, every), gather(examples)

    def _predictions(self, variables: dict, source: Source) -> Iterator[tuple]:
        """Yields every batch with its probabilities and maps, while the next one is computed.

        Both are means over the views, as of `views.Views`, which `predict` makes.
        """
        ahead = None
        streams = [self._batches(source, size) for size in self.sizes]
        if self._tiles:
            parts = [tile.cut for tile in self._tiles]
            streams.append(self._batches(source, self.sizes[0], parts=parts))
        flips = (False, True) if self.config.predict.flip else (False,)
        for batches in zip(*streams, strict=True):
            self.before_batch()
            since = time.monotonic()
            out = [
                _View(mirrored, [self._look(variables, part, mirrored) for part in _parts(batch)])
                for mirrored in flips
                for batch in batches
            ]
            batch = batches[0]
            if self._compiled:
                self._images += int(batch["mask"].sum())
            else:
                jax.block_until_ready([view.parts for view in out])
                self._compiled, self._compiling = True, time.monotonic() - since
            if ahead is not None:
                yield self._fetch(*ahead)
            ahead = batch, out
        if ahead is not None:
            yield self._fetch(*ahead)

    def _look(self, variables: dict, batch: dict, mirrored: bool) -> dict:
        if mirrored:
            batch = batch | {"image": np.asarray(batch["image"])[:, :, ::-1]}
        return self.step(variables, self.placement.put_batch(batch))

    def _fetch(self, batch: dict, out: "list[_View]") -> tuple[dict, np.ndarray, np.ndarray]:
        """Waits for what was computed of a batch in all views; whole images decide on the class."""
        probabilities = [
            local_rows(view.parts[0]["probabilities"]) for view in out if len(view.parts) == 1
        ]
        cams = [view.cams() for view in out]
        if len(out) == 1:
            return batch, probabilities[0], cams[0]
        maps = [
            np.mean([localization.score_map(cam, self.map_size) for cam in of_image], axis=0)
            for of_image in zip(*cams, strict=True)
        ]
        return batch, np.mean(probabilities, axis=0), np.stack(maps)

    def _batches(self, source: Source, image_size: int, **kwargs: Any) -> Any:
        return eval_batches(
            source,
            batch_size=self.config.eval.batch_size,
            image_size=image_size,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            **kwargs,
        )

    def _crop_probabilities(self, variables: dict, source: Source) -> dict[int, np.ndarray]:
        """Returns the class probabilities of each image, averaged over ten crops."""
        result = {}
        data = self.config.data
        for batch in self._batches(
            source, data.crop_size, ten_crop=True, resize_size=data.resize_size
        ):
            self.before_batch()
            out = self.crops_step(variables, self.placement.put_batch(batch))
            probabilities = local_rows(out["probabilities"])
            for row in np.flatnonzero(batch["mask"]):
                result[int(batch["index"][row])] = probabilities[row]
        return result


@dataclasses.dataclass(frozen=True)
class _View:
    """What was computed of a batch, once for whole images or once for each of their tiles."""

    mirrored: bool
    parts: list[dict]

    def cams(self) -> np.ndarray:
        """Waits for the maps `[B, h, h]`, those of tiles put together."""
        cams = [local_rows(part["cams"]) for part in self.parts]
        if self.mirrored:
            cams = [cam[:, :, ::-1] for cam in cams]
        if len(cams) == 1:
            return cams[0]
        return stitch([cam[..., np.newaxis] for cam in cams])[..., 0]


def _parts(batch: dict) -> Iterator[dict]:
    """Takes a batch of images in tiles apart; yields any other as it is."""
    images = batch["image"]
    if images.ndim == 4:
        yield batch
        return
    for place in range(images.shape[1]):
        yield batch | {"image": images[:, place]}


def _save_map(path: epath.Path, score_map: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.save(buffer, score_map)
    files.write_bytes(path, buffer.getvalue())
