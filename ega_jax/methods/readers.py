"""Other ways to read maps off a trained network, whatever it was trained as.

A reader takes a `View` of a batch and the classes wanted, and returns their maps, as a method's own
`read` does. All here explain the input of one module, `layer`, by its path: `head/classifier` is
what the classifier reads, `head` the output of the trunk, `conv5_1` what that convolution sees.
With f_k its channels and g_k the derivative of the class's logit with respect to them,

| reader | map | source |
| --- | --- | --- |
| `grad_cam` | ReLU(sum_k mean(g_k) f_k) | Selvaraju et al., ICCV 2017 |
| `grad_cam_pp` | ReLU(sum_k (sum a_k ReLU(g_k)) f_k) | Chattopadhay et al., WACV 2018 |
| `layer_cam` | ReLU(sum_k ReLU(g_k) f_k) | Jiang et al., TIP 2021 |
| `score_cam` | ReLU(sum_k s_k f_k) | Wang et al., CVPR workshop 2020 |

a_k = g_k^2 / (2 g_k^2 + (sum f_k) g_k^3); s_k: the class's softmax score, relative to those of the
other channels by a softmax over k, of the image seen through f_k scaled to [0, 1].
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ega_jax.methods.base import Forward, View
from ega_jax.ops import class_maps

Reader = Callable[[View, jax.Array], jax.Array]

_AT_ONCE = 16  # channels whose masked images go through the network together


def grad_cam(view: View, classes: jax.Array, *, layer: str) -> jax.Array:
    """Weights channels by the mean of their gradient; arguments and result as of `Method.read`."""
    return _per_class(_grad_cam, view, classes, layer)


def grad_cam_pp(view: View, classes: jax.Array, *, layer: str) -> jax.Array:
    """Weights channels by a weighted mean of their positive gradients.

    Paper: derivatives of the exponential of the logit, whose third-order terms then are powers of
    the gradient. Here: the same, up to that exponential, a positive factor of each map.
    """
    return _per_class(_grad_cam_pp, view, classes, layer)


def layer_cam(view: View, classes: jax.Array, *, layer: str) -> jax.Array:
    """Weights every cell of every channel by its positive gradient."""
    return _per_class(_layer_cam, view, classes, layer)


def score_cam(view: View, classes: jax.Array, *, layer: str) -> jax.Array:
    """Weights channels by the score that they leave the class; one forward pass for each channel.

    Paper: the increase over the score of a black image. Here: the score, as in the authors' code;
    the softmax over the channels makes no difference between them.
    """
    _, found = _apply(view.forward, view.images, layer)
    batch, _, _, channels = found.shape
    size = view.images.shape[1:3]

    def scores(channel: jax.Array) -> jax.Array:
        """`[B, K]` for one channel `[B, h, w]`."""
        mask = class_maps.min_max(jax.image.resize(channel, (batch, *size), "bilinear"))
        logits, _ = view.forward(view.images * mask[..., None])
        return jnp.take_along_axis(jax.nn.softmax(logits), classes, axis=1)

    each = jax.lax.map(scores, jnp.moveaxis(found, -1, 0), batch_size=min(_AT_ONCE, channels))
    weights = jax.nn.softmax(each, axis=0)  # [channels, B, K]
    return nn.relu(jnp.einsum("bhwf,fbk->bhwk", found, weights))


def check_layer(model: nn.Module, layer: str, image_size: int) -> None:
    """Looks for the module that a reader is to explain; computes nothing.

    Args:
      model: the network.
      layer: path of the module.
      image_size: side of the images, in pixels.

    Raises:
      KeyError: there is no such module, or it is called more than once.
    """

    def look(key: jax.Array, images: jax.Array) -> jax.Array:
        variables = model.init(key, images, train=False)
        forward: Any = functools.partial(model.apply, variables, train=False)
        return _apply(forward, images, layer)[1]

    images = jax.ShapeDtypeStruct((1, image_size, image_size, 3), jnp.float32)
    jax.eval_shape(look, jax.random.key(0), images)


READERS: dict[str, Callable[..., jax.Array]] = {
    "grad_cam": grad_cam,
    "grad_cam_pp": grad_cam_pp,
    "layer_cam": layer_cam,
    "score_cam": score_cam,
}


def _grad_cam(f: jax.Array, g: jax.Array) -> jax.Array:
    return g.mean(axis=(1, 2), keepdims=True) * f


def _grad_cam_pp(f: jax.Array, g: jax.Array) -> jax.Array:
    below = 2 * g**2 + f.sum(axis=(1, 2), keepdims=True) * g**3
    share = g**2 / jnp.where(below == 0, 1.0, below)
    return (share * nn.relu(g)).sum(axis=(1, 2), keepdims=True) * f


def _layer_cam(f: jax.Array, g: jax.Array) -> jax.Array:
    return nn.relu(g) * f


def _per_class(weighted: Callable, view: View, classes: jax.Array, layer: str) -> jax.Array:
    """Takes one gradient for each of the classes: `[B, h, w, K]`."""

    def of(classes: jax.Array) -> jax.Array:
        f, g = _features_and_gradient(view, classes, layer)
        return nn.relu(weighted(f, g).sum(axis=-1))

    return jnp.stack([of(of_rank) for of_rank in classes.T], axis=-1)


def _features_and_gradient(
    view: View, classes: jax.Array, layer: str
) -> tuple[jax.Array, jax.Array]:
    """Returns the input `[B, h, w, F]` of a module, and the derivative of the classes' logits."""

    def score(change: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits, found = _apply(view.forward, view.images, layer, change)
        return jnp.take_along_axis(logits, classes[:, None], axis=1).sum(), found

    shape = jax.eval_shape(lambda: _apply(view.forward, view.images, layer)[1])
    gradient, found = jax.grad(score, has_aux=True)(jnp.zeros(shape.shape, jnp.float32))
    return found, gradient


def _apply(
    forward: Forward, images: jax.Array, layer: str, change: jax.Array | float = 0.0
) -> tuple[jax.Array, jax.Array]:
    """Runs the network with something added to the input of a module.

    Returns:
      Logits `[B, C]`, and that input as it was, in float32.

    Raises:
      KeyError: there is no such module, or it is called more than once.
    """
    path, found, names = tuple(layer.split("/")), [], {}

    def intercept(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext):
        names.update(dict.fromkeys(context.module.path[:1]))
        if context.module.path != path or context.method_name != "__call__":
            return call(*args, **kwargs)
        x, *rest = args
        found.append(x.astype(jnp.float32))
        return call((x + change).astype(x.dtype), *rest, **kwargs)

    with nn.intercept_methods(intercept):
        logits, _ = forward(images)
    if not found:
        raise KeyError(
            f"the network has no module {layer!r}; there are {', '.join(names)} and those inside "
            "them, head/classifier for one"
        )
    if len(found) > 1:
        raise KeyError(f"the network calls {layer!r} {len(found)} times; choose another module")
    return logits, found[0]
