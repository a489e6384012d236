"""Fills polygons in integer arithmetic: the same pixels on every machine.

The pixels are those of `fillPoly` in OpenCV 5: an even-odd scanline fill between the vertices'
pixels, and Bresenham's lines around it. OpenCV 4.10 fills others, so a data set that is to look the
same everywhere cannot be left to it. All shapes of a scene are filled together, since most are too
small to be worth NumPy calls of their own.
"""

import numpy as np

SUBPIXELS = 16  # a vertex is rounded to sixteenths of a pixel, then to a pixel
BITS = 16  # of a pixel's fraction, where a scanline crosses an edge
MARGIN = 1  # columns left and right of the image, where spans end that leave it


def fill(drawings: list[np.ndarray], size: int) -> list[np.ndarray]:
    """Finds the pixels of drawings. What two polygons of a drawing both cover is left out.

    Args:
      drawings: each float `[polygons, vertices, 2]`, x and y in pixels; the first pixel is from 0
        to 1.
      size: height and width of the image in pixels.

    Returns:
      For each drawing the pixels of its area and outline: indices `[n]` into the flat image
      `[size, size + 2 * MARGIN]`, in no order; some come twice.
    """
    start, end, drawing = _edges(drawings)
    # The images of the drawings lie one below the other, the image of an edge from row `top`.
    top = drawing * size
    cut_start, cut_end, visible = _clip(start, end, size)
    area = _area(start[1], end[1], cut_start, cut_end, top, size)
    outline = _lines(cut_start[:, visible], cut_end[:, visible], top[visible], size)
    # Both are in the order of the drawings, though not sorted.
    pixels = size * (size + 2 * MARGIN)
    pieces = []
    for indices in (area, outline):
        counts = np.bincount(indices // pixels, minlength=len(drawings))
        bounds = [0, *np.cumsum(counts).tolist()]
        pieces.append([indices[a:b] for a, b in zip(bounds, bounds[1:], strict=False)])
    return [np.concatenate(pair) - i * pixels for i, pair in enumerate(zip(*pieces, strict=True))]


def _edges(drawings: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the pixels `[2, edges]` where edges start and end, and their drawings `[edges]`."""
    vertices = np.concatenate([drawing.reshape(-1, 2) for drawing in drawings]).T
    vertices = np.rint((vertices - 0.5) * SUBPIXELS).astype(np.int64)
    vertices = (vertices + SUBPIXELS // 2) // SUBPIXELS
    polygons, corners = np.array([drawing.shape[:2] for drawing in drawings]).T
    ends = np.cumsum(np.repeat(corners, polygons))
    before = np.arange(-1, ends[-1] - 1)  # of a vertex, in its polygon
    before[0], before[ends[:-1]] = ends[0] - 1, ends[1:] - 1
    return vertices[:, before], vertices, np.repeat(np.arange(len(drawings)), polygons * corners)


def _clip(
    start: np.ndarray, end: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cuts edges at the borders of the image, rows first, then columns (Cohen and Sutherland).

    Returns:
      Where edges start and end then, `[2, edges]`, and which are in the image at all, `[edges]`.
      One that is not may have been cut at its rows all the same: `_area` needs it as it is.
    """
    low, high = np.minimum(start, end), np.maximum(start, end)
    visible = (low >= 0).all(axis=0) & (high < size).all(axis=0)
    crossing = np.flatnonzero(~visible)
    ends = np.stack([start[:, crossing], end[:, crossing]])
    hidden = _beyond(ends, size).any(axis=0)
    for axis in (1, 0):
        hidden |= _beyond(ends, size)[axis]
        for point, other in (ends, ends[::-1]):
            border = np.where(hidden, point[axis], point[axis].clip(0, size - 1))
            length = border - point[axis]  # to be cut off
            run, rise = other[axis] - point[axis], other[1 - axis] - point[1 - axis]
            point[1 - axis] += _divide(length * rise, np.where(length == 0, 1, run))
            point[axis] = border
    start, end = start.copy(), end.copy()
    start[:, crossing], end[:, crossing] = ends
    visible[crossing] = ~hidden
    return start, end, visible


def _beyond(ends: np.ndarray, size: int) -> np.ndarray:
    """Tells which edges `[2, 2, edges]` have both ends beyond one border: `[2, edges]` by axis."""
    return np.asarray((ends < 0).all(axis=0) | (ends >= size).all(axis=0))


def _area(
    start_row: np.ndarray,
    end_row: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
    top: np.ndarray,
    size: int,
) -> np.ndarray:
    """Returns the pixels between edges; their rows are those before they were cut."""
    uncut = start[1] == end[1]
    start_y, end_y = np.where(uncut, start_row, start[1]), np.where(uncut, end_row, end[1])
    slope = _divide((end[0] - start[0]) << BITS, np.where(start_y == end_y, 1, end_y - start_y))
    upper_x, upper_y = np.where(start_row < end_row, (start[0], start_y), (end[0], end_y))
    # An edge has its first row but not its last, so that edges which meet count as one.
    first = np.minimum(start_row, end_row).clip(0)
    rows = (np.maximum(start_row, end_row).clip(max=size) - first).clip(0)
    row = _ranges(first, rows)
    origin, slope, top = np.repeat([(upper_x << BITS) - upper_y * slope, slope, top], rows, axis=1)
    x = (origin + row * slope).clip(-MARGIN << BITS, size << BITS)
    # As positions in the flat images, so that sorting pairs the edges of each row.
    crossings = ((top + row) * (size + 2 * MARGIN) + MARGIN << BITS) + x
    crossings.sort()
    first, last = -(-crossings[::2] >> BITS), crossings[1::2] >> BITS
    return _ranges(first, last - first + 1)


def _lines(start: np.ndarray, end: np.ndarray, top: np.ndarray, size: int) -> np.ndarray:
    """Returns the pixels of lines (Bresenham), drawn from left to right."""
    width = size + 2 * MARGIN
    left, right = np.where(start[0] > end[0], (end, start), (start, end))
    dx, dy = right - left
    down, dy = np.where(dy < 0, -width, width), abs(dy)
    steep = dy > dx
    origin = (top + left[1]) * width + MARGIN + left[0]
    # Every pixel is a step ahead along the longer side; where its turn comes, one aside as well.
    ahead, aside = np.where(steep, down, 1), np.where(steep, 1, down)
    longer, shorter = np.maximum(dx, dy), np.minimum(dx, dy)
    step = _ranges(np.zeros_like(longer), longer + 1)
    each = [origin, ahead, aside, 2 * shorter, longer.clip(1)]
    origin, ahead, aside, slope, longer = np.repeat(each, longer + 1, axis=1)
    return origin + step * ahead + (step * slope + longer - 1) // (2 * longer) * aside


def _ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Returns `counts` numbers from each of `starts` on, all in one array."""
    ends = np.cumsum(counts)
    return np.repeat(starts - ends + counts, counts) + np.arange(counts.sum())


def _divide(dividend: np.ndarray, divisor: np.ndarray) -> np.ndarray:
    """Divides integers and rounds towards zero."""
    quotient = abs(dividend) // abs(divisor)
    return np.where((dividend < 0) == (divisor < 0), quotient, -quotient)
