"""How thoroughly programs are compiled."""

import contextlib
import importlib.metadata
from collections.abc import Iterator

# The backend's older code generation, and fewer pieces for its threads: the same operations in half
# the time of compiling. XLA ends the process at a flag that it does not know, so they are for the
# versions that were seen to have them.
_KNOWN = (0, 7), (0, 10)
_FLAGS = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=2"


def flags(devices: int) -> str:
    """Returns `XLA_FLAGS` of a test's process.

    Args:
      devices: CPU devices that it is to have.
    """
    first, second, *_ = importlib.metadata.version("jaxlib").split(".")
    known = _KNOWN[0] <= (int(first), int(second)) <= _KNOWN[1]
    return f"--xla_force_host_platform_device_count={devices} {_FLAGS if known else ''}".strip()


@contextlib.contextmanager
def quick(on: bool = True) -> Iterator[None]:
    """Leaves out LLVM's costly passes meanwhile, which halves compile times, or puts them back."""
    import jax  # not before the environment is set up, which `flags` is for

    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", on)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
