"""The evaluation loop: a trained network over a split, to figures, pictures and `results.json`."""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import ml_collections
import numpy as np

from ega_jax import localization
from ega_jax.config import build
from ega_jax.data.pipeline import eval_batches
from ega_jax.data.source import Source
from ega_jax.evaluation.overlays import Example, gather
from ega_jax.evaluation.scores import Scores
from ega_jax.models.norm import MAIN
from ega_jax.runtime import distributed
from ega_jax.runtime.checkpoints import restore
from ega_jax.runtime.sharding import Placement, local_rows
from ega_jax.training import steps


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

    def __init__(self, config: ml_collections.ConfigDict, model: nn.Module, placement: Placement):
        """Prepares the steps; the first batch compiles them."""
        self.config = config
        self.placement = placement
        settings = {
            "in_shardings": (placement.replicated, placement.by_example),
            "out_shardings": placement.by_example,
            "compiler_options": placement.compiler_options,
        }
        self.step = jax.jit(
            functools.partial(steps.eval_step, model=model, reader=build.reader(config, model)),
            **settings,
        )
        self.crops_step = jax.jit(functools.partial(steps.crops_step, model=model), **settings)
        self.map_size = config.eval.map_size or config.data.crop_size
        self.thresholds = localization.thresholds(config.eval.threshold_interval)

    def score(
        self, variables: dict, source: Source, keep: Sequence[int] = ()
    ) -> tuple[Scores, dict[int, Example]]:
        """Runs the network over a split and scores its predictions and maps.

        Args:
          variables: `params` and `batch_stats`.
          source: the split.
          keep: indices of images to return for pictures.

        Returns:
          The scores of the split and the kept examples, of all processes together.
        """
        scores = Scores.empty(source, self.thresholds)
        crops = self._crop_probabilities(variables, source) if self.config.eval.ten_crop else {}
        examples = {}
        for batch in self._batches(source):
            out = self.step(variables, self.placement.put_batch(batch))
            probabilities, cams = local_rows(out["probabilities"]), local_rows(out["cams"])
            for row in np.flatnonzero(batch["mask"]):
                index = int(batch["index"][row])
                whole = probabilities[row]
                chosen = crops.get(index, whole)
                score_map = localization.score_map(cams[row], self.map_size)
                scores.add(source, index, score_map, chosen, whole if crops else None)
                if index in keep:
                    best = int(chosen.argmax())
                    examples[index] = Example(
                        batch["image"][row], score_map, float(chosen[best]), best
                    )
        parts = distributed.gather(scores.to_arrays())
        every = [Scores.from_arrays(part) for part in parts]
        return functools.reduce(Scores.merge, every), gather(examples)

    def _batches(self, source: Source, **kwargs: Any) -> Any:
        return eval_batches(
            source,
            batch_size=self.config.eval.batch_size,
            image_size=self.config.data.crop_size,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            **kwargs,
        )

    def _crop_probabilities(self, variables: dict, source: Source) -> dict[int, np.ndarray]:
        """Returns the class probabilities of each image, averaged over ten crops."""
        result = {}
        resize_size = self.config.data.resize_size
        for batch in self._batches(source, ten_crop=True, resize_size=resize_size):
            out = self.crops_step(variables, self.placement.put_batch(batch))
            probabilities = local_rows(out["probabilities"])
            for row in np.flatnonzero(batch["mask"]):
                result[int(batch["index"][row])] = probabilities[row]
        return result
