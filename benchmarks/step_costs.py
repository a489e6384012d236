"""Measures what a training step of every system costs on the quickstart's network.

    python -m benchmarks.step_costs --repeats=9

FLOPs of the compiled step (XLA's count), and images per second without the reading of images, both
relative to CAM's; steps of the system and of CAM take turns, and the median of the ratios of their
times counts.
"""

import argparse
import functools
import statistics
import time
from collections.abc import Callable

import jax
import numpy as np

from configs import quickstart
from configs.studies import creatures
from ega_jax.config import build
from ega_jax.studies.runs import runs_of
from ega_jax.training import steps


def main() -> None:
    """Measures the rows asked for, one after the other, and prints a line for each."""
    study = creatures.get_config("systems")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [row.name for row in study.rows]
    parser.add_argument("--rows", nargs="+", choices=names, default=names)
    parser.add_argument("--repeats", type=int, default=15, help="steps timed of each system")
    arguments = parser.parse_args()
    flops_of_cam, run_cam = _step(quickstart.get_config("cam"))
    print("| | FLOPs | images/s |\n| --- | --- | --- |")
    for name in arguments.rows:
        row = study.row(name)
        flops, run = _step(runs_of(study, row, (0,))[0].config())
        ratio = statistics.median(run() / run_cam() for _ in range(arguments.repeats))
        print(f"| {row.title} | {flops / flops_of_cam:.2f} | {1 / ratio:.2f} |", flush=True)


def _step(config) -> tuple[float, Callable[[], float]]:
    """Compiles the training step of a config: its FLOPs, and a function that times one more."""
    model = build.model(config, 10)
    parts = {"model": model, "tx": build.optimizer(config, build.schedule(config, 4000))}
    init = functools.partial(steps.init_state, image_size=config.data.crop_size, **parts)
    rng = np.random.default_rng(0)
    size = config.batch_size, config.data.crop_size, config.data.crop_size, 3
    batch = {
        "image": rng.integers(0, 256, size, np.uint8),
        "label": rng.integers(0, 10, config.batch_size, np.int32),
        "mask": np.ones(config.batch_size, bool),
    }
    state = jax.jit(init)(jax.random.key(0))
    step = functools.partial(steps.train_step, ega=build.objective(config), seed=0, **parts)
    compiled = jax.jit(step).lower(state, batch).compile()

    def run() -> float:
        start = time.perf_counter()
        jax.block_until_ready(compiled(state, batch))
        return time.perf_counter() - start

    run()
    return compiled.cost_analysis()["flops"], run


if __name__ == "__main__":
    main()
