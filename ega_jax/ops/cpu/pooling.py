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
    """Sends each window's gradient to its first maximum."""
    lowest = jnp.array(-jnp.inf, x.dtype)
    sides = [(0, 0, 0), *((before, after, 0) for before, after in padding), (0, 0, 0)]
    padded = jax.lax.pad(x, lowest, sides)
    tiled = tuple(count * window for count in gradient.shape[1:3])
    if window == strides and padded.shape[1:3] == tiled:
        total = _gradient_of_tiles(padded, gradient, window)
    else:
        total = _gradient_of_windows(padded, gradient, window, strides)
    back = [(0, 0, 0), *((-before, -after, 0) for before, after in padding), (0, 0, 0)]
    return jax.lax.pad(total, jnp.zeros((), gradient.dtype), back)


def _gradient_of_tiles(x: jax.Array, gradient: jax.Array, window: int) -> jax.Array:
    """Computes the gradient where every pixel belongs to one window.

    A reduction over windows is never part of what reads it: the maximum of a window is found once,
    not for each of its pixels.
    """
    batch, rows, columns, channels = gradient.shape
    tiles = batch, rows, window, columns, window, channels
    place = window * jax.lax.broadcasted_iota(jnp.int32, tiles, 2)
    place += jax.lax.broadcasted_iota(jnp.int32, tiles, 4)

    def over_windows(values: jax.Array, start: Any, reduction: Any) -> jax.Array:
        size = 1, window, window, 1
        result = jax.lax.reduce_window(values, start, reduction, size, size, "VALID")
        return result[:, :, None, :, None]

    best = over_windows(x, -jnp.inf, jax.lax.max)
    at_best = jnp.where(x.reshape(tiles) == best, place, window * window)
    first = over_windows(at_best.reshape(x.shape), window * window, jax.lax.min)
    return jnp.where(place == first, gradient[:, :, None, :, None], 0).reshape(x.shape)


def _gradient_of_windows(x: jax.Array, gradient: jax.Array, window: int, strides: int) -> jax.Array:
    """Computes the gradient where windows overlap or leave pixels out, place by place."""
    _, height, width, _ = x.shape
    reach = [strides * (count - 1) + 1 for count in gradient.shape[1:3]]

    def pixels(place: int) -> jax.Array:
        i, j = divmod(place, window)
        return x[:, i : i + reach[0] : strides, j : j + reach[1] : strides]

    best, first = pixels(0), jnp.zeros(gradient.shape, jnp.int32)
    for place in range(1, window * window):
        found = pixels(place)
        first = jnp.where(found > best, place, first)
        best = jnp.maximum(best, found)
    zero = jnp.zeros((), gradient.dtype)
    total = jnp.zeros(x.shape, gradient.dtype)
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
    return total


_gradient = by_platform("max_pool_gradient", _plain_gradient, _cpu_gradient)
