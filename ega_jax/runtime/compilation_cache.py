"""What XLA has compiled is kept for the next start, also of another process."""

import hashlib
import os
import pathlib
import platform

import jax

PLACE = "EGA_JAX_CACHE"  # variable of the environment: where this package keeps things


def home() -> pathlib.Path:
    """Returns the folder that the package keeps things in, by default `~/.cache/ega_jax`."""
    return pathlib.Path(os.environ.get(PLACE) or "~/.cache/ega_jax").expanduser()


def enable(workdir: str | os.PathLike) -> str:
    """Turns JAX's persistent compilation cache on, unless JAX has been told about it.

    A run whose workdir is in a bucket keeps programs there, so that machines that come and go find
    them; all others in `home()`, by processor: a program compiled for one may not run on another.

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
