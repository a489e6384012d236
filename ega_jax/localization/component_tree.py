"""Finds the connected components of a map at all of its levels in one pass.

The foregrounds `{p : levels[p] > level}` are nested, so their components form a tree: from the
highest level down, a component appears at a local maximum, grows, and meets another at the saddle
between the two. The tree is built once (regions of ascent, then Boruvka's algorithm over the
saddles), and the boxes of all components at all levels are running minima along its branches. No
Python loop runs over pixels, levels or branches: in a map of noise these are tens of thousands.
"""

from typing import NamedTuple

import cv2
import numpy as np


class Components(NamedTuple):
    """Components of the foreground, or its holes, at all levels, sorted by level.

    Attributes:
      level: `[N]` uint8; a component of, or a hole in, the foreground `levels > level`.
      boxes: `[N, 4]` int32, first and last column and row `x0, y0, x1, y1`, all inclusive.
      area: `[N]` float64, area in pixels of the polygon through the centres of the border pixels,
        less the holes. Zero for holes.
      order: `[N]` integers, larger for components whose first pixel, row by row, comes later.
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
    """One branch per basin, one cell per branch and level at which the branch is a component.

    Where branches meet one goes on, whichever, and the others end; its cells are then the
    components of all. Branch 0, the frame's, goes on everywhere; its cells are not wanted.
    """

    parent: np.ndarray  # [R] int64, the branch that absorbs a branch; branch 0 has itself
    ends: np.ndarray  # [R] int64, the level at which it does, above the parent's; -1 for branch 0
    base: np.ndarray  # [R] int64; the cell of a branch at a level is `base - level`
    lives: np.ndarray  # [R] int64, number of cells of a branch; they follow each other
    live: np.ndarray  # int64, the branches that have cells
    heads: np.ndarray  # int64, their first cells
    level: np.ndarray  # [C] uint8, level of every cell; falls by one from cell to cell of a branch

    def cells(self, branch, level):
        """Returns the cells [N] of the components that basins [N] belong to at levels [N]."""
        branch = branch.astype(np.int64)
        gone = np.flatnonzero(self.ends[branch] >= level)
        while len(gone):
            above = self.parent[branch[gone]]
            branch[gone] = above
            gone = gone[self.ends[above] >= level[gone]]
        return self.base[branch] - level


def foreground_components(heights: np.ndarray) -> Components:
    """Lists the 8-connected components of `levels > level` for level = 0..254.

    Args:
      heights: `[H, W]` uint16. The upper byte is the level; the lower one only tells which way is
        up among pixels of one level, which keeps flat steps from looking like maxima.
    """
    heights = _frame(heights, 0)
    basins = _find_basins(heights, connectivity=8)
    tree = _build_tree(basins.peaks, *_saddles(basins.labels, heights, connectivity=8))
    area = _own_doubled_area(heights, basins, tree)
    return _components(heights, basins, tree, area, tree.level - 1)


def hole_components(heights: np.ndarray) -> Components:
    """Lists the holes of `levels > level`: 4-connected parts of the rest, away from the border.

    They are the components of the map turned upside down and framed by its highest level, less the
    one that holds the frame. The boxes are those of the hole's own pixels.

    Args:
      heights: see `foreground_components`.
    """
    heights = _frame(~heights, 0xFFFF)
    basins = _find_basins(heights, connectivity=4)
    if len(basins.peaks) == 1:  # the frame's
        none = np.zeros(0, np.int64)
        return Components(none.astype(np.uint8), np.zeros((0, 4), np.int32), none * 0.0, none)
    tree = _build_tree(basins.peaks, *_saddles(basins.labels, heights, connectivity=4))
    return _components(heights, basins, tree, np.zeros(len(tree.level)), 255 - tree.level)


def _frame(heights, value):
    """Surrounds a map by one pixel of `value`: rows end, and no neighbour is off the array."""
    return cv2.copyMakeBorder(heights, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=value)


def _find_basins(heights, connectivity):
    """Assigns every pixel to a maximum.

    Every row falls into pieces that first ascend and then do not. A piece belongs to its maximum;
    a piece whose maximum has a higher neighbour in another row follows that neighbour's piece.
    """
    width = heights.shape[1]
    flat = heights.ravel()
    ascends = flat[1:] > flat[:-1]
    turns = np.flatnonzero(ascends[1:] != ascends[:-1]) + 1
    starts, tops = np.zeros((2, len(turns) // 2 + 1), np.int64)
    starts[1:], tops[1:] = turns[::2] + 1, turns[1::2]
    diagonals = (-1, 0, 1) if connectivity == 8 else (0,)
    steps = np.array([row * width + column for row in (-1, 1) for column in diagonals])
    # Equal heights: the later pixel counts as the higher one, so that the steps never cycle.
    rank = np.arange(len(steps))[:, None]
    around = flat.take(tops + steps[:, None], mode="clip").astype(np.int32)
    around *= 8
    around += rank
    highest = around.max(axis=0)
    own = np.arange(len(tops))
    rises = np.flatnonzero(highest >= flat[tops].astype(np.int32) * 8 + len(steps) // 2)
    above = own.copy()
    above[rises] = np.searchsorted(starts, (tops + steps[highest & 7])[rises], side="right") - 1
    x = tops % width
    framed = (x == 0) | (x == width - 1) | (tops < width) | (tops >= flat.size - width)
    above[framed] = 0  # the frame is one
    above = _follow(above)
    maximum = above == own
    number = np.cumsum(maximum) - 1
    basin = number.astype(np.min_scalar_type(int(number[-1])))[above]
    starts[:-1] = starts[1:] - starts[:-1]  # lengths
    starts[-1] = flat.size - starts[-1]
    labels = np.repeat(basin, starts)
    return _Basins(labels, (flat[tops[maximum]] >> 8).astype(np.int64), tops)


def _follow(above):
    """Follows every pointer [N] to its end."""
    while True:
        further = above[above]
        if (further == above).all():
            return above
        above = further[further]


def _saddles(labels, heights, connectivity):
    """Returns where basins touch: two basins [M] int64 each, and the level [M] int64.

    Those at level 0, most of the frame's, are left out: there everything is one.
    """
    width = heights.shape[1]
    flat = heights.ravel()
    pixels = []
    for step in (1, width) if connectivity == 4 else (1, width, width - 1, width + 1):
        here = np.flatnonzero(labels[:-step] != labels[step:])
        pixels.append((here, here + step))
    here, there = np.concatenate(pixels, axis=1)
    level = np.minimum(flat[here], flat[there]) >> 8
    one, other = labels[here].astype(np.int64), labels[there].astype(np.int64)
    if labels.dtype == np.uint8:  # few basins: of every two only their highest saddle is kept
        size = int(labels.max()) + 1
        highest = np.zeros(size * size, level.dtype)
        np.maximum.at(highest, one * size + other, level)
        pairs = np.flatnonzero(highest)
        one, other = np.divmod(pairs, size)
        return one, other, highest[pairs].astype(np.int64)
    kept = np.flatnonzero(level)
    return one[kept], other[kept], level[kept].astype(np.int64)


def _build_tree(peaks, one, other, levels):
    """Joins the basins `one` and `other` [M] at their saddles' levels [M].

    Boruvka's algorithm: in a round every part ends at its highest saddle, absorbed by the part
    beyond it, save one of two that have it in common. What is left are at most half as many parts.
    """
    parent, ends = np.arange(len(peaks)), np.full(len(peaks), -1)
    while len(one):
        codes = levels << 32 | np.arange(len(one))
        highest = np.full(len(peaks), -1)
        np.maximum.at(highest, one, codes)
        np.maximum.at(highest, other, codes)
        highest[0] = -1  # branch 0 never ends
        part = np.flatnonzero(highest >= 0)
        saddle = highest[part] & 0xFFFFFFFF
        onto = one[saddle] + other[saddle] - part
        ending = (highest[onto] != highest[part]) | (part > onto)
        part = part[ending]
        parent[part], ends[part] = onto[ending], levels[saddle[ending]]
        root = _follow(parent)
        one, other = root[one], root[other]
        apart = np.flatnonzero(one != other)
        one, other, levels = one[apart], other[apart], levels[apart]
    left = np.flatnonzero(ends[1:] < 0) + 1  # at level 0 everything is one
    parent[left] = ends[left] = 0
    while True:  # A parent that has ended by then has no cell there; its own parent stands for it.
        ahead = np.where(ends[parent] >= ends, parent[parent], parent)
        if (ahead == parent).all():
            break
        parent = ahead
    lives = peaks - ends
    first = np.cumsum(lives) - lives
    base = first + peaks
    live = np.flatnonzero(lives)
    level = np.repeat(base.astype(np.uint8), lives)  # modulo 256, which is all that levels need
    level -= np.arange(len(level), dtype=np.uint32).astype(np.uint8)
    return _Tree(parent, ends, base, lives, live, first[live], level)


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
    pixels = np.concatenate((columns, rows))
    cells = tree.cells(basins.labels[pixels], heights.ravel()[pixels] >> 8)
    # The smallest type that keeps branches apart in `_components`.
    kind = np.min_scalar_type(-2 * heights.size * len(tree.parent))
    corners = np.full((4, len(tree.level)), heights.size, max(kind, np.dtype(np.int32)))
    x, first, y = (part.astype(corners.dtype) for part in (columns % width, rows, rows // width))
    of_columns, of_rows = np.split(cells, [len(columns)])
    for corner, joining, coordinate in (
        (0, of_columns, x),
        (1, of_rows, first),
        (2, of_columns, -x),
        (3, of_rows, -y),
    ):
        np.minimum.at(corners[corner], joining, coordinate)
    return corners


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
    # `np.where(flat >= second, first, right)`, five times as fast.
    owner = first ^ (first ^ right) * (flat[: len(second)] < second)
    if len(basins.peaks) <= 256:  # the common case; OpenCV has a fast way to count bytes
        sizes, ranges = [len(basins.peaks), 256], [0, len(basins.peaks), 0, 256]
        joined = cv2.calcHist([owner, second], [0, 1], None, sizes, ranges)
        joined = cv2.calcHist([owner, lowest], [0, 1], None, sizes, ranges, joined, True).ravel()
        used = np.flatnonzero(joined > 0)
        cells = tree.cells(used >> 8, used & 0xFF)
        return np.bincount(cells, joined[used], len(tree.level))
    cells = tree.cells(np.tile(owner, 2), np.concatenate((second, lowest)))
    return np.bincount(cells, minlength=len(tree.level)).astype(np.float64)


def _components(heights, basins, tree, area, level):
    """Turns what joins in every cell into the totals of the component, sorted by level."""
    corners = _own_corners(heights, basins, tree)
    _pass_on(tree, corners, area, heights.size)
    # One running minimum over all branches; an offset that falls by branch keeps them apart.
    offset = np.arange(len(tree.parent), dtype=corners.dtype) * (2 * heights.size)
    offset = np.repeat(offset, tree.lives)
    for corner in corners:
        corner -= offset
        np.minimum.accumulate(corner, out=corner)
        corner += offset
    sums = np.cumsum(area)
    before = sums[tree.heads] - area[tree.heads]
    area = (sums - np.repeat(before, tree.lives[tree.live])) / 2

    frame = tree.base[0] + 1  # cells
    order = np.argsort(level[frame:], kind="stable")
    order += frame
    x0, first, x1, y1 = corners
    boxes = np.empty((len(level), 4), np.int32)
    np.subtract(x0, 1, out=boxes[:, 0])
    np.subtract(first // heights.shape[1], 1, out=boxes[:, 1])
    np.subtract(-1, x1, out=boxes[:, 2])
    np.subtract(-1, y1, out=boxes[:, 3])
    return Components(level[order], boxes.take(order, axis=0), area[order], first[order])


def _pass_on(tree, corners, area, far):
    """Adds the total of every branch that ends to the cell that absorbs it, in place.

    `far` is beyond any coordinate and flat index.
    """
    totals = np.full((4, len(tree.parent)), far, corners.dtype)
    areas = np.zeros(len(tree.parent))
    totals[:, tree.live] = np.minimum.reduceat(corners, tree.heads, axis=1)
    areas[tree.live] = np.add.reduceat(area, tree.heads)
    above = tree.parent
    while above.any():  # In every round totals come from twice as far; those of branch 0 are idle.
        for total in totals:
            np.minimum.at(total, above, total.copy())
        np.add.at(areas, above, areas.copy())
        above = above[above]
    cells = (tree.base[tree.parent] - tree.ends)[1:]
    for corner, total in zip(corners, totals, strict=True):
        np.minimum.at(corner, cells, total[1:])
    np.add.at(area, cells, areas[1:])
