"""Reading compiled programs: what the chips tell each other."""

import math
import re

# `send` is how a TPU's program talks to other slices.
COLLECTIVES = (
    "all-gather",
    "all-reduce",
    "all-to-all",
    "collective-broadcast",
    "collective-permute",
    "ragged-all-to-all",
    "reduce-scatter",
    "send",
)
# `%name = shape kind(`. But for comments shapes hold no `=`, so nothing that is quoted further
# right matches. A `kind-start` has its `kind-done`, which is not another collective.
_COMMENT = re.compile(r"/\*.*?\*/")
_INSTRUCTION = re.compile(
    rf"^\s*(?:ROOT )?%?[\w.-]+ = ([^=]*?) ({'|'.join(COLLECTIVES)})(-start)?\(", re.MULTILINE
)
_ARRAY = re.compile(r"([a-z]\w*)\[([\d,]*)\]")
_CONTEXT = ("u32", "")


def collectives(text: str) -> dict[str, dict[str, int]]:
    """Counts the collectives of a compiled program; those in a loop count once.

    Args:
      text: optimised HLO of one device.

    Returns:
      For each kind that occurs, `count`, and `bytes` of the results on one device.
    """
    found: dict[str, dict[str, int]] = {}
    for shape, kind, start in _INSTRUCTION.findall(_COMMENT.sub("", text)):
        arrays = [array for array in _ARRAY.findall(shape) if array != _CONTEXT]
        if kind == "send":
            arrays = arrays[:1]  # the other is a token
        elif start and kind != "all-reduce":
            arrays = arrays[len(arrays) // 2 :]  # the first half are the operands
        entry = found.setdefault(kind, {"count": 0, "bytes": 0})
        entry["count"] += 1
        entry["bytes"] += sum(_size(*array) for array in arrays)
    return dict(sorted(found.items()))


def _size(dtype: str, dimensions: str) -> int:
    """Returns the bytes of an array of `f32`, `bf16`, `s8` and so on; a `pred` takes one."""
    bits = re.search(r"\d+", dtype)
    elements = math.prod(int(n) for n in dimensions.split(",") if n)
    return elements * (int(bits[0]) // 8 if bits else 1)
