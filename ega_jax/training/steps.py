"""Train, evaluation and prediction steps: pure functions, written over the global batch."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct

from ega_jax.methods.base import View
from ega_jax.methods.readers import Reader
from ega_jax.training.accumulate import in_parts
from ega_jax.training.objective import Objective, Share


class TrainState(struct.PyTreeNode):
    """All that training carries from step to step, and all that a checkpoint holds.

    Attributes:
      step: scalar int32, number of updates made.
      params: parameters of the network, float32.
      model_state: batch norm statistics: `batch_stats` and, with an adversarial pass,
        `batch_stats_aux`.
      opt_state: of the optimizer.
    """

    step: jax.Array
    params: Any
    model_state: Any
    opt_state: Any


def init_state(
    key: jax.Array,
    *,
    model: nn.Module,
    tx: optax.GradientTransformation,
    image_size: int,
) -> TrainState:
    """Initialises parameters, statistics and optimizer for images of `image_size` pixels."""
    images = jnp.zeros((1, image_size, image_size, 3))
    variables = dict(model.init(key, images, train=False))
    params = variables.pop("params")
    return TrainState(jnp.zeros((), jnp.int32), params, variables, tx.init(params))


def as_float(images: jax.Array) -> jax.Array:
    """Maps uint8 images to float32 in [0, 1]."""
    return images.astype(jnp.float32) / 255


def train_step(
    state: TrainState,
    batch: dict[str, jax.Array],
    *,
    model: nn.Module,
    tx: optax.GradientTransformation,
    ega: Objective,
    seed: int,
    accumulate: int = 1,
    entropy_share: Share | None = None,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Makes one update.

    Args:
      state: see `TrainState`; donated by the caller's `jax.jit`.
      batch: `image` `[B, H, W, 3]` uint8, `label` `[B]` int32, `mask` `[B]` bool.
      model: the network.
      tx: the optimizer.
      ega: the objective.
      seed: of the run; with the step it determines all randomness, so nothing needs carrying.
      accumulate: number of parts that the batch is gone through in, see `in_parts`.
      entropy_share: of the weights of the entropy terms, by step; None: all of them at every step.

    Returns:
      The new state, and masked sums over the batch of every term (divide by `count`), with
      `grad_norm`, the gradient's global norm.
    """

    def objective(model_state, batch, key):
        batch = {**batch, "image": as_float(batch["image"])}
        return ega.loss_and_grads(model, state.params, model_state, batch, key, share)

    share = None if entropy_share is None else entropy_share(state.step)
    key = jax.random.fold_in(jax.random.key(seed), state.step)
    grads, sums, model_state = in_parts(objective, accumulate)(state.model_state, batch, key)
    return update(state, grads, model_state, tx=tx), sums | {"grad_norm": optax.tree.norm(grads)}


def update(
    state: TrainState, grads: Any, model_state: Any, *, tx: optax.GradientTransformation
) -> TrainState:
    """Moves the parameters, and takes the new statistics."""
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    return TrainState(
        step=state.step + 1,
        params=optax.apply_updates(state.params, updates),
        model_state=model_state,
        opt_state=opt_state,
    )


def view(variables: dict, images: jax.Array, model: nn.Module) -> View:
    """Looks at images `[B, H, W, 3]` uint8 with a trained network, main batch norm only."""

    def forward(images: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        result: Any = model.apply(variables, images, train=False)
        return result

    images = as_float(images)
    logits, out = forward(images)
    return View(images, logits, out, forward)


def eval_step(
    variables: dict, batch: dict[str, jax.Array], *, model: nn.Module, reader: Reader
) -> dict[str, jax.Array]:
    """Classifies a batch and draws the maps of the true classes.

    Args:
      variables: `params` and `batch_stats`.
      batch: `image` `[B, H, W, 3]` uint8 and `label` `[B]`.
      model: the network.
      reader: reads maps off it.

    Returns:
      `probabilities` `[B, C]` float32 and `cams` `[B, h, w]` float32.
    """
    seen = view(variables, batch["image"], model)
    maps = reader(seen, batch["label"][:, None])
    return {"probabilities": jax.nn.softmax(seen.logits), "cams": maps[..., 0]}


def maps_step(
    variables: dict, batch: dict[str, jax.Array], *, model: nn.Module, reader: Reader
) -> dict[str, jax.Array]:
    """Classifies a batch and draws the maps of several given classes of each image.

    Args:
      variables: `params` and `batch_stats`.
      batch: `image` `[B, H, W, 3]` uint8 and `classes` `[B, K]` int32.
      model: the network.
      reader: reads maps off it.

    Returns:
      `scores` `[B, K]` of these classes and `cams` `[B, h, w, K]`, float32.
    """
    seen = view(variables, batch["image"], model)
    probabilities = jax.nn.softmax(seen.logits)
    scores = jnp.take_along_axis(probabilities, batch["classes"], axis=1)
    return {"scores": scores, "cams": reader(seen, batch["classes"])}


def all_maps_step(
    images: jax.Array, *, variables: dict, model: nn.Module, reader: Reader, in_turn: bool
) -> dict[str, jax.Array]:
    """Classifies a batch and draws the maps of all classes.

    Args:
      images: `[B, H, W, 3]` uint8.
      variables: `params` and `batch_stats`.
      model: the network.
      reader: reads maps off it.
      in_turn: one class after the other, for readers that look again for each of them: the program
        stays as long as that of one class.

    Returns:
      `probabilities` `[B, C]` and `maps` `[B, h, w, C]`, float32.
    """
    seen = view(variables, images, model)
    probabilities = jax.nn.softmax(seen.logits)
    classes = jnp.arange(probabilities.shape[1], dtype=jnp.int32)

    def of_class(label: jax.Array) -> jax.Array:
        return reader(seen, jnp.broadcast_to(label, (images.shape[0], 1)))[..., 0]

    if in_turn:
        maps = jnp.moveaxis(jax.lax.map(of_class, classes), 0, -1)
    else:
        maps = reader(seen, jnp.broadcast_to(classes, probabilities.shape))
    return {"probabilities": probabilities, "maps": maps}


def crops_step(
    variables: dict, batch: dict[str, jax.Array], *, model: nn.Module
) -> dict[str, jax.Array]:
    """Classifies by the mean of the softmax scores over crops (paper, section 4.1).

    Args:
      variables: `params` and `batch_stats`.
      batch: `image` `[B, crops, H, W, 3]` uint8.
      model: the network.

    Returns:
      `probabilities` `[B, C]` float32.
    """
    crops = batch["image"]
    flat = crops.reshape(-1, *crops.shape[2:])
    logits, _ = model.apply(variables, as_float(flat), train=False)
    scores = jax.nn.softmax(logits).reshape(*crops.shape[:2], -1)
    return {"probabilities": scores.mean(axis=1)}


def predict_step(
    variables: dict, batch: dict[str, jax.Array], *, model: nn.Module, reader: Reader, top_k: int
) -> dict[str, jax.Array]:
    """Finds the `top_k` classes of each image and their maps; needs no labels.

    Returns:
      `scores` and `classes` `[B, top_k]`, best first; `cams` `[B, h, w, top_k]`.
    """
    seen = view(variables, batch["image"], model)
    scores, classes = jax.lax.top_k(jax.nn.softmax(seen.logits), top_k)
    return {"scores": scores, "classes": classes, "cams": reader(seen, classes)}
