"""Trains the parts of EGA on the quickstart with several seeds and prints their table.

CAM and EGA themselves, which is `class_softmax`, are rows of `benchmarks/systems.py`; both tables
are in docs/results.md.

    python -m benchmarks.ablation --runs=runs/ablation

Runs that have a `results.json` are not repeated, so the command can be stopped and called again.
One run after the other.
"""

from benchmarks import quickstart_runs

NAMES = {
    "adversarial": "+ adversarial",
    "minmax": "+ adversarial + entropy, `minmax`",
    "spatial_softmax": "+ adversarial + entropy, `spatial_softmax`",
    "sigmoid": "+ adversarial + entropy, `sigmoid`",
    "entropy": "+ entropy alone, `class_softmax`",
}
ROWS = {row: (name, [f"--config=configs/quickstart.py:{row}"]) for row, name in NAMES.items()}


def main() -> None:
    """Trains what is missing, then prints the table."""
    arguments = quickstart_runs.parser(__doc__, ROWS, "runs/ablation").parse_args()
    chosen = ROWS, arguments.rows, arguments.seeds, arguments.runs
    if not arguments.table:
        quickstart_runs.train(*chosen)
    print(quickstart_runs.table(*chosen))


if __name__ == "__main__":
    main()
