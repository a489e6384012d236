"""Steps from shapes alone, compiled for any devices, also for some that are not here."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import ml_collections
import numpy as np
import optax

from ega_jax.config import build
from ega_jax.data.source import DataError
from ega_jax.evaluation.evaluator import Evaluator, variables_of
from ega_jax.models.network import Network
from ega_jax.runtime.sharding import Placement
from ega_jax.training import steps
from ega_jax.training.objective import Share


class DoesNotFitError(Exception):
    """A step needs more memory than a device has; says how much."""


@dataclasses.dataclass(frozen=True)
class DataFacts:
    """What the steps depend on of the data.

    Attributes:
      num_classes: of the labels.
      num_images: of the training split; None: so many that `epochs` take `steps`.
      class_names: needed where some classes have no object (`data.background_classes`).
    """

    num_classes: int
    num_images: int | None
    class_names: tuple[str, ...] | None = None


def data_facts(config: ml_collections.ConfigDict) -> DataFacts:
    """Takes them from the config if it says enough, from the data otherwise.

    Raises:
      DataError: the data cannot be used.
    """
    known = config.steps is not None and config.data.num_classes is not None
    if known and not config.data.background_classes:
        return DataFacts(config.data.num_classes, None)
    try:
        source = build.sources(config, ("train",))["train"]
    except DataError as error:
        raise DataError(
            f"{error}; or, to compile without data, set config.steps and config.data.num_classes"
        ) from error
    names = source.class_names if config.data.background_classes else None
    return DataFacts(source.num_classes, len(source), names)


def lower_steps(
    config: ml_collections.ConfigDict, facts: DataFacts, placement: Placement
) -> dict[str, jax.stages.Lowered]:
    """Traces the steps as training and evaluation do.

    Args:
      config: see `configs/base.py`; `batch_size` is a number.
      facts: about the data.
      placement: on the devices to compile for.

    Returns:
      `train` and `eval`, the latter of the largest view, ready to be compiled.
    """
    model, tx, state = _abstract_state(config, facts, placement)
    share = build.entropy_share(config, _num_images(config, facts))

    def batch(batch_size: int, size: int) -> dict[str, jax.ShapeDtypeStruct]:
        arrays = {
            "image": jax.ShapeDtypeStruct((batch_size, size, size, 3), np.uint8),
            "label": jax.ShapeDtypeStruct((batch_size,), np.int32),
            "mask": jax.ShapeDtypeStruct((batch_size,), np.bool_),
        }
        return _abstract(arrays, placement.by_example)

    train_step: Any = jit_train_step(config, model, tx, placement, share, facts.class_names)
    eval_step = Evaluator(config, model, placement).step
    return {
        "train": train_step.lower(state, batch(config.batch_size, config.data.crop_size)),
        "eval": eval_step.lower(
            variables_of(state), batch(config.eval.batch_size, max(build.view_sizes(config)))
        ),
    }


def lower_update(
    config: ml_collections.ConfigDict, facts: DataFacts, placement: Placement
) -> jax.stages.Lowered:
    """Traces what the training step does once, whatever its loops do; see `lower_steps`."""
    _, tx, state = _abstract_state(config, facts, placement)
    update = jax.jit(functools.partial(steps.update, tx=tx), donate_argnums=0)
    return update.lower(state, state.params, state.model_state)


def _abstract_state(
    config: ml_collections.ConfigDict, facts: DataFacts, placement: Placement
) -> tuple[Network, optax.GradientTransformation, steps.TrainState]:
    """Builds network and optimizer, and the shapes of a training state on every device."""
    model = build.model(config, facts.num_classes)
    tx = build.optimizer(config, build.schedule(config, _num_images(config, facts)))
    init = functools.partial(steps.init_state, model=model, tx=tx, image_size=config.data.crop_size)
    state = jax.eval_shape(init, jax.random.key(0))
    return model, tx, _abstract(state, placement.replicated)


def _num_images(config: ml_collections.ConfigDict, facts: DataFacts) -> int:
    """Returns how many there are, or as many as go with the length of the run."""
    found = facts.num_images or round(config.steps * config.batch_size / config.epochs)
    return max(1, found)


def jit_train_step(
    config: ml_collections.ConfigDict,
    model: Network,
    tx: optax.GradientTransformation,
    placement: Placement,
    entropy_share: Share | None = None,
    class_names: Sequence[str] | None = None,
) -> Callable:
    """Places the training step on devices: state, batch -> state (donated), sums.

    Args:
      config: of the run.
      model: its network.
      tx: its optimizer.
      placement: on the devices.
      entropy_share: see `steps.train_step`.
      class_names: see `build.objective`.
    """
    return jax.jit(
        functools.partial(
            steps.train_step,
            model=model,
            tx=tx,
            ega=build.objective(config, class_names),
            seed=config.seed,
            accumulate=config.accumulate,
            entropy_share=entropy_share,
        ),
        in_shardings=(placement.replicated, placement.by_example),
        out_shardings=placement.replicated,
        donate_argnums=0,
        compiler_options=placement.compiler_options,
    )


def compile_within(lowered: jax.stages.Lowered, memory_bytes: int) -> jax.stages.Compiled:
    """Compiles a step.

    Raises:
      DoesNotFitError: it needs more than `memory_bytes`, or than the compiler allows.
    """
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise DoesNotFitError(str(error).split("\n")[0].rstrip(".")) from error
    peak = compiled.memory_analysis().peak_memory_in_bytes
    if peak > memory_bytes:
        raise DoesNotFitError(f"it needs {peak / 2**30:.2f} of {memory_bytes / 2**30:.2f} GiB")
    return compiled


def _abstract(tree: Any, sharding: jax.sharding.Sharding) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)
