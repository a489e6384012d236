"""Trains rows of the quickstart with several seeds and lays their figures out as a table."""

import argparse
import json
import pathlib
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

COLUMNS = {  # header -> where it is below `test`
    "Top-1 cls err": ("top1_cls_err",),
    "Top-1 loc err": ("fixed", "top1_loc_err"),
    "CorLoc err, 0.2": ("fixed", "corloc_err"),
    "Top-1 loc err, best": ("oracle", "top1_loc_err"),
    "CorLoc err, best": ("oracle", "corloc_err"),
    "MaxBoxAccV2": ("oracle", "max_box_acc_v2"),
    "PxAP": ("pxap",),
}

Rows = Mapping[str, tuple[str, Sequence[str]]]  # key -> name in the table, flags of the run


def parser(doc: str, rows: Rows, runs: str) -> argparse.ArgumentParser:
    """Returns a parser of what all tables have in common."""
    result = argparse.ArgumentParser(description=doc.splitlines()[0])
    result.add_argument("--runs", type=pathlib.Path, default=pathlib.Path(runs))
    result.add_argument("--rows", nargs="+", choices=rows, default=list(rows))
    result.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    result.add_argument("--table", action="store_true", help="only print, of the runs that exist")
    return result


def train(
    rows: Rows,
    chosen: Sequence[str],
    seeds: Sequence[int],
    runs: pathlib.Path,
    trained_as: Mapping[str, str] | None = None,
) -> None:
    """Trains what has no `results.json` yet, one run after the other, seed by seed.

    Args:
      rows: all there are.
      chosen: keys of those to train.
      seeds: of the runs.
      runs: folder of the workdirs.
      trained_as: rows that differ from another, trained before them, at test alone: they go on
        from a copy of its run.
    """
    for seed in seeds:
        for row in chosen:
            workdir = runs / f"{row}-{seed}"
            if (workdir / "results.json").exists():
                continue
            trained = runs / f"{(trained_as or {}).get(row)}-{seed}"
            if trained.exists() and not workdir.exists():
                shutil.copytree(trained, workdir, ignore=shutil.ignore_patterns("results.json"))
            _, flags = rows[row]
            command = [
                *(sys.executable, "-m", "ega_jax.main"),
                *flags,
                f"--config.seed={seed}",
                "--config.eval.every_epochs=0",
                f"--workdir={workdir}",
            ]
            subprocess.run(command, check=True)


def table(
    rows: Rows,
    chosen: Sequence[str],
    seeds: Sequence[int],
    runs: pathlib.Path,
    more: Mapping[str, Callable[[str], str]] | None = None,
) -> str:
    """Formats mean ± standard deviation over the seeds of every row, in Markdown.

    Args:
      rows: all there are.
      chosen: keys of those to show.
      seeds: of the runs.
      runs: folder of the workdirs.
      more: further columns, header -> cell of a row's key.
    """
    more = more or {}
    headers = [*COLUMNS, *more]
    lines = ["| | " + " | ".join(headers) + " |", "| --- " * (len(headers) + 1) + "|"]
    for row in chosen:
        files = [runs / f"{row}-{seed}" / "results.json" for seed in seeds]
        figures = [json.loads(file.read_text())["test"] for file in files if file.exists()]
        cells = [_cell([_look_up(f, path) for f in figures]) for path in COLUMNS.values()]
        cells += [cell(row) for cell in more.values()]
        missing = "" if len(figures) == len(seeds) else f" ({len(figures)} of {len(seeds)} seeds)"
        lines.append(f"| {rows[row][0]}{missing} | " + " | ".join(cells) + " |")
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
