"""A trained network with both of its batch norms, and test images to look at it with."""

import dataclasses
import functools
import os
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from ega_jax.config import build, store
from ega_jax.data.pipeline import eval_batches
from ega_jax.data.source import Source, with_objects, without
from ega_jax.models.network import Network
from ega_jax.models.norm import AUX, MAIN
from ega_jax.runtime.checkpoints import find, restore
from ega_jax.runtime.errors import ConfigError
from ega_jax.runtime.sharding import Placement


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained network.

    Attributes:
      name: of its run, for captions.
      config: of its run.
      class_names: in the order of the labels.
      model: the network.
      variables: its parameters, and the statistics of all its batch norms.
    """

    name: str
    config: ml_collections.ConfigDict
    class_names: tuple[str, ...]
    model: Network
    variables: dict[str, Any]


def load(
    workdir: str | os.PathLike, name: str, given: ml_collections.ConfigDict | None = None
) -> Trained:
    """Reads the network of a run.

    Args:
      workdir: of the run.
      name: for captions.
      given: the run's config with other free fields; None: as the run has it.

    Raises:
      CheckpointError, ConfigError: there is none, or it is damaged.
    """
    which = (given or store.load(workdir)).eval.checkpoint
    path = find(workdir, which)
    run = store.of_checkpoint(path)
    config = run.config if given is None else store.settle(run.config, given, path)
    model = build.model(config, len(run.class_names))
    size = config.data.crop_size
    images = jax.ShapeDtypeStruct((1, size, size, 3), "float32")
    drawn = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), images)
    template = dict(drawn)
    params = template.pop("params")
    state = {name: value for name, value in template.items() if name in (MAIN, AUX)}
    saved = restore(
        path,
        {"params": params, "model_state": state},
        sharding=Placement().replicated,
        partial=True,
    )
    variables = {"params": saved["params"], **saved["model_state"]}
    return Trained(name, config, run.class_names, model, variables)


def sample(trained: Trained, number: int) -> dict[str, np.ndarray]:
    """Returns test images of a run, at equal distances in the split.

    Args:
      trained: whose data they are.
      number: how many, or fewer if there are not so many with an object.

    Returns:
      `image` `[N, S, S, 3]` uint8 and `label` `[N]`.

    Raises:
      ConfigError: the data have no test split.
    """
    sources = build.sources(trained.config, ("test",), trained.class_names)
    source = with_objects(sources["test"]) if sources else None
    if source is None:
        raise ConfigError("the data have no test images with an object; set config.data")
    source = _some(source, number)
    size = trained.config.data.crop_size
    (batch,) = eval_batches(source, batch_size=len(source), image_size=size)
    return {name: np.asarray(batch[name]) for name in ("image", "label")}


def as_floats(images: np.ndarray) -> jax.Array:
    """Brings uint8 images to [0, 1], as networks take them."""
    return jnp.asarray(images, jnp.float32) / 255


def _some(source: Source, number: int) -> Source:
    places = np.linspace(0, len(source) - 1, min(number, len(source))).round().astype(int)
    kept = {source.image_ids[place] for place in places}
    others = {name: "not looked at" for name in source.image_ids if name not in kept}
    return without(source, others) if others else source
