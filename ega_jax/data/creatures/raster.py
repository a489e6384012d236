"""Fills polygons in integer arithmetic: the same pixels on every machine.

The pixels are those of `fillPoly` in OpenCV 5: an even-odd scanline fill between the vertices'
pixels, and Bresenham's lines around it. Other versions of OpenCV fill other pixels, so a data set
cannot be left to it. All shapes of a scene are filled together: most are too small to be worth
NumPy calls of their own.
"""

import numpy as np

SUBPIXELS = 16  # a vertex is rounded to sixteenths of a pixel first, then to a pixel
FRACTION_BITS = 16  # of where a scanline crosses an edge
ONE = 1 << FRACTION_BITS
MARGIN = 1  # columns left and right of the image; a span that leaves the image ends there


def fill(drawings: list[np.ndarray], size: int) -> list[np.ndarray]:
    """Finds the pixels of drawings. What two polygons of a drawing both cover is left out.

    Args:
      drawings: each float `[polygons, vertices, 2]`, x and y in pixels; the first pixel is from 0
        to 1.
      size: height and width of the image in pixels.

    Returns:
      For each drawing the pixels of areas and outlines: indices `[n]` into the flat image
      `[size, size + 2 * MARGIN]`, in no order; some come twice.
    """
    start, end, drawing = _edges(drawings)
    # The images of the drawings lie one below the other; `top` is the first row of an edge's image.
    top = drawing * size
    width = size + 2 * MARGIN
    clipped_start, clipped_end, visible = _clip(start, end, size)
    first, last = _spans(start[1], end[1], clipped_start, clipped_end, top, size)
    area = _ranges(first, last + 1 - first)
    outline = _lines(clipped_start[:, visible], clipped_end[:, visible], top[visible], width)
    images = np.arange(len(drawings) + 1) * (size * width)
    area_ends = np.searchsorted(area, images[1:])
    pixels_of = np.bincount(outline // (size * width), minlength=len(drawings))
    return [
        np.concatenate(pieces) - image
        for image, *pieces in zip(
            images[:-1],
            np.split(area, area_ends[:-1]),
            np.split(outline, np.cumsum(pixels_of)[:-1]),
            strict=True,
        )
    ]


def _edges(drawings: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the pixels `[2, edges]` where edges start and end, and their drawings `[edges]`."""
    vertices = np.concatenate([drawing.reshape(-1, 2) for drawing in drawings])
    vertices = np.rint((vertices.T - 0.5) * SUBPIXELS).astype(np.int64)
    vertices = (vertices + SUBPIXELS // 2) // SUBPIXELS
    polygons, corners = np.array([drawing.shape[:2] for drawing in drawings]).T
    last = np.cumsum(np.repeat(corners, polygons)) - 1  # vertex of each polygon
    before = np.arange(-1, vertices.shape[1] - 1)
    before[np.append(0, last[:-1] + 1)] = last
    drawing = np.repeat(np.arange(len(drawings)), polygons * corners)
    start = vertices[:, before]
    return start, vertices, drawing


def _clip(
    start: np.ndarray, end: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cuts edges at the border (Cohen and Sutherland's way: rows first, then columns).

    Returns:
      Start and end `[2, edges]`, and whether any of an edge is in the image, `[edges]`. What of an
      edge that is outside was cut by then stays cut, which tells `_spans` where it leads.
    """
    inside = (np.minimum(start, end) >= 0).all(axis=0) & (np.maximum(start, end) < size).all(axis=0)
    crossing = np.flatnonzero(~inside)
    ends = np.stack([start[:, crossing], end[:, crossing]])
    hidden = _beyond(ends, size).any(axis=0)
    for axis in (1, 0):
        hidden = hidden | _beyond(ends, size)[axis]
        for point, other in (ends, ends[::-1]):
            border = np.where(hidden, point[axis], point[axis].clip(0, size - 1))
            run = other[axis] - point[axis]
            rise = other[1 - axis] - point[1 - axis]
            moves = border != point[axis]
            run[~moves] = 1
            point[1 - axis] += _divide((border - point[axis]) * rise * moves, run)
            point[axis] = border
    start, end, visible = start.copy(), end.copy(), inside
    start[:, crossing], end[:, crossing] = ends
    visible[crossing] = ~hidden
    return start, end, visible


def _beyond(ends: np.ndarray, size: int) -> np.ndarray:
    """Tells whether both ends of edges `[2, 2, edges]` are beyond the same border: `[2, edges]`."""
    return np.asarray((ends < 0).all(axis=0) | (ends >= size).all(axis=0))


def _spans(y0, y1, start, end, top, size) -> tuple[np.ndarray, np.ndarray]:
    """Returns the first and the last pixels of spans."""
    cut = start[1] != end[1]
    from_y, to_y = np.where(cut, start[1], y0), np.where(cut, end[1], y1)
    slope = _divide((end[0] - start[0]) * ONE, np.where(to_y == from_y, 1, to_y - from_y))
    down = y0 < y1
    offset = np.where(down, start[0] * ONE - from_y * slope, end[0] * ONE - to_y * slope)
    first_row = np.minimum(y0, y1).clip(0)
    rows = (np.maximum(y0, y1).clip(max=size) - first_row).clip(0)
    row = _ranges(first_row, rows)
    offset, slope, top = np.repeat(np.stack([offset, slope, top]), rows, axis=1)
    x = (offset + slope * row).clip(-MARGIN * ONE, size * ONE)
    crossings = ((top + row) * (size + 2 * MARGIN) + MARGIN) * ONE + x
    crossings.sort()
    return (crossings[::2] + ONE - 1) // ONE, crossings[1::2] // ONE


def _lines(start, end, top, width) -> np.ndarray:
    """Returns the pixels of Bresenham's lines, drawn from left to right."""
    left, right = np.where(start[0] > end[0], (end, start), (start, end))
    dx, dy = right - left
    down = np.where(dy < 0, -width, width)
    dy = abs(dy)
    steep = dy > dx
    long, short = np.maximum(dx, dy), np.minimum(dx, dy)
    origin = (top + left[1]) * width + left[0] + MARGIN
    step = _ranges(np.zeros_like(long), long + 1)
    each = np.stack(
        [origin, np.where(steep, down, 1), np.where(steep, 1, down), 2 * short, long.clip(1)]
    )
    origin, forth, aside, short2, long = np.repeat(each, long + 1, axis=1)
    return origin + step * forth + (short2 * step + long - 1) // (2 * long) * aside


def _ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Returns the ranges `start, start + 1, …` of `count` numbers each, one after another."""
    ends = np.cumsum(counts)
    return np.repeat(starts - ends + counts, counts) + np.arange(counts.sum())


def _divide(dividend: np.ndarray, divisor: np.ndarray) -> np.ndarray:
    """Divides and rounds towards zero."""
    quotient = abs(dividend) // abs(divisor)
    return np.where((dividend < 0) == (divisor < 0), quotient, -quotient)
