"""Trains every system on the quickstart with several seeds, measures its cost, prints the table.

    python -m benchmarks.systems --runs=runs/systems

Runs that have a `results.json` are not repeated, so the command can be stopped and called again.
Cost: FLOPs of a compiled training step (XLA's count), and images per second without the reading of
images, both relative to CAM's; steps of the system and of CAM take turns, and the median of the
ratios of their times counts.
"""

import functools
import json
import pathlib
import statistics
import time
from collections.abc import Callable

import jax
import numpy as np

from benchmarks import quickstart_runs
from configs import quickstart
from ega_jax.config import build
from ega_jax.training import steps

NAMES = {
    "cam": "CAM",
    "backprop": "Backprop",
    "has": "HaS",
    "acol": "ACoL",
    "spg": "SPG",
    "adl": "ADL",
    "cutmix": "CutMix",
    "danet": "DANet",
    "ccam": "CCAM",
    "nl_ccam": "NL-CCAM",
    "ega": "EGA",
}
TRAINED_AS = {"backprop": "cam", "ccam": "cam"}
OVER = ("has", "adl", "cutmix")  # with EGA over them too
ROWS = {row: (name, [f"--config=configs/quickstart.py:{row}"]) for row, name in NAMES.items()}
ROWS |= {
    f"{row}+ega": (f"EGA over {NAMES[row]}", [*ROWS[row][1], "--config.ega.enabled=true"])
    for row in OVER
}


def main() -> None:
    """Trains and measures what is missing, then prints the table."""
    parser = quickstart_runs.parser(__doc__, ROWS, "runs/systems")
    parser.add_argument("--repeats", type=int, default=15, help="steps timed of each system")
    arguments = parser.parse_args()
    chosen = ROWS, arguments.rows, arguments.seeds, arguments.runs
    if not arguments.table:
        quickstart_runs.train(*chosen, TRAINED_AS)
    costs = measure(arguments.rows, arguments.runs / "costs.json", arguments.repeats)
    more = {
        "FLOPs": lambda row: f"{costs[row]['flops']:.2f}",
        "images/s": lambda row: f"{1 / costs[row]['seconds']:.2f}",
    }
    print(quickstart_runs.table(*chosen, more))


def measure(rows: list[str], path: pathlib.Path, repeats: int) -> dict[str, dict[str, float]]:
    """Measures what `path` does not hold yet, relative to CAM, and writes it there."""
    costs = json.loads(path.read_text()) if path.exists() else {}
    flops_of_cam, run_cam = _step("cam")
    for row in rows:
        if row in costs:
            continue
        flops, run = _step(row)
        ratios = [run() / run_cam() for _ in range(repeats)]
        costs[row] = {"flops": flops / flops_of_cam, "seconds": statistics.median(ratios)}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(costs, indent=2))
    return costs


def _step(row: str) -> tuple[float, Callable[[], float]]:
    """Compiles the training step of a row: its FLOPs, and a function that times one more of it."""
    system, _, over = row.partition("+")
    config = quickstart.get_config(system)
    config.ega.enabled |= bool(over)
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
