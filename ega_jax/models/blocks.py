"""Convolution, batch norm, ReLU, pooling: what backbones and heads are built from.

Paddings are PyTorch's: as many pixels before as after, also where the stride is 2. JAX's `SAME`,
which is TensorFlow's, puts one more at the end there, and moves what every later pixel sees
(docs/alignment.md): only networks whose weights were trained so ask for it.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype

from ega_jax.models.norm import DualBatchNorm
from ega_jax.ops.cpu import pooling
from ega_jax.ops.cpu.convolution import Convolution


def he_normal_fan_out(groups: int = 1) -> nn.initializers.Initializer:
    """Makes He's initialization over the fan-out, as the field's PyTorch code draws convolutions.

    Args:
      groups: of the convolution; an input channel feeds the outputs of its own group alone.
    """
    return nn.initializers.variance_scaling(2.0 * groups, "fan_out", "normal")


def scale(channels: int, width: float, groups: int = 1) -> int:
    """Multiplies a published number of channels by `width`, to a positive multiple of `groups`."""
    return groups * max(1, round(channels * width / groups))


class ConvBlock(nn.Module):
    """Convolution, then batch norm and an activation where asked for.

    Attributes:
      features: channels of the output.
      kernel_size: side of the kernel, or height and width.
      strides: of the convolution.
      padding: pixels on every side; None: half the kernel, which keeps the size at stride 1;
        `SAME`: TensorFlow's, of all that is needed one half before, the larger one after.
      groups: of channels that see only each other (AlexNet); as many as channels: depthwise.
      use_bias: torchvision's VGG16-BN has a bias under its batch norm, redundant as it is; its
        Inceptions and ResNet have none. Its gradient, 0 but for rounding where the statistics are
        the batch's, is not computed there.
      batch_norm: batch norm after the convolution.
      epsilon: of the batch norm.
      dual: with an auxiliary batch norm.
      activation: at the end; None: the block is linear.
      dtype: of the computation.
    """

    features: int
    kernel_size: int | tuple[int, int] = 3
    strides: int = 1
    padding: int | str | None = None
    groups: int = 1
    use_bias: bool = True
    batch_norm: bool = False
    epsilon: float = 1e-5
    dual: bool = False
    activation: Callable[[jax.Array], jax.Array] | None = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, aux: bool = False) -> jax.Array:
        """Maps `[B, H, W, C]` to `[B, H', W', features]`."""
        kernel = self.kernel_size
        kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = self.padding
        if not isinstance(padding, str):
            sides = (k // 2 if padding is None else padding for k in kernel)
            padding = [(side, side) for side in sides]
        promote: Any = _constant_bias if self.batch_norm and train else promote_dtype
        x = nn.Conv(
            self.features,
            kernel,
            strides=self.strides,
            padding=padding,
            feature_group_count=self.groups,
            use_bias=self.use_bias,
            kernel_init=he_normal_fan_out(self.groups),
            dtype=self.dtype,
            conv_general_dilated_cls=Convolution,
            promote_dtype=promote,
            name="conv",
        )(x)
        if self.batch_norm:
            x = DualBatchNorm(dual=self.dual, epsilon=self.epsilon, dtype=self.dtype, name="bn")(
                x, train=train, aux=aux
            )
        return x if self.activation is None else self.activation(x)


def _constant_bias(
    inputs: jax.Array, kernel: jax.Array, bias: jax.Array | None, **dtype: Any
) -> list[Any]:
    """Brings a convolution's arrays to one type, and lets no gradient flow into the bias."""
    return promote_dtype(inputs, kernel, jax.lax.stop_gradient(bias), **dtype)


def max_pool(
    x: jax.Array, window: int, strides: int, *, padding: int = 0, ceil_mode: bool = False
) -> jax.Array:
    """Takes the maximum over square windows, with PyTorch's borders.

    Args:
      x: `[B, H, W, C]`.
      window: side of a window.
      strides: between windows.
      padding: pixels on every side, which never win.
      ceil_mode: add a last window that sticks out at the end, if pixels would be left over and it
        begins inside the image or the padding before it.
    """
    sides = []
    for size in x.shape[1:3]:
        left_over = (size + 2 * padding - window) % strides
        begins = size + 2 * padding - left_over - window + strides  # where one more would begin
        more = ceil_mode and left_over and begins < size + padding
        sides.append((padding, padding + strides - left_over if more else padding))
    rows, columns = sides
    return pooling.max_pool(x, window, strides, (rows, columns))


def local_response_norm(
    x: jax.Array, *, size: int = 5, alpha: float = 1e-4, beta: float = 0.75
) -> jax.Array:
    """Divides by `(1 + alpha * mean of squares over size neighbouring channels) ** beta`.

    Of AlexNet (Krizhevsky et al., 2012) in Caffe's and PyTorch's form, which divides `alpha` by
    `size`; channels beyond the first and the last count as 0.
    """
    squares = jnp.square(x.astype(jnp.float32))
    sides = [(0, 0)] * 3 + [((size - 1) // 2, size // 2)]
    total = jax.lax.reduce_window(squares, 0.0, jax.lax.add, (1, 1, 1, size), (1,) * 4, sides)
    return (x / (1 + alpha / size * total) ** beta).astype(x.dtype)
