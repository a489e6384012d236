"""What a system of the paper's tables may change of plain CAM.

A system is a `Method` that overrides one or two of six small pure functions: what is done to the
network (`inserts`, `ending`), to the batch (`augment`), to the loss (`classify`, `loss`), and how
maps are read (`read`).
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import ClassVar

import jax

from ega_jax.models.network import Ending, Insert, single
from ega_jax.ops import class_maps, losses

Batch = dict[str, jax.Array]
Forward = Callable[[jax.Array], tuple[jax.Array, dict[str, jax.Array]]]


@dataclasses.dataclass(frozen=True)
class View:
    """What a trained network sees of a batch, for reading maps off it.

    Attributes:
      images: `[B, H, W, 3]` float in [0, 1].
      logits: `[B, C]`.
      out: the network's maps and features, by name.
      forward: images to logits and `out`, to look again.
    """

    images: jax.Array
    logits: jax.Array
    out: Mapping[str, jax.Array]
    forward: Forward


@dataclasses.dataclass(frozen=True)
class Method:
    """One system; as it stands, plain CAM."""

    # EGA's entropies need one class map an image: they can be switched on over such methods.
    one_map: ClassVar[bool] = True
    # Key in `METHODS` of the one that is trained in the same way: only the reading of maps differs,
    # so that a run of one is a run of the other. None: no other.
    trained_as: ClassVar[str | None] = None
    # Keys of `models.NETWORKS` that the method is defined for; None: all.
    networks: ClassVar[tuple[str, ...] | None] = None

    def inserts(self, network: str) -> Mapping[str, Insert]:
        """Returns what goes behind stages of a network, by their names.

        Args:
          network: a key of `models.NETWORKS`, one of `networks`.
        """
        del network
        return {}

    def ending(self, network: str) -> Ending:
        """Returns the head, or heads, of a network; arguments as for `inserts`."""
        del network
        return single

    def augment(self, batch: Batch, key: jax.Array) -> Batch:
        """Changes a batch before it is trained on.

        Args:
          batch: `image` `[B, H, W, 3]` float in [0, 1], `label` `[B]` int32, `mask` `[B]` bool.
          key: for all that is drawn.

        Returns:
          The batch, with whatever `classify` needs besides.
        """
        del key
        return batch

    def classify(self, logits: jax.Array, batch: Batch) -> jax.Array:
        """Computes the classification loss `[B]`, which is also what an attack raises."""
        return losses.cross_entropy(logits, batch["label"])

    def loss(
        self, logits: jax.Array, out: Mapping[str, jax.Array], batch: Batch, key: jax.Array
    ) -> dict[str, jax.Array]:
        """Computes the terms of the training loss.

        Args:
          logits: `[B, C]`.
          out: the network's maps and features, by name.
          batch: as `augment` made it.
          key: for all that is drawn.

        Returns:
          Terms `[B]` float32 by name; the loss is their sum.
        """
        del out, key
        return {"ce": self.classify(logits, batch)}

    def read(self, view: View, classes: jax.Array) -> jax.Array:
        """Reads maps off a trained network.

        Args:
          view: of B images.
          classes: `[B, K]` int, the classes wanted.

        Returns:
          `[B, h, w, K]` float32; any scale, as maps are scaled to [0, 1] later.
        """
        return class_maps.select(view.out["cams"], classes)
