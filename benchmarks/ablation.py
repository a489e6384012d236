"""Trains every row of the quickstart's ablation with several seeds and prints the README's table.

    python -m benchmarks.ablation --runs=runs/ablation

Runs that have a `results.json` are not repeated, so the command can be stopped and called again.
One run after the other; on two cores the whole takes about two hours.
"""

from benchmarks import quickstart_runs

NAMES = {
    "cam": "CAM",
    "adversarial": "+ adversarial",
    "minmax": "+ adversarial + entropy, `minmax`",
    "class_softmax": "+ adversarial + entropy, `class_softmax`",
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
