"""Fig. 7: figures over a field that the rows of a study vary, the strength of the attack."""

import itertools
from collections.abc import Sequence

from matplotlib.figure import Figure

from ega_jax.studies.plan import Study, StudyError
from ega_jax.studies.summary import Line

_COLUMNS = 3  # as wide as a page


def curves(study: Study, lines: Sequence[Line]) -> Figure:
    """Draws each column of a study over the field that its rows vary.

    A curve joins the rows of one recipe; bars are standard deviations over the seeds.

    Args:
      study: whose rows differ from their recipes in one number, the same field in all of them.
      lines: as `summarize` gives them.

    Raises:
      StudyError: they differ otherwise.
    """
    fields = {name for line in lines for name in line.row.fields}
    values = [value for line in lines for value in line.row.fields.values()]
    if len(fields) != 1 or not all(isinstance(value, int | float) for value in values):
        raise StudyError(
            f"{study.title}: its rows vary {', '.join(sorted(fields)) or 'no field'}; a curve is "
            "over one number, as in configs/studies/fig7.py"
        )
    (field,) = fields
    recipes = list(dict.fromkeys(line.row.recipe for line in lines))
    columns = min(_COLUMNS, len(study.metrics))
    rows = -(-len(study.metrics) // columns)
    figure = Figure(figsize=(2.4 * columns, 2.0 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axes, title in itertools.zip_longest(panels, study.metrics):
        if title is None:
            axes.remove()
            continue
        for recipe in recipes:
            points = [
                (line.row.fields[field], line.cells[title])
                for line in lines
                if line.row.recipe == recipe and line.cells[title].values
            ]
            if points:
                x, cells = zip(*sorted(points, key=lambda point: point[0]), strict=True)
                axes.errorbar(
                    x,
                    [cell.mean for cell in cells],
                    None
                    if all(cell.deviation is None for cell in cells)
                    else [cell.deviation or 0.0 for cell in cells],
                    marker=".",
                    capsize=2,
                    label=recipe.rpartition("/")[2],
                )
        axes.set_xlabel(field, fontsize=8)
        axes.set_xticks(sorted(set(values)))
        axes.set_title(title, fontsize=8)
        axes.tick_params(labelsize=7)
    if len(recipes) > 1:
        figure.axes[0].legend(fontsize=7, frameon=False)
    return figure
