"""The evaluation loop: a trained network over a split, to figures, pictures and `results.json`."""

import dataclasses
import functools
import time
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import ml_collections
import numpy as np
from etils import epath

from ega_jax import build, distributed, files, localization, steps, visualize
from ega_jax import config as configs
from ega_jax.checkpoints import find, restore
from ega_jax.config import ConfigError
from ega_jax.data.pipeline import eval_batches
from ega_jax.data.source import Source
from ega_jax.models.norm import MAIN
from ega_jax.reports import report_splits
from ega_jax.scores import Scores
from ega_jax.sharding import Placement, local_rows


def evaluate(config: ml_collections.ConfigDict, workdir: str, *, checkpoint: str = "last") -> dict:
    """Scores a trained model on the validation and test splits.

    Args:
      config: that of the run; data and `eval` fields may differ from training.
      workdir: of the run; receives `results.json`, pictures and the files of `per_image.py`.
      checkpoint: `last`, `best`, a step or a path.

    Returns:
      What `results.json` holds.

    Raises:
      ConfigError, DataError: the config or the data cannot be used.
      CheckpointError: the checkpoint is missing, damaged or of another model.
    """
    began = time.monotonic()
    placement = Placement()
    configs.check(config, placement.num_devices)
    path = find(workdir, checkpoint)
    configs.check_same_network(config, path.parents[2])
    class_names = configs.load_class_names(path.parents[2])
    sources = build.sources(config, ("val", "test"), class_names)
    if not sources:
        raise ConfigError("the data has neither a val nor a test split; nothing to evaluate")
    model = build.model(config, len(class_names))
    evaluator = Evaluator(config, model, placement)
    variables = restore_variables(path, model, config.data.crop_size, placement)
    results = report(evaluator, variables, int(path.name), sources, workdir)
    results["seconds"] = round(time.monotonic() - began, 1)
    num_images = sum(len(source) for source in sources.values())
    results["images_per_second"] = round(num_images / results["seconds"], 2)
    if distributed.is_lead():
        files.write_json(epath.Path(workdir) / "results.json", results)
    return results


def report(
    evaluator: "Evaluator",
    variables: dict,
    step: int,
    sources: Mapping[str, Source],
    workdir: str,
    *,
    validation: Scores | None = None,
    writer: Any = None,
) -> dict:
    """Scores the test split, draws pictures, writes tables, and prints the figures.

    Args:
      evaluator: of the network.
      variables: its parameters and statistics.
      step: of the checkpoint.
      sources: `test`, and `val` for the thresholds carried over; either may be absent.
      workdir: receives `pictures/*.png` and the files of `per_image.py`.
      validation: scores of the validation split, if they are known already.
      writer: also receives the pictures, if given.

    Returns:
      What `results.json` holds, without times; without figures on all processes but the lead.
    """
    config = evaluator.config
    scores: dict[str, Scores] = {}
    if validation is not None:
        scores["val"] = validation
    elif "val" in sources:
        scores["val"], _ = evaluator.score(variables, sources["val"])
    if "test" in sources:
        count = min(config.eval.pictures, len(sources["test"]))
        keep = np.linspace(0, len(sources["test"]) - 1, count).round().astype(int).tolist()
        scores["test"], examples = evaluator.score(variables, sources["test"], keep)
    results = {"config": config.to_dict(), "step": step}
    if not distributed.is_lead():
        return results
    results |= report_splits(
        scores,
        sources,
        workdir,
        threshold=config.eval.threshold,
        resamples=config.eval.bootstrap,
    )
    if "test" in sources:
        threshold = results["test"].get("val", {}).get("threshold", config.eval.threshold)
        for name, sheet in pictures(sources["test"], examples, threshold).items():
            visualize.save_png(epath.Path(workdir) / "pictures" / f"{name}.png", sheet)
            if writer:
                writer.write_images(step, {name: sheet[None]})
    return results


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


