"""Where the package keeps things of its own between two starts: programs, weights, drawings."""

import os
import pathlib

from ega_jax.runtime.errors import UserError

VARIABLE = "EGA_JAX_CACHE"  # of the environment


def home() -> pathlib.Path:
    """Returns the folder, by default `~/.cache/ega_jax`; it need not exist.

    Raises:
      UserError: the user has no home folder.
    """
    folder = pathlib.Path(os.environ.get(VARIABLE) or "~/.cache/ega_jax")
    try:
        return folder.expanduser()
    except RuntimeError as error:
        raise UserError(
            f"{folder}: {error} Name another folder in the environment variable {VARIABLE}."
        ) from error
