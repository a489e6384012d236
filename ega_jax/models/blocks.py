"""Convolution, batch norm, ReLU: the unit that backbones and heads are built from."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ega_jax.models.norm import DualBatchNorm

# He initialization over the fan-out, as the field's PyTorch code draws convolutions.
he_normal_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class ConvBlock(nn.Module):
    """Convolution with bias, then batch norm if asked for, then ReLU.

    The convolution keeps its bias under a batch norm, where it is redundant: torchvision's VGG16-BN
    has it, and its weights fit only so.
    """

    features: int
    kernel_size: int = 3
    batch_norm: bool = False
    dual: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, aux: bool = False) -> jax.Array:
        """Maps `[B, H, W, C]` to `[B, H, W, features]`."""
        x = nn.Conv(
            self.features,
            (self.kernel_size, self.kernel_size),
            kernel_init=he_normal_fan_out,
            dtype=self.dtype,
            name="conv",
        )(x)
        if self.batch_norm:
            x = DualBatchNorm(dual=self.dual, dtype=self.dtype, name="bn")(x, train=train, aux=aux)
        return nn.relu(x)
