"""Figures as a short table for people; the machine reads `results.json`."""

from collections.abc import Mapping, Sequence
from typing import Any

from ega_jax.runtime.nested import flatten

THRESHOLDS = ("fixed", "val", "oracle")


def table(figures: Mapping[str, Any], intervals: Mapping[str, Any] | None = None) -> str:
    """Lays figures out in lines; those that depend on the threshold get a column for each kind.

    Args:
      figures: nested, as `Scores.figures` gives them.
      intervals: `[low, high]` of some of them, nested likewise, which are put beside them.
    """
    cells = _cells(figures, intervals or {})
    columns = {name: cells.pop(name) for name in THRESHOLDS if name in cells}
    width = 9 if not intervals else 22
    lines = [_line(name, [cell], width) for name, cell in flatten(cells).items()]
    if columns:
        # What is `box_acc` at a given threshold is `max_box_acc` at the best one: one line.
        columns = {
            kind: {
                name.removeprefix("max_"): cell
                for name, cell in flatten(column).items()
                if not name.startswith("thresholds/")
            }
            for kind, column in columns.items()
        }
        lines.append(_line("at", list(columns), width))
        names = dict.fromkeys(name for column in columns.values() for name in column)
        lines += [_line(name, [c.get(name, "") for c in columns.values()], width) for name in names]
    return "\n".join(lines)


def _cells(figures: Mapping[str, Any], intervals: Mapping[str, Any]) -> dict[str, Any]:
    """Turns figures into text, with their intervals."""
    cells: dict[str, Any] = {}
    for name, value in figures.items():
        if isinstance(value, Mapping):
            cells[name] = _cells(value, intervals.get(name, {}))
        else:
            cells[name] = f"{value:.2f}" if isinstance(value, float) else str(value)
            if name in intervals:
                low, high = intervals[name]
                cells[name] += f" [{low:.1f}, {high:.1f}]"
    return cells


def _line(name: str, cells: Sequence[str], width: int) -> str:
    return f"  {name:<26}" + "".join(f"{cell:>{width}}" for cell in cells)
