"""Maximum pooling whose gradient needs no search and no scatter on a CPU.

XLA's CPU backend expands the gradient of a maximum pool (`select_and_scatter`) into a window
reduction that carries the index of the maximum in every dimension, and a scatter. Comparing the few
pixels of every window in turn does without both.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from ega_jax.ops.cpu.platform import by_platform

Pairs = tuple[tuple[int, int], ...]


def max_pool(x: jax.Array, window: int, strides: int, padding: Pairs) -> jax.Array:
    """Takes the maximum over square windows.

    Args:
      x: `[B, H, W, C]`, floating point.
      window: side of a window.
      strides: between windows.
      padding: pixels before and after in height and width, which never win.

    Returns:
      `[B, h, w, C]`. Where several pixels of a window are the maximum, the gradient goes to the
      first of them, row by row.
    """
    return _max_pool(x, window, strides, padding)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _max_pool(x: jax.Array, window: int, strides: int, padding: Pairs) -> jax.Array:
    return _plain(x, window=window, strides=strides, padding=padding)


def _forward(
    x: jax.Array, window: int, strides: int, padding: Pairs
) -> tuple[jax.Array, jax.Array]:
    return _plain(x, window=window, strides=strides, padding=padding), x


def _backward(
    window: int, strides: int, padding: Pairs, x: jax.Array, gradient: jax.Array
) -> tuple[jax.Array]:
    return (_gradient(x, gradient, window=window, strides=strides, padding=padding),)


_max_pool.defvjp(_forward, _backward)


def _plain(x: jax.Array, *, window: int, strides: int, padding: Pairs) -> jax.Array:
    return jax.lax.reduce_window(
        x,
        -jnp.inf,
        jax.lax.max,
        (1, window, window, 1),
        (1, strides, strides, 1),
        ((0, 0), *padding, (0, 0)),
    )


def _plain_gradient(x: jax.Array, gradient: jax.Array, **settings: Any) -> jax.Array:
    return jax.vjp(functools.partial(_plain, **settings), x)[1](gradient)[0]


def _cpu_gradient(
    x: jax.Array, gradient: jax.Array, *, window: int, strides: int, padding: Pairs
) -> jax.Array:
    """Sends each window's gradient to its first maximum, one place of the window at a time."""
    lowest = jnp.array(-jnp.inf, x.dtype)
    sides = [(0, 0, 0), *((before, after, 0) for before, after in padding), (0, 0, 0)]
    padded = jax.lax.pad(x, lowest, sides)
    _, height, width, _ = padded.shape
    _, rows, columns, _ = gradient.shape
    reach = [strides * (count - 1) + 1 for count in (rows, columns)]

    def pixels(place: int) -> jax.Array:
        i, j = divmod(place, window)
        return padded[:, i : i + reach[0] : strides, j : j + reach[1] : strides]

    best, first = pixels(0), jnp.zeros(gradient.shape, jnp.int32)
    for place in range(1, window * window):
        found = pixels(place)
        first = jnp.where(found > best, place, first)
        best = jnp.maximum(best, found)
    first = _computed_once(first)

    if window == strides and (height, width) == (rows * window, columns * window):
        # Windows that tile the image: every pixel belongs to one.
        shape = (x.shape[0], rows, window, columns, window, x.shape[3])
        place = window * jax.lax.broadcasted_iota(jnp.int32, shape, 2)
        place += jax.lax.broadcasted_iota(jnp.int32, shape, 4)
        mine = place == first[:, :, None, :, None]
        total = jnp.where(mine, gradient[:, :, None, :, None], 0).reshape(padded.shape)
    else:
        zero = jnp.zeros((), gradient.dtype)
        total = jnp.zeros(padded.shape, gradient.dtype)
        for place in range(window * window):
            i, j = divmod(place, window)
            # A stride's pixels between two windows, and what is left at either side.
            spread = [
                (0, 0, 0),
                (i, height - i - reach[0], strides - 1),
                (j, width - j - reach[1], strides - 1),
                (0, 0, 0),
            ]
            total += jax.lax.pad(jnp.where(first == place, gradient, 0), zero, spread)
    back = [(0, 0, 0), *((-before, -after, 0) for before, after in padding), (0, 0, 0)]
    return jax.lax.pad(total, jnp.zeros((), gradient.dtype), back)


def _computed_once(places: jax.Array) -> jax.Array:
    """Returns non-negative integers as they are, as memory that whoever reads them reads.

    XLA computes what is cheap within each of its readers: here the maximum of a window for every
    pixel, from the batch norm on. It keeps the results of reductions over windows; this one takes
    the maximum of each number and the zero that pads it.
    """
    window = (1,) * places.ndim + (2,)
    padding = ((0, 0),) * places.ndim + ((0, 1),)
    once = jax.lax.reduce_window(
        places[..., None], 0, jax.lax.max, window, (1,) * len(window), padding
    )
    return once[..., 0]


_gradient = by_platform("max_pool_gradient", _plain_gradient, _cpu_gradient)
