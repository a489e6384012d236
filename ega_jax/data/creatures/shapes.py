"""What creatures are made of: their parts and the species, as polygons.

A drawing is one array `[polygons, vertices, 2]` of x and y (y points down) in the frame of its
part, so a pose is a matrix product. What two polygons of a drawing both cover is left out: two
discs make a ring.
"""

import dataclasses

import numpy as np


def drawing(*polygons: np.ndarray) -> np.ndarray:
    """Stacks polygons; the last vertex fills up the shorter ones, which changes no area."""
    vertices = max(len(polygon) for polygon in polygons)
    return np.stack([p[np.minimum(np.arange(vertices), len(p) - 1)] for p in polygons])


def polygon(*points: tuple[float, float]) -> np.ndarray:
    """Returns the polygon `[vertices, 2]` through the points."""
    return np.array(points, float)


def disc(x: float, y: float, rx: float, ry: float | None = None, vertices: int = 20) -> np.ndarray:
    """Returns an ellipse around (x, y); a circle without `ry`."""
    angle = np.arange(vertices) * (2 * np.pi / vertices)
    return np.stack([x + rx * np.cos(angle), y + (ry or rx) * np.sin(angle)], axis=1)


def bar(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    """Returns the rectangle between two corners."""
    return polygon((x0, y0), (x1, y0), (x1, y1), (x0, y1))


def blade(angle: float, half_width: float, length: float = 2.0) -> np.ndarray:
    """Returns a triangle that starts at the origin and widens; angles in radians."""
    ends = angle + np.array([-half_width, half_width])
    return np.concatenate([np.zeros((1, 2)), length * np.stack([np.cos(ends), np.sin(ends)], 1)])


# Body frame: its length is 1, x points ahead, the origin is in the middle.
BODY = drawing(disc(0, 0, 0.5, 0.29, 32))
LEGS = drawing(bar(-0.2, 0.2, -0.12, 0.42), bar(0.12, 0.2, 0.2, 0.42))

# Tail frame: the same unit, the origin at the root, -x points to the tip.
TAILS = {
    "fan": drawing(polygon((0.1, -0.08), (-0.36, -0.3), (-0.44, 0), (-0.36, 0.3), (0.1, 0.08))),
    "fork": drawing(polygon((0.1, -0.1), (-0.5, -0.3), (-0.26, 0), (-0.5, 0.3), (0.1, 0.1))),
    "club": drawing(polygon((0.1, -0.06), (0.1, 0.06), *disc(-0.34, 0, 0.17)[1:])),
    "spike": drawing(polygon((0.1, -0.17), (-0.52, 0), (0.1, 0.17))),
    "paddle": drawing(bar(-0.45, -0.13, 0.1, 0.13)),
}

# Coats are clipped to the body.
COATS = {
    "bands": drawing(*(bar(x, -0.4, x + 0.17, 0.4) for x in np.arange(-0.45, 0.5, 0.34))),
    "pinstripes": drawing(*(bar(x, -0.4, x + 0.09, 0.4) for x in np.arange(-0.45, 0.5, 0.18))),
    "rails": drawing(*(bar(-0.6, y, 0.6, y + 0.08) for y in (-0.28, -0.12, 0.04, 0.2))),
    "blotches": drawing(
        *(
            disc(x + 0.12 * (row % 2), y, 0.085, vertices=10)
            for row, y in enumerate((-0.2, 0.0, 0.2))
            for x in (-0.48, -0.24, 0.0, 0.24, 0.48)
        )
    ),
    "chequers": drawing(
        *(
            bar(x, y, x + 0.16, y + 0.16)
            for column, x in enumerate(np.arange(-0.56, 0.5, 0.16))
            for row, y in enumerate(np.arange(-0.32, 0.3, 0.16))
            if (column + row) % 2
        )
    ),
    "chevrons": drawing(
        *(
            np.array([(0, -0.4), (0.1, -0.4), (0.3, 0), (0.1, 0.4), (0, 0.4), (0.2, 0)]) + (x, 0)
            for x in np.arange(-0.68, 0.5, 0.22)
        )
    ),
    "saddle": drawing(disc(-0.05, -0.2, 0.3, 0.24)),
    "belly": drawing(bar(-0.6, 0.04, 0.6, 0.4)),
    "rings": drawing(disc(0, 0, 0.42, 0.24), disc(0, 0, 0.3, 0.16), disc(0, 0, 0.16, 0.08)),
    "lattice": drawing(
        *(bar(x, -0.4, x + 0.07, 0.4) for x in np.arange(-0.46, 0.5, 0.21)),
        *(bar(-0.6, y, 0.6, y + 0.07) for y in (-0.2, 0.01, 0.2)),
    ),
}

# Head frame: its radius is 1, x points along the beak.
HEAD = drawing(disc(0, 0, 1))
BEAK = drawing(polygon((0.85, -0.3), (1.55, 0.1), (0.85, 0.4)))
EYE = drawing(disc(0.32, -0.22, 0.24, vertices=12))
GLINT = drawing(disc(0.4, -0.3, 0.09, vertices=8))
CRESTS = {
    "bald": drawing(disc(0, 0, 0.5)),  # hidden by the head
    "ears": drawing(
        polygon((-0.9, -0.3), (-0.7, -1.6), (-0.1, -0.8)),
        polygon((0, -0.8), (0.6, -1.5), (0.8, -0.4)),
    ),
    "comb": drawing(polygon((-0.9, -0.2), (-1.5, -1.1), (-0.7, -1.0), (-0.5, -1.7), (0.1, -0.9))),
    "horn": drawing(polygon((0.1, -0.85), (0.75, -1.7), (0.75, -0.5))),
    "knob": drawing(disc(-0.2, -1.15, 0.35, vertices=12)),
}

# Marks are clipped to head and crest.
SLANT = np.sqrt(0.5) * np.array([[1, 1], [-1, 1]])  # by 45 degrees
MARKS = {
    "bars": drawing(*(bar(x, -2, x + 0.36, 2) for x in (-0.9, -0.18, 0.54))),
    "rungs": drawing(*(bar(-2, y, 2, y + 0.36) for y in (-0.9, -0.18, 0.54))),
    "target": drawing(disc(0, 0, 0.78), disc(0, 0, 0.42)),
    "quarters": drawing(bar(-2, -2, 0, 0), bar(0, 0, 2, 2)),
    "cross": drawing(bar(-0.3, -2, 0.3, -0.3), bar(-2, -0.3, 2, 0.3), bar(-0.3, 0.3, 0.3, 2)),
    "rays": drawing(*(blade(np.pi / 3 * i, 0.3) for i in range(6))),
    "freckles": drawing(
        *(
            disc(x, y, 0.27, vertices=8)
            for x, y in ((-0.5, -0.5), (-0.5, 0.4), (0.2, 0.55), (0.1, -0.7), (-0.15, -0.05))
        )
    ),
    "checks": drawing(
        *(
            bar(x, y, x + 0.5, y + 0.5)
            for column, x in enumerate(np.arange(-1, 1, 0.5))
            for row, y in enumerate(np.arange(-2, 1, 0.5))
            if (column + row) % 2
        )
    ),
    "pinwheel": drawing(*(blade(np.pi / 3 * (2 * i + 0.5), 0.5) for i in range(3))),
    "sashes": drawing(*(bar(-2, y, 2, y + 0.5) @ SLANT for y in (-0.8, 0.25))),
}


@dataclasses.dataclass(frozen=True)
class Species:
    """What tells a class: names of the parts above; are the marks dark on a light head?"""

    name: str
    marks: str
    dark_marks: bool
    crest: str
    coat: str
    tail: str


SPECIES = (
    Species("barling", "bars", True, "ears", "blotches", "fan"),
    Species("runglet", "rungs", True, "comb", "pinstripes", "fork"),
    Species("ringo", "target", False, "knob", "rails", "club"),
    Species("quartle", "quarters", True, "bald", "bands", "spike"),
    Species("crosset", "cross", False, "horn", "chequers", "paddle"),
    Species("starrow", "rays", True, "comb", "chevrons", "fan"),
    Species("frecklin", "freckles", True, "ears", "saddle", "fork"),
    Species("chequin", "checks", False, "bald", "belly", "club"),
    Species("whirlo", "pinwheel", False, "horn", "rings", "spike"),
    Species("sashel", "sashes", False, "knob", "lattice", "paddle"),
)
