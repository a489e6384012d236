"""Times a training step against the same step in PyTorch, turn about, on the cores of a CPU.

    pip install -r benchmarks/requirements.txt
    python -m benchmarks.peers

Both sides are processes of their own that wait while the other makes a step, so that whatever else
the machine does falls on both. A ratio is PyTorch's seconds over ours, of neighbouring steps:
above 1 this project is faster. Printed are medians, and the range of the ratios.
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

from ega_jax.runtime.cpu import cores

CLASSES = {"quickstart": 10, "folder": 200, "photos": 20, "vgg16": 200}
ROWS = ("cam", "ega")


def config_of(network: str, row: str):
    """Returns the config of a step: a recipe, or VGG16-BN at full size with a batch of 8."""
    from configs import base, folder, photos, quickstart

    if network == "vgg16":
        config = base.get_config()
        config.batch_size = 8
    elif network == "photos":  # EfficientNet-Lite0 at 128 px
        config = photos.get_config("small")
    else:
        config = {"quickstart": quickstart, "folder": folder}[network].get_config()
    config.ega.enabled = row == "ega"
    config.ega.probability = "class_softmax"  # as the peer has it
    return config


def peer(network: str, row: str, threads: int) -> list[str]:
    """Returns the command line of the PyTorch side."""
    config = config_of(network, row)
    settings = {
        "row": row,
        "network": config.model.name,
        "width": config.model.width,
        "batch": config.batch_size,
        "size": config.data.crop_size,
        "stride": config.model.feature_stride,
        "head_convs": config.model.head_convs,
        "classes": CLASSES[network],
        "threads": threads,
    }
    return ["benchmarks/torch_peer.py", *(f"--{name}={value}" for name, value in settings.items())]


def own_step(network: str, row: str, devices: int) -> tuple[Callable[[], None], str]:
    """Compiles this project's step on noise.

    Returns:
      A function that makes a step and waits for it, and the text of the compiled program.
    """
    import jax
    import numpy as np

    from ega_jax.aot.lower import jit_train_step
    from ega_jax.config import build
    from ega_jax.runtime.sharding import Placement
    from ega_jax.training import steps

    jax.config.update("jax_num_cpu_devices", devices)
    config = config_of(network, row)
    placement, classes, size = Placement(), CLASSES[network], config.data.crop_size
    model = build.model(config, classes)
    tx = build.optimizer(config, build.schedule(config, 4000))
    step = jit_train_step(config, model, tx, placement)
    rng = np.random.default_rng(0)
    count = config.batch_size
    batch = placement.put_batch(
        {
            "image": rng.integers(0, 256, (count, size, size, 3), np.uint8),
            "label": rng.integers(0, classes, count, np.int32),
            "mask": np.ones(count, bool),
        }
    )
    state = steps.init_state(jax.random.key(0), model=model, tx=tx, image_size=size)
    state = placement.replicate(state)
    compiled = step.lower(state, batch).compile()

    def run() -> None:
        nonlocal state
        state, sums = compiled(state, batch)
        jax.block_until_ready((state, sums))

    return run, compiled.as_text()


def serve(step: Callable[[], None]) -> None:
    """Makes a step for every line of the standard input and prints its seconds."""
    step()
    print("ready", flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        step()
        print(time.perf_counter() - began, flush=True)


class Side:
    """A process that makes steps when asked, on so many cores."""

    def __init__(self, command: list[str], threads: int):
        """Starts it and waits until it is warm."""
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": os.getcwd(),
        }
        with _cores_of_children(threads):
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
            )
        self._answer("ready")

    def step(self) -> float:
        """Makes a step; returns its seconds."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self._answer())

    def close(self) -> None:
        """Ends the process."""
        self.process.stdin.close()
        self.process.wait()

    def _answer(self, expected: str | None = None) -> str:
        answer = self.process.stdout.readline().strip()
        if not answer or (expected and answer != expected):
            raise SystemExit(f"error: {' '.join(self.process.args)} ended or said {answer!r}")
        return answer


@contextlib.contextmanager
def _cores_of_children(count: int) -> Iterator[None]:
    """Lets processes that are started meanwhile use the first `count` cores, where that works."""
    if not hasattr(os, "sched_setaffinity"):  # macOS
        yield
        return
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(mine)[:count])
    yield
    os.sched_setaffinity(0, mine)


def turn_about(one: Side, other: Side, rounds: int) -> Iterator[tuple[float, float]]:
    """Yields the seconds of a step of either side, who begins changing from round to round."""
    for number in range(rounds):
        if number % 2:
            second = other.step()
            yield one.step(), second
        else:
            yield one.step(), other.step()


def measure(network: str, row: str, threads: int, devices: int, flags: argparse.Namespace) -> str:
    """Returns the row of the table."""
    own = [sys.executable, "-m", "benchmarks.peers", "--serve", network, row, str(devices)]
    other = [flags.torch_python, *peer(network, row, threads)]
    sides = Side(own, threads), Side(other, threads)
    pairs = list(turn_about(*sides, flags.rounds))
    for side in sides:
        side.close()
    batch = config_of(network, row).batch_size
    ours, theirs = (batch / statistics.median(seconds) for seconds in zip(*pairs, strict=True))
    ratios = sorted(b / a for a, b in pairs)
    return (
        f"| {network} | {row} | {threads} | {devices} | {theirs:.1f} | {ours:.1f} "
        f"| {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) |"
    )


def main() -> None:
    """Parses the flags, measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", nargs="+", choices=CLASSES, default=list(CLASSES))
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--threads", nargs="+", type=int, default=sorted({1, cores()}))
    parser.add_argument("--rounds", type=int, default=7, help="steps of either side")
    parser.add_argument(
        "--devices", type=int, help="CPU devices of JAX; default: as many as threads"
    )
    parser.add_argument(
        "--torch_python", default=sys.executable, help="Python that has PyTorch, if not this one"
    )
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.serve:
        network, row, devices = flags.serve
        serve(own_step(network, row, int(devices))[0])
        return
    print("| network | step | threads | CPU devices | PyTorch, images/s | here | ratio |")
    print("| --- " * 7 + "|")
    for network in flags.networks:
        for row in flags.rows:
            for threads in flags.threads:
                devices = flags.devices or threads
                print(measure(network, row, threads, devices, flags), flush=True)


if __name__ == "__main__":
    main()
