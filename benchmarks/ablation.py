"""Trains every row of the quickstart with several seeds and prints the table of the README.

    python -m benchmarks.ablation --runs=runs/ablation

Runs that have a `results.json` are not repeated, so the command can be stopped and called again.
One run after the other; on two cores the whole takes about two hours.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

ROWS = {  # row of configs/quickstart.py -> name in the table
    "cam": "CAM",
    "adversarial": "+ adversarial",
    "minmax": "+ adversarial + entropy, `minmax`",
    "class_softmax": "+ adversarial + entropy, `class_softmax`",
    "spatial_softmax": "+ adversarial + entropy, `spatial_softmax`",
    "sigmoid": "+ adversarial + entropy, `sigmoid`",
    "entropy": "+ entropy alone, `class_softmax`",
}
COLUMNS = {  # header -> where it is below `test`
    "Top-1 cls err": ("top1_cls_err",),
    "Top-1 loc err": ("fixed", "top1_loc_err"),
    "CorLoc err, 0.2": ("fixed", "corloc_err"),
    "Top-1 loc err, best": ("oracle", "top1_loc_err"),
    "CorLoc err, best": ("oracle", "corloc_err"),
    "MaxBoxAccV2": ("oracle", "max_box_acc_v2"),
    "PxAP": ("pxap",),
}


def main() -> None:
    """Trains what is missing, then prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=pathlib.Path, default=pathlib.Path("runs/ablation"))
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--table", action="store_true", help="only print, of the runs that exist")
    arguments = parser.parse_args()
    if not arguments.table:
        for seed in arguments.seeds:
            for row in arguments.rows:
                _train(row, seed, arguments.runs / f"{row}-{seed}")
    print(table(arguments.runs, arguments.rows, arguments.seeds))


def _train(row: str, seed: int, workdir: pathlib.Path) -> None:
    if (workdir / "results.json").exists():
        return
    command = [
        *(sys.executable, "-m", "ega_jax.main"),
        f"--config=configs/quickstart.py:{row}",
        f"--config.seed={seed}",
        "--config.eval.every_epochs=0",
        f"--workdir={workdir}",
    ]
    subprocess.run(command, check=True)


def table(runs: pathlib.Path, rows: list[str], seeds: list[int]) -> str:
    """Formats mean ± standard deviation over the seeds of every row, in Markdown."""
    lines = ["| | " + " | ".join(COLUMNS) + " |", "| --- " * (len(COLUMNS) + 1) + "|"]
    for row in rows:
        files = [runs / f"{row}-{seed}" / "results.json" for seed in seeds]
        figures = [json.loads(file.read_text())["test"] for file in files if file.exists()]
        cells = [_cell([_look_up(f, path) for f in figures]) for path in COLUMNS.values()]
        missing = "" if len(figures) == len(seeds) else f" ({len(figures)} of {len(seeds)} seeds)"
        lines.append(f"| {ROWS[row]}{missing} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _look_up(figures: dict, path: tuple[str, ...]) -> float:
    for name in path:
        figures = figures[name]
    return figures


def _cell(values: list[float]) -> str:
    if not values:
        return "-"
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread}"


if __name__ == "__main__":
    main()
