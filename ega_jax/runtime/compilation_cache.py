"""What XLA has compiled is kept for the next start, also of another process."""

import hashlib
import os
import pathlib
import platform

import jax

from ega_jax.runtime.home import home


def enable(workdir: str | os.PathLike) -> str:
    """Turns JAX's persistent compilation cache on, unless JAX has been told about it.

    A run whose workdir is in a bucket keeps programs there, so that machines that come and go find
    them; all others keep them below `home()`, the small ones too. By processor: what is compiled
    for one may not run on another.

    Args:
      workdir: of the run.

    Returns:
      The folder; empty if JAX's own setting turns the cache off.
    """
    told = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    if "JAX_COMPILATION_CACHE_DIR" in os.environ or told is not None:
        return told or ""
    if "://" in os.fspath(workdir):
        folder = f"{os.fspath(workdir).rstrip('/')}/compiled/{_processor()}"
    else:
        folder = str(home() / "compiled" / _processor())
        if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
            # Dozens of small programs take more than a second in all.
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_compilation_cache_dir", folder)
    return folder


def _processor() -> str:
    """Names the kind of processor, by architecture and a digest of what it can do."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # no Linux
        lines = [platform.processor()]
    features = sorted({line for line in lines if line.startswith(("model name", "flags", "Feat"))})
    digest = hashlib.sha256("\n".join(features or lines[:1]).encode()).hexdigest()
    return f"{platform.machine()}-{digest[:12]}"
