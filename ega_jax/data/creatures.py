"""Draws creatures: one small animal in clutter, painted by numbers, with its exact mask.

Made like the problem that bird photographs pose. The whole animal tells its species: the head by a
bold pattern that suffices alone, the body by a fine coat and the shape of the tail. Everything else
is drawn alike for all species: pose, size, place, colours, background, clutter.
"""

import dataclasses

import cv2
import numpy as np

Polygon = np.ndarray  # [vertices, 2], x and y


def _disc(x: float, y: float, rx: float, ry: float | None = None, vertices: int = 20) -> Polygon:
    angle = np.arange(vertices) * (2 * np.pi / vertices)
    return np.stack([x + rx * np.cos(angle), y + (ry or rx) * np.sin(angle)], axis=1)


def _bar(x0: float, y0: float, x1: float, y1: float) -> Polygon:
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


def _poly(*points: tuple[float, float]) -> Polygon:
    return np.array(points, float)


# --- Anatomy. Body frame: unit is the body's length, x points ahead, y down, origin in its middle.
BODY = (_disc(0, 0, 0.5, 0.3, 32),)
LEGS = (_bar(-0.2, 0.2, -0.12, 0.42), _bar(0.12, 0.2, 0.2, 0.42))

# Tails stand at the root (0, 0) and point to -x.
TAILS = {
    "fan": (_poly((0.1, -0.08), (-0.36, -0.3), (-0.44, 0), (-0.36, 0.3), (0.1, 0.08)),),
    "fork": (
        _poly((0.1, -0.1), (-0.5, -0.3), (-0.26, 0), (-0.5, 0.3), (0.1, 0.1)),
    ),
    "club": (_bar(-0.3, -0.05, 0.1, 0.05), _disc(-0.34, 0, 0.16)),
    "spike": (_poly((0.1, -0.17), (-0.52, 0), (0.1, 0.17)),),
    "paddle": (_poly((0.1, -0.13), (-0.45, -0.13), (-0.45, 0.13), (0.1, 0.13)),),
}

# Coats cover the body frame and are clipped to the body.
COATS = {
    "bands": [_bar(x, -0.4, x + 0.14, 0.4) for x in np.arange(-0.49, 0.5, 0.28)],
    "pinstripes": [_bar(x, -0.4, x + 0.07, 0.4) for x in np.arange(-0.49, 0.5, 0.14)],
    "rails": [_bar(-0.6, y, 0.6, y + 0.08) for y in (-0.28, -0.12, 0.04, 0.2)],
    "blotches": [
        _disc(x + 0.12 * (row % 2), y, 0.085, vertices=10)
        for row, y in enumerate((-0.2, 0.0, 0.2))
        for x in (-0.48, -0.24, 0.0, 0.24, 0.48)
    ],
    "chequers": [
        _bar(x, y, x + 0.16, y + 0.16)
        for i, x in enumerate(np.arange(-0.56, 0.5, 0.16))
        for j, y in enumerate(np.arange(-0.32, 0.3, 0.16))
        if (i + j) % 2
    ],
    "chevrons": [
        _poly((x, -0.36), (x + 0.1, -0.36), (x + 0.3, 0), (x + 0.1, 0.36), (x, 0.36), (x + 0.2, 0))
        for x in np.arange(-0.68, 0.5, 0.22)
    ],
    "saddle": [_disc(-0.05, -0.2, 0.3, 0.24)],
    "belly": [_bar(-0.6, 0.04, 0.6, 0.4)],
    "rings": [_disc(0, 0, 0.42, 0.24), _disc(0, 0, 0.3, 0.16), _disc(0, 0, 0.16, 0.08)],
    "lattice": [_bar(x, -0.4, x + 0.05, 0.4) for x in np.arange(-0.48, 0.5, 0.17)]
    + [_bar(-0.6, y, 0.6, y + 0.05) for y in (-0.19, -0.025, 0.14)],
}

