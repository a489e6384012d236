"""Where the time of a training step goes on one core of a CPU, by kind of operation.

    python -m benchmarks.step_profile --network=quickstart --row=ega

The steps of `benchmarks.peers`, on one device and one core. XLA's profiler says how long each
operation of the compiled step ran; its instruction in the program's text says what it is. Where
convolutions have strides, gradients of their inputs count as gradients of kernels.
"""

import argparse
import collections
import os
import pathlib
import re
import tempfile

import jax
from jax.profiler import ProfileData

from benchmarks import peers

INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.-]+) = (.*)$", re.MULTILINE)
OPERATION = re.compile(r" ([a-z][\w-]*)\(")
LOWERED_FROM = re.compile(r'op_name="([^"]*)"')
COMPUTATION = re.compile(r"^%?([\w.-]+) \([^\n]*\{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
CALLED = re.compile(r"calls=%?([\w.-]+)")


def kinds_of(text: str) -> dict[str, str]:
    """Returns the kind of every instruction of a compiled program, by name.

    Without loops and calls, whose time is that of the instructions within.
    """
    convolving = {name for name, body in COMPUTATION.findall(text) if " convolution(" in body}
    kinds = {name: kind_of(name, line, convolving) for name, line in INSTRUCTION.findall(text)}
    return {name: kind for name, kind in kinds.items() if kind}


def kind_of(name: str, line: str, convolving: set[str]) -> str:
    """Returns the kind of an instruction; empty if others are within it.

    `convolving` names the computations with a convolution. Of those XLA forgets what they were
    lowered from where it has turned them into gradients of kernels.
    """
    operation = OPERATION.search(line)[1]
    if operation in ("while", "call", "conditional"):
        return ""
    found = LOWERED_FROM.search(line)
    lowered_from = found[1] if found else ""
    if operation in ("convolution", "dot") or name.startswith("ynn_fusion"):
        called = CALLED.search(line)
        if not lowered_from and called and called[1] in convolving:
            return "gradients of kernels"
        if "conv_general_dilated" not in lowered_from and "dot_general" not in lowered_from:
            return "reductions"
        product = "transpose(" in lowered_from and lowered_from.endswith("/dot_general")
        kernel = "transpose()" in lowered_from or product
        return "gradients of kernels" if kernel else "convolutions"
    if operation in ("copy", "transpose", "pad", "concatenate") or "copy" in name:
        return "copies and transpositions"
    return "reductions" if "reduce" in name else "elementwise"


def seconds_of(folder: str, kinds: dict[str, str]) -> collections.Counter:
    """Returns how long each known instruction ran in a trace [s], by name."""
    seconds: collections.Counter = collections.Counter()
    (path,) = pathlib.Path(folder).glob("plugins/profile/*/*.xplane.pb")
    for plane in ProfileData.from_file(str(path)).planes:
        for line in plane.lines:
            for event in line.events:
                if event.name in kinds:
                    seconds[event.name] += event.duration_ns / 1e9
    return seconds


def main() -> None:
    """Parses the flags, compiles, profiles and prints."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--network", choices=peers.CLASSES, default="quickstart")
    parser.add_argument("--row", choices=peers.ROWS, default="ega")
    parser.add_argument("--steps", type=int, default=5, help="steps profiled")
    parser.add_argument(
        "--top", type=int, default=0, help="instructions to list, the longest first"
    )
    flags = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    if hasattr(os, "sched_setaffinity"):  # not on macOS
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    run, text = peers.own_step(flags.network, flags.row, 1)
    run()
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(flags.steps):
                run()
        kinds = kinds_of(text)
        seconds = seconds_of(folder, kinds)
    total, by_kind = sum(seconds.values()), collections.Counter()
    for name, value in seconds.items():
        by_kind[kinds[name]] += value
    print("| operation | ms a step | share |\n| --- | --- | --- |")
    for kind, value in by_kind.most_common():
        print(f"| {kind} | {1000 * value / flags.steps:.1f} | {100 * value / total:.0f} % |")
    lines = dict(INSTRUCTION.findall(text))
    for name, value in seconds.most_common(flags.top):
        print(f"{1000 * value / flags.steps:8.2f} ms  {name} = {lines[name][:400]}")


if __name__ == "__main__":
    main()
