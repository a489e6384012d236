"""A study's table as `study.csv` for programs, `study.md` and `study.html` for people.

The CSV file has a line for every row and column: the figures by seed, their mean and standard
deviation, the published figure, and the paired difference from the baseline with its interval.
"""

import csv
import dataclasses
import html
import io
import pathlib
from collections.abc import Mapping, Sequence

from ega_jax.runtime import files
from ega_jax.studies.plan import Study
from ega_jax.studies.summary import COSTS, Cell, Line

_ABSENT = "–"
_COLUMNS = (
    *("row", "title", "column", "seeds", "values", "mean", "deviation", "published", "difference"),
    *("baseline", "versus", "low", "high"),
)
_STYLE = """
:root { color-scheme: light dark; font: 16px/1.45 system-ui, sans-serif; }
body { max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .3rem .7rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid #8886; vertical-align: top; }
th:first-child, td:first-child { text-align: left; }
small { display: block; opacity: .75; }
"""


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of text: a heading, a sentence about it, the columns' names and the rows' cells.

    A line break in a cell separates a figure from what is said of it.
    """

    heading: str
    note: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def write(
    folder: pathlib.Path, study: Study, lines: Sequence[Line], failed: Mapping[str, str]
) -> None:
    """Writes the three files.

    Args:
      folder: of the study.
      study: its title, columns and source.
      lines: as `summarize` gives them.
      failed: by name of the run, the last line of those that failed.
    """
    tables = lay_out(study, lines, failed)
    files.write_text(folder / "study.csv", as_csv(lines))
    files.write_text(folder / "study.md", as_markdown(study.title, tables))
    files.write_text(folder / "study.html", as_html(study.title, tables))


def lay_out(study: Study, lines: Sequence[Line], failed: Mapping[str, str]) -> list[Table]:
    """Puts a study into tables: figures, comparisons with baselines, and what failed."""
    costs = [title for title in COSTS if any(title in line.costs for line in lines)]
    number = max(len(study.seeds), *(len(line.seeds) for line in lines))
    note = "In percent, mean ± standard deviation over seeds."
    if any(line.row.published for line in lines):
        note += f" In brackets: published ({study.source}), and how far the mean is from it."
    figures = Table(
        "Figures",
        note,
        ["", *study.metrics, *costs],
        [
            [_name(line, number)]
            + [_figure(line.cells[title]) for title in study.metrics]
            + [f"{line.costs[title]:.1f}" if title in line.costs else _ABSENT for title in costs]
            for line in lines
        ],
    )
    compared = [line for line in lines if any(c.versus is not None for c in line.cells.values())]
    titles = {line.row.name: line.row.title for line in lines}
    comparison = Table(
        "Compared with the baseline",
        "Mean difference over the seeds that both have, with its 95 % interval: bootstrap over "
        "test images, the same for both, and over seeds in pairs.",
        ["", "baseline", *study.metrics],
        [
            [line.row.title, titles[line.row.baseline]]
            + [_versus(line.cells[title]) for title in study.metrics]
            for line in compared
        ],
    )
    failures = Table(
        "Failed", "What they said last.", ["run", "said"], [list(pair) for pair in failed.items()]
    )
    return [table for table in (figures, comparison, failures) if table.rows]


def as_csv(lines: Sequence[Line]) -> str:
    """Returns the text of `study.csv`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for line in lines:
        for title, cell in line.cells.items():
            numbers = [cell.mean, cell.deviation, cell.published, cell.difference]
            versus = [cell.versus, *(cell.interval or (None, None))]
            writer.writerow(
                [line.row.name, line.row.title, title, " ".join(map(str, cell.values))]
                + [" ".join(f"{value:.4f}" for value in cell.values.values())]
                + [_plain(number) for number in numbers]
                + [line.row.baseline, *(_plain(number) for number in versus)]
            )
        for title, value in line.costs.items():
            seeds = " ".join(map(str, line.seeds))
            row = [line.row.name, line.row.title, title, seeds, "", f"{value:.4f}"]
            writer.writerow(row + [""] * (len(_COLUMNS) - len(row)))
    return text.getvalue()


def as_markdown(title: str, tables: Sequence[Table]) -> str:
    """Returns the text of `study.md`."""
    parts = [f"# {title}"]
    for table in tables:
        rows = [table.columns, ["---"] * len(table.columns), *table.rows]
        cells = [[_escape(cell.replace("\n", " ")) for cell in row] for row in rows]
        lines = ["| " + " | ".join(row) + " |" for row in cells]
        parts += [f"## {table.heading}", table.note, "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def as_html(title: str, tables: Sequence[Table]) -> str:
    """Returns the text of `study.html`: one file, which needs nothing else."""
    parts = []
    for table in tables:
        head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in table.columns)
        body = "".join(
            f'<tr><th scope="row">{_lines(first)}</th>'
            + "".join(f"<td>{_lines(cell)}</td>" for cell in rest)
            + "</tr>\n"
            for first, *rest in table.rows
        )
        parts.append(
            f"<h2>{html.escape(table.heading)}</h2>\n<p>{html.escape(table.note)}</p>\n"
            f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n'
            f"<tbody>\n{body}</tbody></table></div>\n"
        )
    name = html.escape(title)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{name}</title>\n<style>{_STYLE}</style></head>\n"
        f"<body><h1>{name}</h1>\n{''.join(parts)}</body></html>\n"
    )


def _name(line: Line, number: int) -> str:
    """Names a row, and says how many seeds it has where the study or another row has more."""
    lacking = f"\n({len(line.seeds)} of {number} seeds)" if len(line.seeds) < number else ""
    return line.row.title + (lacking if line.row.recipe else "")


def _figure(cell: Cell) -> str:
    spread = "" if cell.deviation is None else f" ± {cell.deviation:.1f}"
    text = _ABSENT if cell.mean is None else f"{cell.mean:.1f}{spread}"
    if cell.published is not None:
        away = "" if cell.difference is None else f", {cell.difference:+.1f}"
        text += f"\n({cell.published:g}{away})"
    return text


def _versus(cell: Cell) -> str:
    if cell.versus is None:
        return _ABSENT
    interval = "\n[{:+.1f}, {:+.1f}]".format(*cell.interval) if cell.interval else ""
    return f"{cell.versus:+.1f}{interval}"


def _plain(number: float | None) -> str:
    return "" if number is None else f"{number:.4f}"


def _escape(text: str) -> str:
    return text.replace("|", "\\|")


def _lines(text: str) -> str:
    first, _, rest = text.partition("\n")
    return html.escape(first) + (f"<small>{html.escape(rest)}</small>" if rest else "")
