"""Finds the connected components of a map at all of its levels in one pass.

The foregrounds `{p : levels[p] > level}` are nested, so their components form a tree: from the
highest level down, a component appears at a local maximum, grows, and is absorbed by a higher one
at the saddle between the two. The tree is built once (regions of ascent, then Kruskal's algorithm
over the saddles), and the boxes of all components at all levels are running minima along its
branches. No Python loop runs over pixels or levels; the longest runs over the mergers, a few dozen
in a smooth map.
"""

from typing import NamedTuple

import cv2
import numpy as np

_LEVELS = 256
_FAR = 1 << 28  # beyond any coordinate and flat index


class Components(NamedTuple):
    """Components of the foreground, or its holes, at all levels, sorted by level.

    Attributes:
      level: [N] uint8; a component of, or a hole in, the foreground `levels > level`.
      boxes: [N, 4] int32, first and last column and row `x0, y0, x1, y1`, all inclusive.
      area: [N] float64, area in pixels of the polygon through the centres of the border pixels,
        less the holes. Zero for holes.
      order: [N] int64, larger for components whose first pixel, row by row, comes later.
    """

    level: np.ndarray
    boxes: np.ndarray
    area: np.ndarray
    order: np.ndarray


class _Basins(NamedTuple):
    """Regions in which every pixel has a path to the region's maximum that never goes down."""

    labels: np.ndarray  # [P] smallest unsigned type, region of every pixel of the flattened map
    peaks: np.ndarray  # [R] int64, level of the maximum
    row_maxima: np.ndarray  # flat indices of the local maxima of the rows


class _Tree(NamedTuple):
    """One branch per basin, one cell per branch and level at which the branch is a component."""

    mergers: list[tuple[int, int, int]]  # (branch that ends, one that goes on, level), descending
    branch: np.ndarray  # [C] int64, branch of every cell
    level: np.ndarray  # [C] int64, level of every cell; falls by one from cell to cell of a branch
    cells: np.ndarray  # [R * 256] int64, (basin, level) -> cell of its component; -1 for level 0


def foreground_components(heights: np.ndarray) -> Components:
    """Lists the 8-connected components of `levels > level` for level = 0..254.

    Args:
      heights: [H, W] uint16. The upper byte is the level; the lower one only tells which way is
        up among pixels of one level, which keeps flat steps from looking like maxima.
    """
    heights = _frame(heights, 0)
    basins, tree = _grow(heights, connectivity=8)
    corners = _own_corners(heights, basins, tree)
    corners, area = _accumulate(tree, corners, _own_doubled_area(heights, basins, tree))
    return _sorted_components(tree.level - 1, corners, area, heights.shape[1])


def hole_components(heights: np.ndarray) -> Components:
    """Lists the holes of `levels > level`: 4-connected parts of the rest, away from the border.

    They are the components of the map turned upside down and framed by its highest level, less the
    one that holds the frame. The boxes are those of the hole's own pixels.

    Args:
      heights: see `foreground_components`.
    """
    heights = _frame(~heights, 0xFFFF)
    basins, tree = _grow(heights, connectivity=4)
    if len(basins.peaks) == 1:
        return Components(*(np.zeros(shape, np.int32) for shape in (0, (0, 4), 0, 0)))
    corners = _own_corners(heights, basins, tree)
    corners, area = _accumulate(tree, corners, np.zeros(len(tree.level), np.int64))
    hole = np.ones(len(tree.level), bool)
    outside = int(basins.labels[0]) * _LEVELS
    hole[tree.cells[outside + 1 : outside + _LEVELS]] = False
    return _sorted_components(
        255 - tree.level[hole], corners[:, hole], area[hole], heights.shape[1]
    )


def _frame(heights, value):
    """Surrounds a map by one pixel of `value`: rows end, and no neighbour is off the array."""
    framed = np.full((heights.shape[0] + 2, heights.shape[1] + 2), value, np.uint16)
    framed[1:-1, 1:-1] = heights
    return framed


def _grow(heights, connectivity):
    """Builds basins and tree of a framed map; components are those of `levels >= level`."""
    basins = _find_basins(heights, connectivity)
    return basins, _build_tree(basins.peaks, *_saddles(basins.labels, heights, connectivity))


