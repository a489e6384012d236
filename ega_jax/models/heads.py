"""Heads that turn features into class maps and, averaged over the map, into logits."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ega_jax.models.blocks import ConvBlock


class ConvHead(nn.Module):
    """The paper's head: two 3x3 convolutions, one 1x1 to the classes, global average.

    Averaging after the 1x1 convolution equals weighting averaged features (Eq. 1 and 2, up to the
    constant h*w), so channel c of the last map is the class activation map of class c (Eq. 3), and
    a head that averages first and then has a dense layer is the same head.

    The class maps are float32 whatever `dtype` is: boxes and entropies depend on small differences
    between their pixels. TPUs multiply in one pass of bfloat16 there too, and add up in float32.

    Attributes:
      num_classes: channels of the class maps.
      convs: number of 3x3 convolutions (paper: 2).
      features: channels of the 3x3 convolutions (paper: 1024).
      batch_norm: batch norm after the 3x3 convolutions.
      dual: with an auxiliary branch.
      dropout: rate before each convolution, as in SPG's and ACoL's heads; 0 switches it off.
        Without 3x3 convolutions whole channels are dropped, as behind an average.
      dtype: of the 3x3 convolutions.
    """

    num_classes: int
    convs: int = 2
    features: int = 1024
    batch_norm: bool = False
    dual: bool = False
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: jax.Array, *, train: bool, aux: bool = False
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Maps features `[B, h, w, C]` to logits and class maps.

        Returns:
          Logits `[B, K]`; `cams` `[B, h, w, K]`, and `classified` `[B, h, w, features]`, what the
          classifier reads.
        """
        for i in range(1, self.convs + 1):
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
            x = ConvBlock(
                self.features,
                batch_norm=self.batch_norm,
                dual=self.dual,
                dtype=self.dtype,
                name=f"conv6_{i}",
            )(x, train=train, aux=aux)
        averaged = () if self.convs else (1, 2)
        x = nn.Dropout(self.dropout, broadcast_dims=averaged, deterministic=not train)(x)
        maps = nn.Conv(
            self.num_classes,
            (1, 1),
            kernel_init=nn.initializers.normal(0.01),
            dtype=jnp.float32,
            name="classifier",
        )(x)
        return maps.mean(axis=(1, 2)), {"cams": maps, "classified": x}
