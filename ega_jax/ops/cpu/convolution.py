"""Convolutions for CPUs: depthwise, to few channels, and the gradient of kernels.

Everything else is XLA's own; `docs/cpu.md` says what is chosen where.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ega_jax.ops.cpu.platform import by_platform
from ega_jax.runtime.cpu import has_avx512

LAYOUT = ("NHWC", "HWIO", "NHWC")
Pairs = tuple[tuple[int, int], ...]


def convolve(
    x: jax.Array,
    kernel: jax.Array,
    *,
    strides: tuple[int, ...] = (1, 1),
    padding: Pairs = ((0, 0), (0, 0)),
    groups: int = 1,
) -> jax.Array:
    """Convolves images with a kernel.

    Args:
      x: `[B, H, W, C]`.
      kernel: `[kh, kw, C / groups, K]`, of the same type.
      strides: in height and width.
      padding: zeros before and after in height and width.
      groups: of channels that see only each other; `C` for a depthwise convolution.

    Returns:
      `[B, h, w, K]`, of the same type.
    """
    return _convolve(x, kernel, strides, padding, groups)


class Convolution:
    """`jax.lax.conv_general_dilated` for `flax.linen.Conv(conv_general_dilated_cls=Convolution)`.

    What is no plain convolution of images, dilated for example, is left to JAX.
    """

    def __call__(
        self,
        lhs: jax.Array,
        rhs: jax.Array,
        window_strides: Sequence[int],
        padding: str | Sequence[tuple[int, int]],
        lhs_dilation: Sequence[int] | None = None,
        rhs_dilation: Sequence[int] | None = None,
        dimension_numbers: Any = None,
        feature_group_count: int = 1,
        precision: Any = None,
    ) -> jax.Array:
        """Convolves; arguments are those of `jax.lax.conv_general_dilated`."""
        dilated = any(d != 1 for d in (*(lhs_dilation or ()), *(rhs_dilation or ())))
        numbers = jax.lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
        known = lhs.ndim == 4 and numbers == jax.lax.conv_dimension_numbers(
            lhs.shape, rhs.shape, LAYOUT
        )
        if dilated or not known or precision is not None:
            return jax.lax.conv_general_dilated(
                lhs,
                rhs,
                window_strides,
                padding,
                lhs_dilation=lhs_dilation,
                rhs_dilation=rhs_dilation,
                dimension_numbers=dimension_numbers,
                feature_group_count=feature_group_count,
                precision=precision,
            )
        height, width = window_strides
        if isinstance(padding, str):
            padding = jax.lax.padtype_to_pads(
                lhs.shape[1:3], rhs.shape[:2], window_strides, padding
            )
        rows, columns = ((before, after) for before, after in padding)
        return convolve(
            lhs,
            rhs,
            strides=(height, width),
            padding=(rows, columns),
            groups=feature_group_count,
        )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _convolve(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], padding: Pairs, groups: int
) -> jax.Array:
    return _forward(x, kernel, strides=strides, padding=padding, groups=groups)


@jax.tree_util.register_static
class _Sizes(tuple):
    """Sides of image and kernel, on their way from the forward to the backward pass."""


def _keep(
    x: Any, kernel: Any, strides: tuple[int, ...], padding: Pairs, groups: int
) -> tuple[jax.Array, tuple]:
    """Keeps what the gradients that are wanted need, and no more."""
    y = _forward(x.value, kernel.value, strides=strides, padding=padding, groups=groups)
    sizes = _Sizes((x.value.shape[1:3], kernel.value.shape[:2]))
    return y, (
        x.value if kernel.perturbed else None,
        kernel.value if x.perturbed else None,
        sizes,
    )


def _backward(
    strides: tuple[int, ...], padding: Pairs, groups: int, kept: tuple, gradient: jax.Array
) -> tuple[jax.Array | None, jax.Array | None]:
    x, kernel, (image_size, kernel_size) = kept
    settings = {"strides": strides, "padding": padding, "groups": groups}
    of_x = of_kernel = None
    if kernel is not None:
        of_x = _input_gradient(kernel, gradient, size=image_size, **settings)
    if x is not None:
        of_kernel = _kernel_gradient(x, gradient, size=kernel_size, **settings)
    return of_x, of_kernel


_convolve.defvjp(_keep, _backward, symbolic_zeros=True)


# The plain formulations: JAX's own, of every platform but the CPU.


def _plain(
    x: jax.Array, kernel: jax.Array, *, strides: tuple[int, ...], padding: Pairs, groups: int
) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=LAYOUT, feature_group_count=groups
    )


def _plain_input_gradient(
    kernel: jax.Array, gradient: jax.Array, *, size: tuple[int, int], groups: int, **settings: Any
) -> jax.Array:
    channels = groups * kernel.shape[2]
    x = jax.ShapeDtypeStruct((gradient.shape[0], *size, channels), gradient.dtype)
    forward = functools.partial(_plain, kernel=kernel, groups=groups, **settings)
    return jax.linear_transpose(forward, x)(gradient)[0]


def _plain_kernel_gradient(
    x: jax.Array, gradient: jax.Array, *, size: tuple[int, int], groups: int, **settings: Any
) -> jax.Array:
    shape = (*size, x.shape[3] // groups, gradient.shape[3])
    kernel = jax.ShapeDtypeStruct(shape, gradient.dtype)
    forward = functools.partial(_plain, x, groups=groups, **settings)
    return jax.linear_transpose(forward, kernel)(gradient)[0]


# The formulations for CPUs.

# Bounds on the columns of a product that computes neighbouring pixels as channels, where the image
# has up to `_COLOURS` channels and where it has more; by whether there is AVX-512.
_COLOURS = 4
_COLUMNS_OF_COLOURS, _COLUMNS = {False: 32, True: 64}, {False: 24, True: 32}
# From so many channels on either side, pixels and pixels of a batch, the two by whether there is
# AVX-512, the kernel's gradient is a product of matrices for each of its rows.
_WIDE, _LARGE, _MANY = 64, {False: 14 * 14, True: 28 * 28}, {False: 0, True: 6000}
_ONE_BY_ONE = 16 * 16  # pixels of an image from which on it has a product of its own


def _depthwise(kernel: jax.Array, groups: int) -> bool:
    return kernel.shape[2] == 1 and kernel.shape[3] == groups > 1


def _cpu(x: jax.Array, kernel: jax.Array, *, strides, padding, groups) -> jax.Array:
    if _depthwise(kernel, groups):
        return _sum_of_shifts(x, kernel, strides, padding)
    pixels = _pixels_at_once(x, kernel, strides, padding, groups)
    if pixels > 1:
        return _pixels_as_channels(x, kernel, padding, pixels)
    return _plain(x, kernel, strides=strides, padding=padding, groups=groups)


def _cpu_input_gradient(
    kernel: jax.Array, gradient: jax.Array, *, size, strides, padding, groups
) -> jax.Array:
    depthwise = _depthwise(kernel, groups)
    if not depthwise and (strides != (1, 1) or groups > 1):
        return _plain_input_gradient(
            kernel, gradient, size=size, strides=strides, padding=padding, groups=groups
        )
    # It is a convolution with the kernel turned round, of the gradient, with zeros between its
    # pixels where there were strides.
    turned = jnp.flip(kernel, (0, 1))
    if groups == 1:
        turned = turned.swapaxes(2, 3)
    if strides != (1, 1):
        between = [(0, 0, 0), *((0, 0, stride - 1) for stride in strides), (0, 0, 0)]
        gradient = jax.lax.pad(gradient, jnp.zeros((), gradient.dtype), between)
    sides = tuple(
        (k - 1 - before, whole - rest + before)
        for k, whole, rest, (before, _) in zip(
            kernel.shape[:2], size, gradient.shape[1:3], padding, strict=True
        )
    )
    return _cpu(gradient, turned, strides=(1, 1), padding=sides, groups=groups)


def _cpu_kernel_gradient(
    x: jax.Array, gradient: jax.Array, *, size, strides, padding, groups
) -> jax.Array:
    depthwise = groups > 1 and groups == x.shape[3] == gradient.shape[3]
    if depthwise:
        total = _sum_of_rows(x, gradient, size, strides, padding)
    elif groups == 1 and (size == (1, 1) or _worth_products(x, gradient)):
        total = _products(x, gradient, size, strides, padding)
    else:
        return _plain_kernel_gradient(
            x, gradient, size=size, strides=strides, padding=padding, groups=groups
        )
    shape = (*size, x.shape[3] // groups, gradient.shape[3])
    return total.reshape(shape).astype(gradient.dtype)


def _worth_products(x: jax.Array, gradient: jax.Array) -> bool:
    """Says whether a kernel of several pixels gets its gradient from products of matrices."""
    avx512 = has_avx512()
    batch, height, width, features = gradient.shape
    large = height * width >= _LARGE[avx512] and batch * height * width >= _MANY[avx512]
    return min(x.shape[3], features) >= _WIDE and large


def _products(
    x: jax.Array,
    gradient: jax.Array,
    kernel_size: tuple[int, int],
    strides: tuple[int, ...],
    padding: Pairs,
) -> jax.Array:
    """Returns the gradient `[kh, kw * C, K]` of a kernel, a product of matrices for each row.

    The pixels that a row of the kernel sees lie side by side as channels. XLA's own formulation has
    the batch as channels, which are few, and no cache holds its kernel, a whole image.
    """
    x, gradient = x.astype(jnp.float32), gradient.astype(jnp.float32)
    (height, width), (down, right) = kernel_size, strides
    _, rows, columns, features = gradient.shape
    padded_rows = x.shape[1] + sum(padding[0])
    side_by_side = _shifts(x, (1, width), (padded_rows, columns), (1, right), padding)
    x = jnp.concatenate(side_by_side, axis=3)
    if width > 1:  # in memory, not once more for each row
        x = jax.lax.optimization_barrier(x)
    seen = _shifts(x, (height, 1), (rows, columns), (down, 1), ((0, 0), (0, 0)))
    if x.shape[3] <= features:
        return jnp.stack([_product(pixels, gradient) for pixels in seen])
    # What has fewer channels is to be transposed, and then the result, which is small. Without the
    # barrier XLA would turn the products round once more.
    totals = jnp.stack([_product(gradient, pixels) for pixels in seen])
    return jax.lax.optimization_barrier(totals).swapaxes(1, 2)


def _product(x: jax.Array, y: jax.Array) -> jax.Array:
    """Sums the products `[C, K]` of the channels `[B, h, w, C]` and `[B, h, w, K]` up.

    Large images one by one, so that the cache holds what is transposed.
    """
    x, y = (a.reshape(a.shape[0], -1, a.shape[3]) for a in (x, y))
    if x.shape[1] < _ONE_BY_ONE:
        return jax.lax.dot_general(x, y, (((0, 1), (0, 1)), ((), ())))
    return jax.lax.dot_general(x, y, (((1,), (1,)), ((0,), (0,)))).sum(axis=0)


def _sum_of_shifts(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], padding: Pairs
) -> jax.Array:
    """Convolves each channel with its own kernel, a sum of shifted images."""
    size = [
        (side + before + after - k) // stride + 1
        for side, k, stride, (before, after) in zip(
            x.shape[1:3], kernel.shape[:2], strides, padding, strict=True
        )
    ]
    weights = kernel.reshape(-1, x.shape[3]).astype(jnp.float32)
    shifts = _shifts(x, kernel.shape[:2], size, strides, padding)
    total = sum(w * s for w, s in zip(weights, shifts, strict=True)).astype(x.dtype)
    # Without the barrier XLA computes it within whatever reads it, the strided sums of a batch norm
    # among them, and in each of them again.
    return jax.lax.optimization_barrier(total)


def _sum_of_rows(
    x: jax.Array,
    gradient: jax.Array,
    kernel_size: tuple[int, int],
    strides: tuple[int, ...],
    padding: Pairs,
) -> jax.Array:
    """Returns the gradient `[kh * kw, C]` of a depthwise kernel.

    A sum over batch, height and width at once goes through memory in strides. Row by row, what is
    added up is small enough to stay in the cache, and a batch may be split over devices.
    """
    x = _pad(x, padding)
    _, rows, columns, _ = gradient.shape
    (down, right), width = strides, strides[1] * (columns - 1) + 1
    Totals = tuple[jax.Array, ...]

    def add_row(totals: Totals, row: jax.Array) -> tuple[Totals, None]:
        of_row = jax.lax.dynamic_index_in_dim(gradient, row, 1, keepdims=False)
        terms = (
            pixels[:, j : j + width : right].astype(jnp.float32) * of_row.astype(jnp.float32)
            for i in range(kernel_size[0])
            for pixels in [jax.lax.dynamic_index_in_dim(x, down * row + i, 1, keepdims=False)]
            for j in range(kernel_size[1])
        )
        return tuple(map(jnp.add, totals, terms)), None

    zeros = jnp.zeros_like(gradient[:, 0], jnp.float32)
    places = kernel_size[0] * kernel_size[1]
    totals, _ = jax.lax.scan(add_row, (zeros,) * places, jnp.arange(rows))
    return jnp.stack([total.sum(0).sum(0) for total in totals])


def _pad(x: jax.Array, padding: Pairs) -> jax.Array:
    sides = [(0, 0, 0), *((before, after, 0) for before, after in padding), (0, 0, 0)]
    return jax.lax.pad(x, jnp.zeros((), x.dtype), sides)


def _shifts(x, kernel_size, size, strides, padding) -> list[jax.Array]:
    """Returns the pixels `[B, h, w, C]` that each place of a kernel sees, row by row."""
    x = _pad(x, padding)
    (down, right), (rows, columns) = strides, size
    return [
        x[:, i : i + down * (rows - 1) + 1 : down, j : j + right * (columns - 1) + 1 : right]
        for i in range(kernel_size[0])
        for j in range(kernel_size[1])
    ]


def _pixels_at_once(x, kernel, strides, padding, groups) -> int:
    """Returns how many neighbouring pixels to compute as channels: a power of 2, 1 for none."""
    width = kernel.shape[1]
    columns = x.shape[2] + sum(padding[1]) - width + 1
    if groups > 1 or width == 1 or strides != (1, 1) or min(padding[1]) < 0:
        return 1
    most = (_COLUMNS_OF_COLOURS if x.shape[3] <= _COLOURS else _COLUMNS)[has_avx512()]
    pixels = 1
    while columns % (2 * pixels) == 0 and 2 * pixels * kernel.shape[3] <= most:
        pixels *= 2
    return pixels


def _pixels_as_channels(x: jax.Array, kernel: jax.Array, padding: Pairs, pixels: int) -> jax.Array:
    """Convolves with `pixels` copies of the kernel side by side, each a pixel further right.

    A product with few columns leaves most of a processor's registers idle. What it computes more,
    the zeros beside the kernel, costs less than that.
    """
    height, width, channels, features = kernel.shape
    copies = [jnp.pad(kernel, ((0, 0), (i, pixels - 1 - i), (0, 0), (0, 0))) for i in range(pixels)]
    wide = jnp.stack(copies, axis=3).reshape(height, -1, channels, pixels * features)
    y = _plain(x, wide, strides=(1, pixels), padding=padding, groups=1)
    return y.reshape(*y.shape[:2], -1, features)


_forward = by_platform("convolution", _plain, _cpu)
_input_gradient = by_platform(
    "convolution_input_gradient", _plain_input_gradient, _cpu_input_gradient
)
_kernel_gradient = by_platform(
    "convolution_kernel_gradient", _plain_kernel_gradient, _cpu_kernel_gradient
)
