"""Figures as a short table for people; the machine reads `results.json`."""

from collections.abc import Mapping, Sequence
from typing import Any

THRESHOLDS = ("fixed", "val", "oracle")


def flatten(figures: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Joins the names of nested figures: `{"oracle": {"x": 1.0}}` to `{"oracle/x": 1.0}`."""
    result: dict[str, float] = {}
    for name, value in figures.items():
        if isinstance(value, Mapping):
            result |= flatten(value, f"{prefix}{name}/")
        else:
            result[prefix + name] = value
    return result


def table(figures: Mapping[str, Any]) -> str:
    """Lays figures out in lines; those that depend on the threshold get a column for each kind."""
    columns = {name: flatten(figures[name]) for name in THRESHOLDS if name in figures}
    plain = flatten({name: value for name, value in figures.items() if name not in columns})
    lines = [_line(name, [value]) for name, value in plain.items()]
    if columns:
        # What is `box_acc` at a given threshold is `max_box_acc` at the best one: one line.
        columns = {
            kind: {
                name.removeprefix("max_"): value
                for name, value in column.items()
                if not name.startswith("thresholds/")
            }
            for kind, column in columns.items()
        }
        lines.append(_line("at", list(columns)))
        names = dict.fromkeys(name for column in columns.values() for name in column)
        lines += [_line(name, [c.get(name, "") for c in columns.values()]) for name in names]
    return "\n".join(lines)


def _line(name: str, values: Sequence[float | str]) -> str:
    cells = [f"{value:.2f}" if isinstance(value, float) else str(value) for value in values]
    return f"  {name:<26}" + "".join(f"{cell:>9}" for cell in cells)