# Head frame: unit is the head's radius, x points along the beak, y down.
HEAD = (_disc(0, 0, 1),)
BEAK = (_poly((0.85, -0.3), (1.55, 0.1), (0.85, 0.4)),)
EYE = (_disc(0.32, -0.22, 0.24, vertices=12),)
GLINT = (_disc(0.38, -0.3, 0.09, vertices=8),)

CRESTS = {
    "ears": (_poly((-0.9, -0.3), (-0.7, -1.6), (-0.1, -0.8)), _poly((0, -0.8), (0.6, -1.5), (0.8, -0.4))),
    "crest": (_poly((-0.9, -0.2), (-1.5, -1.1), (-0.7, -1.0), (-0.5, -1.7), (0.1, -0.9)),),
    "horn": (_poly((0.1, -0.85), (0.75, -1.7), (0.75, -0.5)),),
    "knob": (_disc(-0.2, -1.15, 0.35, vertices=12),),
    "bald": (),
}

# Marks are painted on the head (and crest), light on dark or dark on light.
MARKS = {
    "cap": [_bar(-2, -2, 2, -0.1)],
    "bib": [_bar(-2, 0.05, 2, 2)],
    "mask": [_bar(-2, -0.45, 2, 0.25)],
    "halves": [_bar(-2, -2, 0, 2)],
    "target": [_disc(0, 0, 0.72), _disc(0, 0, 0.38)],
    "quarters": [_bar(-2, -2, 0, 0), _bar(0, 0, 2, 2)],
    "bars": [_bar(-0.8, -2, -0.4, 2), _bar(-0.05, -2, 0.35, 2), _bar(0.7, -2, 1.1, 2)],
    "cross": [_bar(-0.3, -2, 0.3, -0.3), _bar(-2, -0.3, 2, 0.3), _bar(-0.3, 0.3, 0.3, 2)],
    "rays": [
        _poly((0, 0), (2 * np.cos(a - 0.3), 2 * np.sin(a - 0.3)), (2 * np.cos(a + 0.3), 2 * np.sin(a + 0.3)))
        for a in np.pi / 3 * np.arange(6)
    ],
    "freckles": [_disc(x, y, 0.27, vertices=8) for x, y in ((-0.5, -0.5), (-0.5, 0.4), (0.2, 0.55), (0.1, -0.7), (-0.15, -0.05))],
}


@dataclasses.dataclass(frozen=True)
class Species:
    """What the members of one class share."""

    name: str
    marks: str
    dark: bool
    crest: str
    coat: str
    tail: str


SPECIES = (
    Species("capling", "cap", False, "ears", "bands", "fan"),
    Species("bibber", "bib", False, "crest", "pinstripes", "fork"),
    Species("maskit", "mask", True, "knob", "rails", "club"),
    Species("halvo", "halves", False, "bald", "blotches", "spike"),
    Species("ringlet", "target", True, "horn", "chequers", "paddle"),
    Species("quartle", "quarters", False, "crest", "chevrons", "fan"),
    Species("barrock", "bars", False, "ears", "saddle", "fork"),
    Species("crosset", "cross", True, "bald", "belly", "club"),
    Species("starrow", "rays", False, "horn", "rings", "spike"),
    Species("frecklin", "freckles", False, "knob", "lattice", "paddle"),
)

# --- Painting by numbers: shapes write a paint's number on a canvas, a palette colours it last.
SCALE = 3  # canvas pixels per image pixel
SHIFT = 4  # fractional bits of a vertex
(GROUND, WEED) = (0, 1)
CLUTTER = 2  # two paints for each piece
PIECES = 12
CREATURE = 32  # this paint and all above belong to the creature
(P_TAIL, P_LEG, P_BODY, P_COAT, P_HEAD, P_MARK, P_EYE, P_GLINT, P_BEAK) = range(32, 41)
PAINTS = 41


def _fill(canvas: np.ndarray, shapes, paint: int) -> None:
    """Fills polygons given in canvas pixels."""
    if len(shapes):
        points = [np.round((s - 0.5) * (1 << SHIFT)).astype(np.int32) for s in shapes]
        cv2.fillPoly(canvas, points, paint, lineType=cv2.LINE_8, shift=SHIFT)


