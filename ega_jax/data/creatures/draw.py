"""Draws creatures: one small animal in clutter, with its exact mask.

The problem is that of bird photographs. The whole animal tells its species: the head by a bold
pattern that suffices alone, the body by a fainter coat and the shape of the tail. All else is drawn
alike for all species: pose, size, place, colours, background and clutter.

Painted by numbers: shapes write the number of a paint on a canvas, a palette colours it at the end.
So the mask is read off the canvas. Integer rasterization and a seeded generator give the same bytes
everywhere.
"""

import functools
from typing import Any

import cv2
import numpy as np

from ega_jax.data.creatures import shapes

OVERSAMPLING = 2  # canvas pixels per image pixel, along each axis
SUBPIXEL_BITS = 4  # of a vertex on the canvas
PIECES = 6  # of clutter
WEEDS = 24

# Paints. Each piece of clutter has two; all from CREATURE on are the creature's.
GROUND, WEED, CLUTTER = 0, 1, 2
CREATURE = CLUTTER + 2 * PIECES
TAIL, LEG, BODY, COAT, HEAD, MARK, EYE, GLINT, BEAK = range(CREATURE, CREATURE + 9)

WEED_SHAPES = (
    shapes.polygon((-1, 0), (0, -4), (1, 0)),  # grass
    shapes.disc(0, 0, 1.5, 1, 10),  # pebbles
    shapes.bar(-3, -0.4, 3, 0.4),  # straw
)
CLUTTER_SHAPES = (  # each a shape, and what is painted on it in a second colour
    # egg
    (
        shapes.drawing(shapes.disc(0, 0, 1, 0.7)),
        shapes.drawing(shapes.disc(-0.25, -0.2, 0.4, 0.25)),
    ),
    # leaf
    (
        shapes.drawing(
            shapes.polygon(
                (-1.4, 0), (-0.6, -0.45), (0.4, -0.5), (1.4, 0), (0.4, 0.5), (-0.6, 0.45)
            )
        ),
        shapes.drawing(shapes.bar(-1.4, -0.06, 1.2, 0.06)),
    ),
    # flower
    (
        shapes.drawing(
            *(
                shapes.disc(0.64 * np.cos(angle), 0.64 * np.sin(angle), 0.36, vertices=10)
                for angle in np.arange(5) * (2 * np.pi / 5)
            )
        ),
        shapes.drawing(shapes.disc(0, 0, 0.42, vertices=10)),
    ),
    # twig
    (
        shapes.drawing(shapes.bar(-1.6, -0.16, 1.6, 0.16), shapes.bar(0.2, -0.9, 0.45, -0.16)),
        shapes.drawing(shapes.bar(-1.6, -0.16, -1.3, 0.16), shapes.bar(1.3, -0.16, 1.6, 0.16)),
    ),
)