@dataclasses.dataclass
class Example:
    """One evaluated image, kept for a picture.

    Attributes:
      image: `[S, S, 3]` uint8, as the network saw it.
      score_map: `[M, M]` of the true class.
      probability: of the predicted class.
      prediction: the predicted class.
    """

    image: np.ndarray
    score_map: np.ndarray
    probability: float
    prediction: int


class Evaluator:
    """Scores splits with one compiled step."""

    def __init__(self, config: ml_collections.ConfigDict, model: nn.Module, placement: Placement):
        """Prepares the steps; the first batch compiles them."""
        self.config = config
        self.placement = placement
        shardings = {
            "in_shardings": (placement.replicated, placement.by_example),
            "out_shardings": placement.by_example,
        }
        self.step = jax.jit(
            functools.partial(steps.eval_step, model=model, reader=build.reader(config, model)),
            **shardings,
        )
        self.crops_step = jax.jit(functools.partial(steps.crops_step, model=model), **shardings)
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
        return functools.reduce(Scores.merge, every), _gather_examples(examples)

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


def _gather_examples(examples: Mapping[int, Example]) -> dict[int, Example]:
    """Adds the examples of all processes to those of this one."""
    fields = [field.name for field in dataclasses.fields(Example)]
    columns = {
        f"{index}/{name}": np.asarray(getattr(example, name))
        for index, example in examples.items()
        for name in fields
    }
    every = {
        name: value if value.ndim else value.item()
        for part in distributed.gather(columns)
        for name, value in part.items()
    }
    indices = sorted({int(name.partition("/")[0]) for name in every})
    return {i: Example(**{name: every[f"{i}/{name}"] for name in fields}) for i in indices}


def pictures(
    source: Source, examples: Mapping[int, Example], threshold: float
) -> dict[str, np.ndarray]:
    """Draws evaluated images as the paper's Fig. 5 (boxes) and, with masks, Fig. 6.

    Args:
      source: the split.
      examples: by index, from `Evaluator.score`.
      threshold: at which box and mask are cut out of the score map.

    Returns:
      `boxes` and `masks`, grids `[H, W, 3]` uint8, those that the split has ground truth for;
      `maps` if it has none.
    """
    tiles: dict[str, list[np.ndarray]] = {}
    for index, example in examples.items():
        shown = visualize.enlarge(example.image, 192)
        scale = len(shown) / len(example.image)
        size = len(example.image)
        hot = visualize.heat_map(shown, example.score_map)
        mark = "" if example.prediction == source.labels[index] else " (wrong)"
        name = source.class_names[example.prediction]
        text = f"{source.image_ids[index]}: {name} {example.probability:.2f}{mark}"
        if source.boxes is not None:
            truth = localization.scale_boxes(source.boxes[index], source.image_sizes[index], size)
            box = localization.largest_box(example.score_map, threshold, (size, size))
            both = visualize.draw_boxes(hot, truth, visualize.RED, scale)
            both = visualize.draw_boxes(both, box, visualize.BLUE, scale)
            plain = visualize.draw_boxes(shown, truth, visualize.RED, scale)
            tiles.setdefault("boxes", []).append(_pair(plain, both, text))
        if source.load_mask is not None:
            truth, _ = source.load_mask(index, size)
            found = example.score_map > threshold
            plain = visualize.draw_mask(shown, truth, visualize.BLUE)
            other = visualize.draw_mask(shown, found, visualize.RED)
            tiles.setdefault("masks", []).append(_pair(plain, other, text))
        if source.boxes is None and source.load_mask is None:
            tiles.setdefault("maps", []).append(_pair(shown, hot, text))
    return {name: visualize.grid(sheet) for name, sheet in tiles.items()}


def _pair(left: np.ndarray, right: np.ndarray, text: str) -> np.ndarray:
    return visualize.caption(np.concatenate([left, right], axis=1), text)
