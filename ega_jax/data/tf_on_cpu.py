"""TensorFlow, kept off the accelerators: import it from here only.

It reads and resizes images on the host. Were a GPU visible to it, it would claim that memory before
JAX could.
"""

import ega_jax.runtime.quiet_tensorflow  # noqa: F401

# isort: split

import tensorflow as tf

tf.config.set_visible_devices([], "GPU")

__all__ = ["tf"]
