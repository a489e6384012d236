"""Where the package keeps things of its own between two starts: programs, weights, drawings."""

import os
import pathlib

VARIABLE = "EGA_JAX_CACHE"  # of the environment


def home() -> pathlib.Path:
    """Returns the folder, by default `~/.cache/ega_jax`; it need not exist."""
    return pathlib.Path(os.environ.get(VARIABLE) or "~/.cache/ega_jax").expanduser()
