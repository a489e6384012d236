"""Runs of no steps (`config.steps=0`): a network as it is drawn, or as its weights were published.

Such a run needs no training split where `data.class_names` names the classes. Whichever mode comes
first writes its checkpoint.
"""

import functools
import logging

import jax
import ml_collections
from etils import epath

from ega_jax.config import build, store
from ega_jax.config.check import check
from ega_jax.models.network import Network
from ega_jax.models.weights import load
from ega_jax.runtime import checkpoints, devices, distributed, files, lock
from ega_jax.runtime.sharding import Placement
from ega_jax.training import steps

logger = logging.getLogger(__name__)

# What `data.json` says of a run that has seen no images; see `store.data_facts`.
_NO_IMAGES = {"train_images": 0, "train_digest": ""}


def locate_weights(config: ml_collections.ConfigDict) -> epath.Path | None:
    """Returns where the weights to start from are, fetched if they have to be; None: from scratch.

    Raises:
      WeightFileError: they are nowhere.
    """
    model = config.model
    if not model.pretrained:
        return None
    return load.locate(model.pretrained, model.name, batch_norm=model.batch_norm, width=model.width)


def fresh_state(
    config: ml_collections.ConfigDict,
    model: Network,
    init: functools.partial[steps.TrainState],
    placement: Placement,
) -> steps.TrainState:
    """Draws the state that a run begins with, and reads into it what is pretrained.

    Args:
      config: of the run.
      model: its network.
      init: of a key makes a state.
      placement: of its arrays.

    Raises:
      WeightFileError, CheckpointError: the weights cannot be used.
    """
    draw = jax.jit(
        init,
        out_shardings=placement.replicated,
        compiler_options=placement.drawing_options,
    )
    state = draw(jax.random.key(config.seed))
    weights = locate_weights(config)
    if weights is None:
        return state
    variables = load.load(weights, model, {"params": state.params, **state.model_state})
    variables = placement.replicate(variables)
    return state.replace(params=variables.pop("params"), model_state=variables)


def ensure(config: ml_collections.ConfigDict, workdir: str) -> None:
    """Writes the checkpoint of a run of no steps, unless there is one or it has steps.

    Args:
      config: of the run.
      workdir: receives the checkpoint, `config.json` and `classes.json`.

    Raises:
      ConfigError, DataError, WeightFileError, CheckpointError: config, classes or weights cannot be
        used.
      WorkdirInUseError: another process is there.
    """
    if config.steps != 0 or checkpoints.exist(workdir):
        return
    placement = Placement()
    check(config, placement.num_devices)
    class_names = build.named_classes(config)
    if class_names is None:
        class_names = build.sources(config, ("train",))["train"].class_names
    model = build.model(config, len(class_names))
    init = functools.partial(
        steps.init_state,
        model=model,
        tx=build.optimizer(config, lambda step: 0.0),
        image_size=config.data.crop_size,
    )
    with lock.only_one(workdir):
        state = fresh_state(config, model, init, placement)
        run = store.describe(config, class_names)
        with checkpoints.Checkpoints(workdir, keep=config.checkpoint.keep, run=run) as saved:
            saved.save(state)
        if distributed.is_lead():
            store.save(workdir, config, class_names, _NO_IMAGES)
    logger.info("A run of no steps, %d classes: %s", len(class_names), workdir)


def without_data(config: ml_collections.ConfigDict, workdir: str) -> dict:
    """Writes the checkpoint and the results of a run of no steps that nothing is evaluated of.

    Results that are there, of an evaluation when there were data, stay.

    Returns:
      What `results.json` holds.

    Raises:
      ConfigError: the workdir is another run's.
    """
    ensure(config, workdir)
    path = checkpoints.find(workdir, "last")
    run = store.of_checkpoint(path)
    config = store.settle(run.config, config, path)
    store.check_place(workdir, run)
    place = epath.Path(workdir) / "results.json"
    if place.exists():
        logger.info("Nothing is evaluated: config.data.root is empty. Figures: %s", place)
        return store.read_json(place)
    results = {"config": config.to_dict(), "step": 0, "device": devices.describe()}
    if distributed.is_lead():
        files.write_json(place, results)
        logger.info("Nothing is evaluated: config.data.root is empty.")
    return results