def _fill_within(canvas: np.ndarray, shapes, paint: int, within: int) -> None:
    """Fills polygons where the canvas shows the paint `within`."""
    stencil = np.zeros_like(canvas)
    _fill(stencil, shapes, 1)
    canvas[(stencil > 0) & (canvas == within)] = paint


def _turn(degrees: float) -> np.ndarray:
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([(c, -s), (s, c)])


def _colour(hue: float, lightness: float, chroma: float) -> np.ndarray:
    """RGB in [0, 255] of a hue in turns."""
    rgb = lightness + chroma * np.cos(2 * np.pi * (hue + np.array([0, 1, 2]) / 3))
    return np.clip(rgb, 0, 1) * 255


def _paint_background(canvas, palette, rng) -> None:
    side = canvas.shape[0]
    hue, lightness = rng.uniform(), rng.uniform(0.25, 0.75)
    palette[GROUND] = _colour(hue, lightness, 0.12)
    palette[WEED] = _colour(
        hue + rng.uniform(-0.1, 0.1), lightness + rng.choice([-1, 1]) * rng.uniform(0.05, 0.15), 0.12
    )
    kind = rng.integers(3)
    weeds = []
    for centre in rng.uniform(0, side, (24, 2)):
        size = rng.uniform(0.02, 0.06) * side
        if kind == 0:
            shape = _poly((-1, 0), (0, -4), (1, 0)) @ _turn(rng.uniform(-30, 30))
        elif kind == 1:
            shape = _disc(0, 0, 1.5, 1, 10)
        else:
            shape = _bar(-3, -0.4, 3, 0.4) @ _turn(rng.uniform(-20, 20))
        weeds.append(shape * size + centre)
    _fill(canvas, weeds, WEED)


def _paint_clutter(canvas, palette, rng) -> None:
    side = canvas.shape[0]
    for piece in range(PIECES):
        paint = CLUTTER + 2 * piece
        hue, lightness, step = rng.uniform(), rng.uniform(0.15, 0.85), rng.uniform(0.2, 0.6)
        palette[paint] = _colour(hue, lightness, 0.2)
        palette[paint + 1] = _colour(
            hue + rng.uniform(-0.3, 0.3), lightness + (step if lightness < 0.5 else -step), 0.2
        )
        kind = rng.integers(4)
        if kind == 0:  # pebble with a light
            outer, inner = [_disc(0, 0, 1, 0.7)], [_disc(-0.25, -0.2, 0.4, 0.25, 12)]
        elif kind == 1:  # leaf with a vein
            outer = [_poly((-1.4, 0), (-0.6, -0.45), (0.4, -0.5), (1.4, 0), (0.4, 0.5), (-0.6, 0.45))]
            inner = [_bar(-1.4, -0.06, 1.2, 0.06)]
        elif kind == 2:  # flower
            outer = [
                _disc(0.62 * np.cos(a), 0.62 * np.sin(a), 0.36, vertices=10)
                for a in np.arange(5) * (2 * np.pi / 5)
            ]
            inner = [_disc(0, 0, 0.38, vertices=10)]
        else:  # twig
            outer = [_bar(-1.6, -0.16, 1.6, 0.16), _bar(0.2, -0.9, 0.45, -0.16)]
            inner = [_bar(-1.6, -0.16, -1.3, 0.16), _bar(1.3, -0.16, 1.6, 0.16)]
        pose = _turn(rng.uniform(0, 360)) * rng.uniform(0.05, 0.11) * side
        centre = rng.uniform(0, side, 2)
        _fill(canvas, [s @ pose + centre for s in outer], paint)
        _fill(canvas, [s @ pose + centre for s in inner], paint + 1)