def _find_basins(heights, connectivity):
    """Assigns every pixel to a maximum.

    Every row falls into pieces that first ascend and then do not. A piece belongs to its maximum;
    a piece whose maximum has a higher neighbour in another row follows that neighbour's piece.
    """
    width = heights.shape[1]
    flat = heights.ravel()
    ascends = flat[1:] > flat[:-1]
    starts = np.append(0, np.flatnonzero(ascends[1:] & ~ascends[:-1]) + 2)
    top = np.append(True, ascends)
    top[:-1] &= ~ascends
    tops = np.flatnonzero(top)
    diagonals = (-1, 0, 1) if connectivity == 8 else (0,)
    steps = np.array([row * width + column for row in (-1, 1) for column in diagonals])[:, None]
    neighbours = np.clip(tops + steps, 0, flat.size - 1)
    # Equal heights: the later pixel counts as the higher one, so that the steps never cycle.
    rise = 2 * (flat[neighbours].astype(np.int32) - flat[tops]) + (steps > 0)
    steepest = rise.argmax(axis=0), np.arange(len(tops))
    higher = np.searchsorted(starts, neighbours[steepest], side="right") - 1
    above = np.where(rise[steepest] > 0, higher, np.arange(len(tops)))
    y, x = np.divmod(tops, width)
    above[(y == 0) | (y == len(heights) - 1) | (x == 0) | (x == width - 1)] = 0  # the frame is one
    while not np.array_equal(above, above[above]):
        above = above[above]
    maxima, basin = np.unique(above, return_inverse=True)
    basin = basin.astype(np.min_scalar_type(len(maxima) - 1))
    labels = np.repeat(basin, np.diff(starts, append=flat.size))
    return _Basins(labels, (flat[tops[maxima]] >> 8).astype(np.int64), tops)


def _saddles(labels, heights, connectivity):
    """Returns the adjacent basins [M, 2] and the level [M] at which they meet, highest first."""
    width = heights.shape[1]
    flat = heights.ravel()
    count = int(labels.max()) + 1
    codes = []
    for step in (1, width) if connectivity == 4 else (1, width, width - 1, width + 1):
        here = np.flatnonzero(labels[:-step] != labels[step:])
        there = here + step
        first, second = labels[here].astype(np.int64), labels[there].astype(np.int64)
        pair = np.minimum(first, second) * count + np.maximum(first, second)
        codes.append(pair << 8 | np.minimum(flat[here], flat[there]) >> 8)
    codes = np.sort(np.concatenate(codes))
    pair, level = codes >> 8, codes & 0xFF
    highest = np.append(pair[1:] != pair[:-1], True)[: len(pair)] & (level > 0)
    pair, level = pair[highest], level[highest]
    order = np.argsort(-level, kind="stable")
    return np.stack(np.divmod(pair[order], count), axis=1), level[order]


def _build_tree(peaks, pairs, levels):
    """Merges the basins from the highest saddle down; the branch with the higher peak goes on."""
    root = list(range(len(peaks)))
    peak = peaks.tolist()
    ends = [0] * len(peaks)  # level at which the branch is absorbed
    mergers = []
    for (one, other), level in zip(pairs.tolist(), levels.tolist(), strict=True):
        while root[one] != one:
            root[one] = one = root[root[one]]
        while root[other] != other:
            root[other] = other = root[root[other]]
        if one == other:
            continue
        if peak[one] > peak[other]:
            one, other = other, one
        root[one] = other
        ends[one] = level
        mergers.append((one, other, level))
    lives = peaks - ends
    branch = np.repeat(np.arange(len(peaks)), lives)
    base = np.cumsum(lives) - lives + peaks  # the cell of `level` is base - level
    cells = np.empty((len(peaks), _LEVELS), np.int64)
    np.subtract(base[:, None], np.arange(_LEVELS), out=cells)
    cells = cells.ravel()
    for one, other, level in reversed(mergers):
        one, other = one * _LEVELS, other * _LEVELS
        cells[one : one + level + 1] = cells[other : other + level + 1]
    cells[::_LEVELS] = -1
    return _Tree(mergers, branch, base[branch] - np.arange(len(branch)), cells)


def _own_corners(heights, basins, tree):
    """Returns [4, C] the minima of x, flat index, -x, -y over the pixels that join in every cell.

    A local maximum of a row is in every row of a component, and one of a column in every column:
    these few pixels fix all boxes.
    """
    width = heights.shape[1]
    rows = basins.row_maxima
    columns = width + np.flatnonzero(
        (heights[1:-1] > heights[:-2]) & (heights[1:-1] >= heights[2:])
    )
    x, y = columns % width, rows // width
    corners = np.full((4, len(tree.level) + 1), _FAR)  # the last column takes level 0, cell -1
    for pixels, minima in ((columns, ((0, x), (2, -x))), (rows, ((1, rows), (3, -y)))):
        labels = basins.labels[pixels].astype(np.int64)
        cells = tree.cells[labels * _LEVELS + (heights.ravel()[pixels] >> 8)]
        for corner, coordinate in minima:
            np.minimum.at(corners[corner], cells, coordinate)
    return corners[:, :-1]


