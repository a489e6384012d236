"""Batch normalization with a main and an auxiliary branch, as AdvProp needs it.

Clean and adversarial images have different statistics (paper, Fig. 4), so each kind passes through
a batch norm of its own. The auxiliary branch is a complete second batch norm: scale and bias too,
as in every AdvProp implementation (Xie et al., CVPR 2020; the affine part matters more than the
statistics, arXiv 2403.19150). Statistics live in two collections, so that a pass which names one in
`mutable=` cannot touch the other:

    logits, updates = model.apply(variables, images, train=True, aux=True,
                                  mutable=["batch_stats_aux"])
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

MAIN = "batch_stats"
AUX = "batch_stats_aux"


class CollectionBatchNorm(nn.BatchNorm):
    """`flax.linen.BatchNorm` whose running statistics live in the collection of your choice."""

    collection: str = MAIN

    def variable(self, col: str, name: str, *args: Any, **kwargs: Any) -> nn.Variable:
        """Creates a variable; what linen would put into `batch_stats` goes into `collection`."""
        return super().variable(self.collection if col == MAIN else col, name, *args, **kwargs)


class DualBatchNorm(nn.Module):
    """Batch norm with a main branch and, if `dual`, an auxiliary one beside it.

    Attributes:
      dual: whether the auxiliary branch exists. Without it the module is one plain batch norm.
      momentum: decay of the running statistics (0.9 here is 0.1 in PyTorch).
      epsilon: added to the variance.
      dtype: of the output; parameters and statistics stay float32.
      scale_init: draws the scales; 0 where the module begins as the identity beside a shortcut.
    """

    dual: bool = False
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: Any = jnp.float32
    scale_init: Any = nn.initializers.ones

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, aux: bool = False) -> jax.Array:
        """Normalizes `x` `[B, ..., C]` over all but the last axis.

        Args:
          x: features.
          train: use (and update) the statistics of this batch, else the running ones.
          aux: take the auxiliary branch.

        Raises:
          ValueError: the auxiliary branch is asked for and the module has none.
        """
        if aux and not self.dual:
            raise ValueError("aux=True needs a model built with dual=True (auxiliary batch norm)")
        branches = {
            name: CollectionBatchNorm(
                use_running_average=not train,
                momentum=self.momentum,
                epsilon=self.epsilon,
                dtype=self.dtype,
                scale_init=self.scale_init,
                collection=collection,
                name=name,
            )
            for name, collection in [("main", MAIN), ("aux", AUX)][: 1 + self.dual]
        }
        if self.is_initializing():  # both branches must exist, whichever this pass takes
            for branch in branches.values():
                branch(x)
        return branches["aux" if aux else "main"](x)
