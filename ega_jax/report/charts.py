"""Line charts as numbers that a template draws: paths, ticks, names."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

WIDTH, HEIGHT = 420, 230  # of the drawing
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 40  # margins inside
_POINTS = 400  # drawn of a curve, at most


@dataclasses.dataclass(frozen=True)
class Series:
    """A curve.

    Attributes:
      name: for the legend.
      x: `[N]`.
      y: `[N]`; what is not finite is left out.
      colour: number of the colour.
      dashed: whether it is drawn dashed.
    """

    name: str
    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    colour: int = 0
    dashed: bool = False


@dataclasses.dataclass(frozen=True)
class Line:
    """A curve as it is drawn; the attributes are those of `Series` and SVG's `points`."""

    name: str
    points: str
    colour: int
    dashed: bool


@dataclasses.dataclass(frozen=True)
class Chart:
    """A chart as it is drawn.

    Attributes:
      title: above it.
      x_label: what its x axis is.
      y_label: what its y axis is.
      lines: the curves.
      x_ticks: places in the drawing and texts.
      y_ticks: likewise.
      over_threshold: whether x is the threshold, so that the page can mark the one chosen.
    """

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    over_threshold: bool = False


def chart(
    title: str,
    series: Sequence[Series],
    x_label: str,
    y_label: str,
    *,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    over_threshold: bool = False,
) -> Chart | None:
    """Lays out a chart; None if there is nothing to be drawn.

    Args:
      title: see `Chart`.
      series: the curves.
      x_label: see `Chart`.
      y_label: see `Chart`.
      x_range: ends of the axis; None: those of the curves.
      y_range: likewise.
      over_threshold: see `Chart`.
    """
    drawn = []
    for one in series:
        x, y = np.asarray(one.x, np.float64), np.asarray(one.y, np.float64)
        finite = np.isfinite(x) & np.isfinite(y)
        if finite.any():
            drawn.append((one, _thin(x[finite]), _thin(y[finite])))
    if not drawn:
        return None
    x_range = x_range or _range([x for _, x, _ in drawn])
    y_range = y_range or _range([y for _, _, y in drawn])

    def across(x):
        return LEFT + (x - x_range[0]) / (x_range[1] - x_range[0]) * (WIDTH - LEFT - RIGHT)

    def down(y):
        return (
            HEIGHT - BOTTOM - (y - y_range[0]) / (y_range[1] - y_range[0]) * (HEIGHT - TOP - BOTTOM)
        )

    lines = [
        Line(
            one.name,
            " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(across(x), down(y), strict=True)),
            one.colour,
            one.dashed,
        )
        for one, x, y in drawn
    ]
    return Chart(
        title,
        x_label,
        y_label,
        tuple(lines),
        tuple((across(x), f"{x:g}") for x in ticks(*x_range)),
        tuple((down(y), f"{y:g}") for y in ticks(*y_range)),
        over_threshold,
    )


def ticks(low: float, high: float, number: int = 5) -> list[float]:
    """Returns about `number` round numbers in [low, high]."""
    rough = (high - low) / number
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _thin(values: np.ndarray) -> np.ndarray:
    if len(values) <= _POINTS:
        return values
    return values[np.linspace(0, len(values) - 1, _POINTS).round().astype(int)]


def _range(parts: Sequence[np.ndarray]) -> tuple[float, float]:
    low, high = min(map(np.min, parts)), max(map(np.max, parts))
    margin = (high - low or abs(high) or 1) * 0.05
    return float(low - margin if high == low else low), float(high + margin)