def _paint_creature(canvas, palette, rng, species: Species) -> None:
    side = canvas.shape[0]
    # Articulate: parts into the body frame.
    stretch = np.array([rng.uniform(0.9, 1.15), rng.uniform(0.85, 1.15)])
    head_radius = rng.uniform(0.19, 0.23)
    head = _turn(rng.uniform(-25, 25)) * head_radius
    head_at = np.array([0.5, rng.uniform(-0.3, -0.12)]) * stretch
    tail = _turn(rng.uniform(-30, 30))
    tail_at = np.array([-0.45, -0.03]) * stretch
    gait = _turn(rng.uniform(-20, 20))
    parts = [
        (P_TAIL, [s @ tail + tail_at for s in TAILS[species.tail]], None),
        (P_LEG, [s @ gait * stretch for s in LEGS], None),
        (P_BODY, [s * stretch for s in BODY], None),
        (P_COAT, [s * stretch for s in COATS[species.coat]], P_BODY),
        (P_HEAD, [s @ head + head_at for s in CRESTS[species.crest]], None),
        (P_BEAK, [s @ head + head_at for s in BEAK], None),
        (P_HEAD, [s @ head + head_at for s in HEAD], None),
        (P_MARK, [s @ head + head_at for s in MARKS[species.marks]], P_HEAD),
        (P_EYE, [s @ head + head_at for s in EYE], None),
        (P_GLINT, [s @ head + head_at for s in GLINT], None),
    ]
    # Pose the whole so that its box has the drawn area and lies inside the image.
    pose = _turn(rng.uniform(-45, 45)) * np.array([rng.choice([-1.0, 1.0]), 1.0])[:, None]
    outline = np.concatenate([s for _, shapes, within in parts if within is None for s in shapes])
    outline = outline @ pose
    low, high = outline.min(0), outline.max(0)
    extent = high - low
    area = rng.uniform(0.35, 0.76) ** 2
    size = min(np.sqrt(area / extent.prod()), 0.94 / extent.max())
    corner = rng.uniform(0.02, 0.98 - size * extent)
    for paint, shapes, within in parts:
        shapes = [((s @ pose - low) * size + corner) * side for s in shapes]
        if within is None:
            _fill(canvas, shapes, paint)
        else:
            _fill_within(canvas, shapes, paint, within)

    hue, lightness, chroma = rng.uniform(), rng.uniform(0.3, 0.7), rng.uniform(0.08, 0.25)
    contrast = rng.choice([-1, 1]) * rng.uniform(0.14, 0.2)
    palette[P_BODY] = _colour(hue, lightness, chroma)
    palette[P_COAT] = _colour(hue + rng.uniform(-0.06, 0.06), lightness + contrast, chroma)
    palette[P_TAIL] = _colour(hue, lightness + contrast / 2, chroma)
    palette[P_LEG] = palette[P_BEAK] = _colour(rng.uniform(), rng.uniform(0.3, 0.7), 0.2)
    light = _colour(hue + rng.uniform(-0.2, 0.2), 0.88, 0.1)
    dark = _colour(hue + rng.uniform(-0.2, 0.2), 0.12, 0.1)
    palette[P_HEAD], palette[P_MARK] = (dark, light) if species.dark else (light, dark)
    palette[P_EYE] = _colour(rng.uniform(), 0.5, 0.3)
    palette[P_GLINT] = 255


def draw(rng: np.random.Generator, species: Species, size: int):
    """Draws an image with one creature."""
    canvas = np.zeros((size * SCALE, size * SCALE), np.uint8)
    palette = np.zeros((PAINTS, 3))
    _paint_background(canvas, palette, rng)
    _paint_clutter(canvas, palette, rng)
    _paint_creature(canvas, palette, rng, species)
    colours = np.clip(palette, 0, 255).astype(np.uint8)
    image = cv2.resize(colours[canvas], (size, size), interpolation=cv2.INTER_AREA)
    light = rng.integers(-28, 29, (4, 4, 3), np.int16).astype(np.float32)
    light = cv2.resize(light, (size, size), interpolation=cv2.INTER_CUBIC)
    noise = rng.integers(-10, 11, (size, size, 3), np.int16)
    image = np.clip(image + light.astype(np.int16) + noise, 0, 255).astype(np.uint8)

    def cover(paints):
        share = cv2.resize(paints.astype(np.uint8) * 255, (size, size), interpolation=cv2.INTER_AREA)
        return share > 127

    head = (canvas >= P_HEAD) & (canvas <= P_BEAK)
    return image, cover(canvas >= CREATURE), cover(head)
