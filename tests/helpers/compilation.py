"""How thoroughly programs are compiled."""

import contextlib
from collections.abc import Iterator

import jax


@contextlib.contextmanager
def quick(on: bool = True) -> Iterator[None]:
    """Leaves out LLVM's costly passes meanwhile, which halves compile times, or puts them back."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", on)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