def _own_doubled_area(heights, basins, tree):
    """Returns [C] twice the polygon area that joins in every cell.

    The polygon covers the square between four pixel centres if all four pixels are in, half of it
    if three are. So a square gives its first half at the second lowest of its levels and the other
    at the lowest.
    """
    width = heights.shape[1]
    flat = (heights >> 8).astype(np.uint8).ravel()
    low, high = np.minimum(flat[:-1], flat[1:]), np.maximum(flat[:-1], flat[1:])
    upper, lower = slice(None, -width), slice(width, None)
    lowest = np.minimum(low[upper], low[lower])
    second = np.minimum(np.maximum(low[upper], low[lower]), np.minimum(high[upper], high[lower]))
    # Any pixel that is in tells the component of the square; at most one of two is out.
    first, right = basins.labels[: len(second)], basins.labels[1 : len(second) + 1]
    owner = np.where(flat[: len(second)] >= second, first, right)
    joined = _count(owner, second, len(basins.peaks)) + _count(owner, lowest, len(basins.peaks))
    used = np.flatnonzero((joined > 0) & (tree.cells >= 0))
    area = np.zeros(len(tree.level), np.int64)
    np.add.at(area, tree.cells[used], joined[used])
    return area


def _count(basins, levels, num_basins):
    """Returns the number of occurrences of every (basin, level), flattened [R * 256] int64."""
    if num_basins <= 256:  # the common case; OpenCV has a fast way for bytes
        sizes, ranges = [num_basins, _LEVELS], [0, num_basins, 0, _LEVELS]
        counts = cv2.calcHist([basins, levels], [0, 1], None, sizes, ranges)
        return counts.astype(np.int64).ravel()
    codes = basins.astype(np.int64) * _LEVELS + levels
    return np.bincount(codes, minlength=num_basins * _LEVELS)


def _accumulate(tree, corners, area):
    """Turns what joins in every cell into the totals of the component, area halved to pixels."""
    if not len(tree.level):
        return corners, area / 2
    heads = np.flatnonzero(np.diff(tree.branch, prepend=-1))  # the peak cells of the live branches
    _pass_on(tree, heads, corners, area)
    # One running minimum over all branches; an offset that falls by branch keeps them apart.
    offset = tree.branch * (4 * _FAR)
    for corner in corners:
        corner -= offset
        np.minimum.accumulate(corner, out=corner)
        corner += offset
    sums = np.cumsum(area)
    before = sums[heads] - area[heads]
    return corners, (sums - np.repeat(before, np.diff(heads, append=len(area)))) / 2


def _pass_on(tree, heads, corners, area):
    """Adds the total of every branch that ends to the cell that absorbs it, in place."""
    live = tree.branch[heads]
    totals = np.full((5, len(tree.cells) // _LEVELS), _FAR)
    totals[:4, live] = np.minimum.reduceat(corners, heads, axis=1)
    totals[4, live] = np.add.reduceat(area, heads)
    *extremes, areas = totals.tolist()
    alive = set(live.tolist())
    mergers = [merger for merger in tree.mergers if merger[0] in alive]
    if not mergers:
        return
    ended = [one for one, _, _ in mergers]
    # Not the branch of the merger: several can end at one level, and then the last one gets it all.
    cells = tree.cells[[other * _LEVELS + level for _, other, level in mergers]]
    for one, other in zip(ended, tree.branch[cells].tolist(), strict=True):
        for extreme in extremes:
            if extreme[one] < extreme[other]:
                extreme[other] = extreme[one]
        areas[other] += areas[one]
    for corner, extreme in zip(corners, extremes, strict=True):
        np.minimum.at(corner, cells, np.array(extreme)[ended])
    np.add.at(area, cells, np.array(areas)[ended])


def _sorted_components(level, corners, area, width):
    """Sorts by level and takes the frame off the coordinates."""
    level = level.astype(np.uint8)
    order = np.argsort(level, kind="stable")
    boxes = np.empty((len(level), 4), np.int32)
    first = corners[1][order]
    boxes[:, 0] = corners[0][order] - 1
    boxes[:, 1] = first // width - 1
    boxes[:, 2] = -1 - corners[2][order]
    boxes[:, 3] = -1 - corners[3][order]
    return Components(level[order], boxes, area[order], first)
