"""Fig. 1: the gradient of the loss with respect to the image.

Adversarial training makes it look like the object (Tsipras et al., ICLR 2019): a network that small
changes of the image cannot mislead has to rest on what a person sees, too.
"""

from collections.abc import Sequence

import jax
import numpy as np

from ega_jax.evaluation import drawing
from ega_jax.figures.networks import Trained, as_floats
from ega_jax.ops import losses

_SIDE = 160  # pixels of a tile
_DEVIATIONS = 3.0  # what is beyond is cut off, as Tsipras et al. do


def gradients(trained: Trained, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Computes the gradient of each image's cross entropy, through the main batch norm.

    Args:
      trained: the network.
      images: `[B, S, S, 3]` uint8.
      labels: `[B]`.

    Returns:
      `[B, S, S, 3]` float32, per unit of the range [0, 1].
    """

    @jax.jit
    def compute(variables, images):
        def loss(images):
            logits, _ = trained.model.apply(variables, images, train=False)
            return losses.cross_entropy(logits, labels).sum()

        return jax.grad(loss)(images)

    return np.asarray(compute(trained.variables, as_floats(images)))


def as_picture(gradient: np.ndarray) -> np.ndarray:
    """Shows a gradient `[S, S, 3]` as RGB uint8: grey is 0, the ends are three deviations off."""
    scale = _DEVIATIONS * np.sqrt(np.square(gradient).mean())
    if not scale:
        return np.full(gradient.shape, 128, np.uint8)
    shown = np.clip(gradient / scale, -1, 1)
    return (127.5 + 127.5 * shown).round().astype(np.uint8)


def sheet(networks: Sequence[Trained], images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Draws Fig. 1: a row for each image, a column for each network.

    Returns:
      `[H, W, 3]` uint8.
    """
    columns = [gradients(trained, images, labels) for trained in networks]
    tiles = []
    for row, image in enumerate(images):
        tiles.append(_tile(image, networks[0].class_names[labels[row]]))
        for trained, found in zip(networks, columns, strict=True):
            tiles.append(_tile(as_picture(found[row]), trained.name))
    return drawing.grid(tiles, columns=1 + len(networks))


def _tile(image: np.ndarray, text: str) -> np.ndarray:
    return drawing.caption(drawing.enlarge(image, _SIDE), text)
