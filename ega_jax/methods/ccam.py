"""Combinational class activation maps (CCAM): unlikely classes tell where the background is.

Yang et al., "Combinational Class Activation Maps for Weakly Supervised Object Localization", WACV
2020. The network is trained as CAM's. With the classes sorted by their probability, rank r from 0,

    map = sum over r of h(r) * class map of rank r

where h falls from 1 for the most to -1 for the least likely class. The class asked for plays no
part: with `t1b0` the map is the predicted class's.

| function | h(r) of C classes, half = C // 2 |
| --- | --- |
| `t1b0` | 1 for the first, else 0 |
| `t1b1` | 1 for the first, -1 for the last, else 0 |
| `linear` | from 1 to -1 in equal steps |
| `quadratic` | squares of a line from 1 to 0 over the half, minus those of 0 to 1 over the rest |

Paper: `quadratic` over 200 classes, half of them on either side. Here: half of any number.
"""

import dataclasses

import jax
import jax.numpy as jnp

from ega_jax.methods.base import Method, View

FUNCTIONS = ("t1b0", "t1b1", "linear", "quadratic")


@dataclasses.dataclass(frozen=True)
class CCAM(Method):
    """CCAM. Attributes: which `function` weights the ranks."""

    trained_as = "cam"

    function: str

    def read(self, view: View, classes: jax.Array) -> jax.Array:
        """Combines all class maps; the same map for every class asked for."""
        combined = combine(view.out["cams"], view.logits, self.function)
        return jnp.repeat(combined[..., None], classes.shape[1], axis=-1)


def combine(cams: jax.Array, logits: jax.Array, function: str) -> jax.Array:
    """Sums class maps `[B, h, w, C]` with weights by the rank of `logits` `[B, C]`: `[B, h, w]`."""
    ranks = jnp.argsort(jnp.argsort(-logits, axis=-1), axis=-1)
    return jnp.einsum("bhwc,bc->bhw", cams, rank_weights(logits.shape[-1], function)[ranks])


def rank_weights(classes: int, function: str) -> jax.Array:
    """Returns h, `[classes]` float32.

    Raises:
      ValueError: an unknown function.
    """
    half = classes // 2
    if function in ("t1b0", "t1b1"):
        weights = jnp.zeros(classes).at[0].set(1)
        return weights if function == "t1b0" else weights.at[-1].set(-1)
    if function == "linear":
        return jnp.linspace(1, -1, classes)
    if function == "quadratic":
        return jnp.concatenate(
            [jnp.linspace(1, 0, half) ** 2, -(jnp.linspace(0, 1, classes - half) ** 2)]
        )
    raise ValueError(f"unknown function {function!r}; choose one of {', '.join(FUNCTIONS)}")
