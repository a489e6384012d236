"""A trained network as one file that needs JAX alone: `jax.export`, for CPUs, GPUs and TPUs."""

import functools

import jax
import ml_collections
import numpy as np
from jax import export as jax_export

from ega_jax.config import build
from ega_jax.models.network import Network
from ega_jax.training import steps

PLATFORMS = ("cpu", "cuda", "tpu")


def export(
    config: ml_collections.ConfigDict, model: Network, variables: dict, size: int
) -> jax_export.Exported:
    """Lowers a network with its weights for all platforms and any number of images.

    What is formulated anew for CPUs (`ops.cpu`) is in it beside the plain formulation; which of
    them runs is decided where the file is used.

    Args:
      config: of the run; `method` and `reader` say how maps are read.
      model: its network.
      variables: `params` and `batch_stats`.
      size: side of the images in pixels.

    Returns:
      What `serialize` makes bytes of: of images `[B, size, size, 3]` uint8, `probabilities`
      `[B, C]` and `maps` `[B, h, w, C]` of all classes, as `steps.all_maps_step`.
    """
    step = functools.partial(
        steps.all_maps_step,
        # On no device: the file is not for as many as are here.
        variables=jax.tree.map(np.asarray, variables),
        model=model,
        reader=build.reader(config, model),
        in_turn=bool(config.reader.name) or config.method == "backprop",
    )
    (batch,) = jax_export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, size, size, 3), np.uint8)
    return jax_export.export(jax.jit(step), platforms=PLATFORMS)(images)
