"""Programs as other platforms get them, without a device of theirs."""

import collections
import contextlib
import re

import jax
import pytest

from ega_jax.models import blocks
from ega_jax.ops.cpu import pooling


@contextlib.contextmanager
def plain_operations():
    """Builds networks in the formulation of other platforms than the CPU, the one that is counted.

    What a CPU gets for its own sake has other operations, and where a program is lowered twice the
    second time shares functions that the first one does not.
    """

    def max_pool(x, window, strides, padding):
        return pooling._plain(x, window=window, strides=strides, padding=padding)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "Convolution", None)
        patch.setattr(pooling, "max_pool", max_pool)
        jax.clear_caches()
        yield
    jax.clear_caches()


def lowered(function, arguments, platform: str) -> str:
    """Returns what is handed to a platform's compiler."""
    return jax.jit(function).trace(*arguments).lower(lowering_platforms=(platform,)).as_text()


def operations(text: str, *names: str) -> collections.Counter:
    """Counts operations of StableHLO (all of them) or of HLO (those of `names`)."""
    if not names:
        return collections.Counter(re.findall(r"= \"?(\w+\.\w+)", text))
    return collections.Counter(
        {name: len(re.findall(rf" {name}(?:-start)?\(", text)) for name in names}
    )


def assert_same_programs(function, plain, arguments) -> None:
    """Asserts that TPUs and GPUs get, line for line, what they get of a plain formulation."""
    for platform in ("tpu", "cuda"):
        ours, theirs = (lowered(f, arguments, platform) for f in (function, plain))
        assert operations(theirs).total() > 0
        assert sorted(_lines(ours)) == sorted(_lines(theirs))


def _lines(text: str) -> list[str]:
    """The operations with their settings and shapes, without the names of values."""
    return [re.sub(r"[%@#][\w:]+", "", line).strip() for line in text.splitlines() if "=" in line]
