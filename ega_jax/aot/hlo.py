"""Reading compiled programs: what chips tell each other, and what they move to and from memory."""

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

# `%name (parameters) -> shape {`, or `ENTRY` before it.
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\{$")
_ANY_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.-]+) = (.*?) ([a-z][\w-]*)\((.*)$")
_OPERAND = re.compile(r"%([\w.-]+)")
# Of a `while`; the computations of other operations are inside them.
_LOOP = re.compile(r"(?:body|condition)=%?([\w.-]+)")
_PLACED = re.compile(r"([a-z]\w*)\[([\d,]*)\](\{[^}]*\})?")
_ON_CHIP = re.compile(r"S\(\d+\)")  # a layout's memory space, if it is not the memory
_MOVES = ("copy-start", "slice-start", "dynamic-slice-start")
_NOTHING = {
    *("after-all", "bitcast", "constant", "get-tuple-element", "parameter", "tuple", "while"),
    *("partition-id", "replica-id"),
}


def memory_bytes(text: str) -> int:
    """Counts what a program's operations read from and write to the device's memory.

    XLA's own count has what is kept on the chip too, once for every operation that comes across it.
    An operation that uses a part of an operand counts for the whole, a loop's body once.

    Args:
      text: optimised HLO of one device, with layouts.
    """
    computations, shapes = _instructions(_COMMENT.sub("", text))
    waiting, total = ["ENTRY"], 0
    while waiting:
        for shape, kind, rest in computations[waiting.pop()]:
            if kind == "while":
                waiting += _LOOP.findall(rest)
            if kind in _NOTHING or kind.endswith("-done"):
                continue
            if kind in _MOVES:
                # Where it comes from or goes to, whichever is less; both are in the shape.
                arrays = _PLACED.findall(shape)[:2]
                moved = min(_size(dtype, sides) for dtype, sides, _ in arrays)
                total += moved * sum(not _ON_CHIP.search(layout) for *_, layout in arrays)
                continue
            operands = _OPERAND.findall(rest.split(")", 1)[0])
            total += sum(_in_memory(s) for s in [shape, *(shapes[o] for o in operands)])
    return total


def _instructions(text: str) -> tuple[dict[str, list[tuple[str, str, str]]], dict[str, str]]:
    """Returns shape, kind and what follows of all instructions by computation; shapes by name."""
    computations: dict[str, list[tuple[str, str, str]]] = {}
    shapes = {}
    for line in text.splitlines():
        if match := _COMPUTATION.match(line):
            current = computations.setdefault("ENTRY" if match[1] else match[2], [])
        elif match := _ANY_INSTRUCTION.match(line):
            name, *instruction = match.groups()
            shapes[name] = instruction[0]
            current.append((instruction[0], instruction[1], instruction[2]))
    return computations, shapes


def _in_memory(shape: str) -> int:
    return sum(
        _size(dtype, sides)
        for dtype, sides, layout in _PLACED.findall(shape)
        if not _ON_CHIP.search(layout)
    )


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
