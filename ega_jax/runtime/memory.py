"""A device's memory that does not suffice, told in a line with the fields that help."""

import contextlib
from collections.abc import Iterator

import jax

from ega_jax.runtime.errors import UserError


class OutOfMemoryError(UserError, RuntimeError):
    """A device has not enough memory; names the fields that help."""


@contextlib.contextmanager
def told(remedy: str) -> Iterator[None]:
    """Turns what XLA says when memory is exhausted into one line.

    Args:
      remedy: what to do about it, with the names of the fields and their values.

    Raises:
      OutOfMemoryError: memory is exhausted.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise OutOfMemoryError(
            f"a device's memory does not suffice: {remedy} ({str(error).splitlines()[0]})"
        ) from error