def draw(
    rng: np.random.Generator, species: shapes.Species, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draws an image of one creature.

    Args:
      rng: decides on everything but the species; the same state gives the same image.
      species: what to draw.
      size: side of the image in pixels.

    Returns:
      The image `[size, size, 3]` uint8 RGB, and the creature's mask `[size, size]` bool, true where
      it covers at least half of the pixel.
    """
    canvas, palette = paint(rng, species, size * OVERSAMPLING)
    image = _shrink(cv2.applyColorMap(canvas, palette[:, np.newaxis]), size) + _light(rng, size)
    image += rng.integers(-4, 4, image.shape, np.int16)  # grain
    mask = _shrink((canvas >= CREATURE).astype(np.uint8) * 255, size) > 127
    return np.clip(image, 0, 255).astype(np.uint8), mask


def paint(
    rng: np.random.Generator, species: shapes.Species, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Paints a scene by numbers.

    Returns:
      The canvas `[size, size]` uint8 of paints, and the palette `[256, 3]` uint8 RGB.
    """
    canvas = np.zeros((size, size), np.uint8)
    colours = np.zeros((256, 3))  # hue in turns, lightness and chroma in [0, 1]
    _paint_ground(canvas, colours, rng)
    _paint_clutter(canvas, colours, rng)
    _paint_creature(canvas, colours, rng, species)
    hue, lightness, chroma = colours.T[..., np.newaxis]
    rgb = lightness + chroma * np.cos(2 * np.pi * (hue - np.arange(3) / 3))
    return canvas, np.rint(255 * np.clip(rgb, 0, 1)).astype(np.uint8)


def _paint_ground(canvas: np.ndarray, colours: np.ndarray, rng: np.random.Generator) -> None:
    hue, lightness = rng.uniform(), rng.uniform(0.25, 0.75)
    step = rng.choice([-1, 1]) * rng.uniform(0.05, 0.12)
    colours[GROUND] = hue, lightness, 0.12
    colours[WEED] = hue + rng.uniform(-0.1, 0.1), lightness + step, 0.12
    size = len(canvas)
    pose = _rotation(rng.uniform(-25, 25, WEEDS)) * rng.uniform(0.02, 0.06, (WEEDS, 1, 1)) * size
    weeds = WEED_SHAPES[rng.integers(len(WEED_SHAPES))] @ pose
    _fill(canvas, weeds + rng.uniform(0, size, (WEEDS, 1, 2)), WEED)


def _paint_clutter(canvas: np.ndarray, colours: np.ndarray, rng: np.random.Generator) -> None:
    size = len(canvas)
    pose = _rotation(rng.uniform(0, 360, PIECES)) * rng.uniform(0.05, 0.11, (PIECES, 1, 1)) * size
    centre = rng.uniform(0, size, (PIECES, 2))
    hue, lightness = rng.uniform(size=PIECES), rng.uniform(0.15, 0.85, PIECES)
    step = np.where(lightness < 0.5, 1, -1) * rng.uniform(0.2, 0.45, PIECES)
    other_hue = hue + rng.uniform(-0.3, 0.3, PIECES)
    for i, kind in enumerate(rng.integers(len(CLUTTER_SHAPES), size=PIECES)):
        first = CLUTTER + 2 * i
        colours[first] = hue[i], lightness[i], 0.2
        colours[first + 1] = other_hue[i], lightness[i] + step[i], 0.2
        for paint_number, shape in enumerate(CLUTTER_SHAPES[kind], first):
            _fill(canvas, shape @ pose[i] + centre[i], paint_number)


def _paint_creature(
    canvas: np.ndarray, colours: np.ndarray, rng: np.random.Generator, species: shapes.Species
) -> None:
    _choose_colours(colours, rng, species)
    parts = _assemble(rng, species)
    # The box gets its share of the image first, then its place. The places crowd towards the
    # border, so that a box in the middle of the image is no answer.
    pose = _rotation(rng.uniform(-20, 20)) * (rng.choice([-1, 1]), 1)
    outline = np.concatenate([s.reshape(-1, 2) for _, s, clip in parts if clip is None]) @ pose
    low = outline.min(axis=0)
    extent = outline.max(axis=0) - low
    side = 0.32 + 0.46 * rng.beta(3, 3)  # of a square with the box's area: 10 to 60 %
    scale = min(side / np.sqrt(extent.prod()), 0.94 / extent.max())
    corner = 0.02 + rng.beta(0.4, 0.4, 2) * (0.96 - scale * extent)
    for paint_number, shape, clip in parts:
        _fill(canvas, ((shape @ pose - low) * scale + corner) * len(canvas), paint_number, clip)


def _choose_colours(colours: np.ndarray, rng: np.random.Generator, species: shapes.Species) -> None:
    hue, lightness, chroma = rng.uniform(), rng.uniform(0.3, 0.7), rng.uniform(0.08, 0.25)
    contrast = rng.choice([-1, 1]) * rng.uniform(0.18, 0.26)
    colours[BODY] = hue, lightness, chroma
    colours[COAT] = hue + rng.uniform(-0.06, 0.06), lightness + contrast, chroma
    colours[TAIL] = hue, lightness + contrast / 2, chroma
    colours[LEG] = colours[BEAK] = rng.uniform(), rng.uniform(0.3, 0.7), 0.2
    light, dark = (HEAD, MARK) if species.dark_marks else (MARK, HEAD)
    colours[light] = hue + rng.uniform(-0.2, 0.2), 0.88, 0.1
    colours[dark] = hue + rng.uniform(-0.2, 0.2), 0.12, 0.1
    colours[EYE] = rng.uniform(), 0.5, 0.3
    colours[GLINT] = 0, 1, 0


def _assemble(
    rng: np.random.Generator, species: shapes.Species
) -> list[tuple[int, np.ndarray, int | None]]:
    """Returns the parts, back to front: paint, drawing in the body's frame, clip as in `_fill`."""
    stretch = rng.uniform(0.87, 1.15, 2)
    gait = _rotation(rng.uniform(-20, 20))
    tail, tail_at = _rotation(rng.uniform(-30, 30)), (-0.45, -0.03) * stretch
    head = _rotation(rng.uniform(-10, 10)) * rng.uniform(0.31, 0.35)
    head_at = (0.5, rng.uniform(-0.3, -0.12)) * stretch
    return [
        (TAIL, shapes.TAILS[species.tail] @ tail + tail_at, None),
        (LEG, shapes.LEGS @ gait * stretch, None),
        (BODY, shapes.BODY * stretch, None),
        (COAT, shapes.COATS[species.coat] * stretch, BODY),
        (HEAD, shapes.CRESTS[species.crest] @ head + head_at, None),
        (BEAK, shapes.BEAK @ head + head_at, None),
        (HEAD, shapes.HEAD @ head + head_at, None),
        (MARK, shapes.MARKS[species.marks] @ head + head_at, HEAD),
        (EYE, shapes.EYE @ head + head_at, None),
        (GLINT, shapes.GLINT @ head + head_at, None),
    ]


def _fill(
    canvas: np.ndarray, drawing: np.ndarray, paint_number: int, clip: int | None = None
) -> None:
    """Fills a drawing in canvas coordinates; given `clip`, only where the canvas shows it."""
    vertices: Any = np.rint((drawing - 0.5) * (1 << SUBPIXEL_BITS)).astype(np.int32)
    if clip is None:
        cv2.fillPoly(canvas, vertices, paint_number, cv2.LINE_8, SUBPIXEL_BITS)
    else:
        stencil = np.zeros_like(canvas)
        cv2.fillPoly(stencil, vertices, 1, cv2.LINE_8, SUBPIXEL_BITS)
        cv2.copyTo(np.full_like(canvas, paint_number), stencil & (canvas == clip), canvas)


def _rotation(degrees: float | np.ndarray) -> np.ndarray:
    """Returns matrices `[..., 2, 2]` that turn row vectors."""
    angle = np.deg2rad(degrees)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], -2)


def _shrink(image: np.ndarray, size: int) -> np.ndarray:
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)


def _light(rng: np.random.Generator, size: int) -> np.ndarray:
    """Returns smooth coloured light and shade, `[size, size, 3]` int16."""
    weights = _smooth_weights(4, size)
    coarse = rng.uniform(-20, 20, (4, 4, 3))
    rows = np.tensordot(weights, coarse, 1)
    return np.rint(np.tensordot(rows, weights, (1, 1)).transpose(0, 2, 1)).astype(np.int16)


@functools.lru_cache
def _smooth_weights(knots: int, size: int) -> np.ndarray:
    """Returns `[size, knots]`: raised cosines, one around each knot, that sum to 1."""
    position = np.arange(size) * ((knots - 1) / (size - 1))
    distance = np.abs(position[:, np.newaxis] - np.arange(knots))
    return 0.5 + 0.5 * np.cos(np.pi * np.minimum(distance, 1))
