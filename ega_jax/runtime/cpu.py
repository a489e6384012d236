"""How a run uses the processor of this machine: how many CPU devices, and how XLA compiles for it.

Nothing here concerns accelerators.
"""

import functools
import logging
import os
import pathlib
from collections.abc import Sequence

import jax

from ega_jax.runtime.errors import ConfigError

logger = logging.getLogger(__name__)

# Without AVX-512, XLA's Eigen convolutions are faster than those of its library YNNPACK, above all
# the gradients of kernels (docs/cpu.md); products of matrices are left with YNNPACK.
_EIGEN_CONVOLUTIONS = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"}


def use_cores(batch_sizes: Sequence[int], devices: int | None = None) -> None:
    """Makes as many CPU devices as this process may use cores; before JAX makes the first.

    What the environment says (`JAX_NUM_CPU_DEVICES`, or `XLA_FLAGS` with
    `--xla_force_host_platform_device_count`) stays.

    Args:
      batch_sizes: each must divide over the devices; the largest number that does is taken.
      devices: their number; None: that of the cores.

    Raises:
      ConfigError: a batch does not divide over the number of devices that was asked for, or the
        environment asks for another number.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if "JAX_NUM_CPU_DEVICES" in os.environ or "xla_force_host_platform_device_count" in flags:
        if devices is not None:
            raise ConfigError(
                f"--cpu_devices={devices}: the environment (JAX_NUM_CPU_DEVICES, XLA_FLAGS) has a "
                "number of CPU devices already; remove one of the two"
            )
        return
    if devices is None:
        devices = next(
            n for n in range(cores(), 0, -1) if all(size % n == 0 for size in batch_sizes)
        )
    elif odd := [size for size in batch_sizes if size % devices]:
        raise ConfigError(
            f"--cpu_devices={devices}: a batch of {odd[0]} does not divide over them; change "
            "config.batch_size or config.eval.batch_size, or leave the flag out"
        )
    jax.config.update("jax_num_cpu_devices", devices)


def cores() -> int:
    """Returns how many cores this process may use, at least 1."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# LLVM's last level of optimization takes seconds over each normal distribution that is drawn, and
# gains nothing where it is drawn once.
_DRAWN_ONCE = {"xla_backend_optimization_level": "2"}


@functools.cache
def compiler_options(platform: str) -> dict[str, str]:
    """Returns options for `jax.jit(compiler_options=)` on devices of a platform, most often none.

    Args:
      platform: of the devices, e.g. `cpu`.
    """
    if platform != "cpu" or has_avx512():
        return {}
    try:
        # XLA's own names, which may change from one version to the next.
        jax.jit(lambda: 0, compiler_options=_EIGEN_CONVOLUTIONS).lower().compile()
    except jax.errors.JaxRuntimeError as error:
        logger.info("XLA's own choice of convolutions: %s", str(error).split("\n")[0])
        return {}
    return _EIGEN_CONVOLUTIONS


def drawing_options(platform: str) -> dict[str, str]:
    """Returns options for `jax.jit(compiler_options=)` of what draws a network's parameters.

    The same numbers to the bit, compiled in a tenth of the time.

    Args:
      platform: of the devices, e.g. `cpu`.
    """
    return _DRAWN_ONCE if platform == "cpu" else {}


@functools.cache
def has_avx512() -> bool:
    """Says whether this is a processor with AVX-512, as far as Linux tells.

    XLA's convolutions are fast where it is, and what is worth another formulation differs. This is
    the processor that lowers a program: one that is made for elsewhere is right there, and perhaps
    slower.
    """
    info = pathlib.Path("/proc/cpuinfo")
    return info.exists() and " avx512f " in info.read_text()
