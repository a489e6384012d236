"""How little of an optimizer's work the tests' programs get: what they compute is the same."""

import importlib.metadata
import os

# Without LLVM's costly passes, which alone halves the time of compiling, the backend's older code
# generation halves it once more. (With those passes it is the slower one.) XLA ends the process at
# a flag that it does not know, so these are for the versions that were seen to have them.
_KNOWN = (0, 7), (0, 10)
_FLAGS = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=2"


def quick(devices: int | None = None) -> dict[str, str]:
    """Returns variables of a process that is to compile quickly.

    Args:
      devices: CPU devices that it is to have; None: as many as it takes by itself.
    """
    flags = [] if devices is None else [f"--xla_force_host_platform_device_count={devices}"]
    first, second, *_ = importlib.metadata.version("jaxlib").split(".")
    if _KNOWN[0] <= (int(first), int(second)) <= _KNOWN[1]:
        flags.append(_FLAGS)
    return {"JAX_DISABLE_MOST_OPTIMIZATIONS": "true", "XLA_FLAGS": " ".join(flags)}


def thorough() -> dict[str, str]:
    """Returns the variables of a process that compiles as it does for users."""
    return {name: value for name, value in os.environ.items() if name not in quick()}
