"""Draws creatures: one small animal in clutter, with its exact mask.

The problem is that of bird photographs. The whole animal tells its species: the head by a bold
pattern that suffices alone, the body by a fainter coat and the shape of the tail. All else is drawn
alike for all species: pose, size, place, colours, background and clutter.

Painted by numbers: shapes write the number of a paint on a canvas, a palette colours it at the end.
So the mask is read off the canvas. The canvas has 2 x 2 pixels for each of the image. Integer
rasterization and a seeded generator give the same bytes everywhere.
"""

import functools

import numpy as np

from ega_jax.data.creatures import raster, shapes

PIECES = 6  # of clutter
WEEDS = 24

# Paints. Each piece of clutter has two; all from CREATURE on are the creature's.
GROUND, WEED, CLUTTER = 0, 1, 2
CREATURE = CLUTTER + 2 * PIECES
TAIL, LEG, BODY, COAT, HEAD, MARK, EYE, GLINT, BEAK = range(CREATURE, CREATURE + 9)
PAINTS = BEAK + 1

# A paint, a drawing, and the only paint that it covers (None: it covers all).
Layer = tuple[int, np.ndarray, int | None]

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
    canvas, palette = paint(rng, species, 2 * size)
    channels = [(_sum_blocks(channel[canvas]) + 2) >> 2 for channel in palette.T]
    image = np.stack(channels, axis=-1) + _light(rng, size)
    image += rng.integers(-4, 4, image.shape, np.int16)  # grain
    mask = _sum_blocks(canvas >= CREATURE) >= 2
    return np.clip(image, 0, 255).astype(np.uint8), mask


def paint(
    rng: np.random.Generator, species: shapes.Species, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Paints a scene by numbers.

    Returns:
      The canvas `[size, size]` uint8 of paints, and the palette `[PAINTS, 3]` uint8 RGB.
    """
    colours = np.zeros((PAINTS, 3))  # hue in turns, lightness and chroma in [0, 1]
    layers = [_ground(colours, rng, size)]
    layers += _clutter(colours, rng, size)
    layers += _creature(colours, rng, species, size)
    canvas = _cover(layers, size)
    hue, lightness, chroma = colours.T[..., np.newaxis]
    rgb = lightness + chroma * np.cos(2 * np.pi * (hue - np.arange(3) / 3))
    return canvas, np.rint(255 * np.clip(rgb, 0, 1)).astype(np.uint8)


def _cover(layers: list[Layer], size: int) -> np.ndarray:
    """Paints layers in canvas coordinates one over another."""
    canvas = np.full((size, size + 2 * raster.MARGIN), GROUND, np.uint8)
    flat = canvas.reshape(-1)
    pixels = raster.fill([drawing for _, drawing, _ in layers], size)
    for (paint_number, _, clip), covered in zip(layers, pixels, strict=True):
        flat[covered if clip is None else covered[flat[covered] == clip]] = paint_number
    return canvas[:, raster.MARGIN : -raster.MARGIN]


def _ground(colours: np.ndarray, rng: np.random.Generator, size: int) -> Layer:
    hue, lightness = rng.uniform(), rng.uniform(0.25, 0.75)
    step = rng.choice([-1, 1]) * rng.uniform(0.05, 0.12)
    colours[GROUND] = hue, lightness, 0.12
    colours[WEED] = hue + rng.uniform(-0.1, 0.1), lightness + step, 0.12
    pose = _rotation(rng.uniform(-25, 25, WEEDS)) * rng.uniform(0.02, 0.06, (WEEDS, 1, 1)) * size
    weeds = WEED_SHAPES[rng.integers(len(WEED_SHAPES))] @ pose
    return WEED, weeds + rng.uniform(0, size, (WEEDS, 1, 2)), None


def _clutter(colours: np.ndarray, rng: np.random.Generator, size: int) -> list[Layer]:
    pose = _rotation(rng.uniform(0, 360, PIECES)) * rng.uniform(0.05, 0.11, (PIECES, 1, 1)) * size
    centre = rng.uniform(0, size, (PIECES, 2))
    hue, lightness = rng.uniform(size=PIECES), rng.uniform(0.15, 0.85, PIECES)
    step = np.where(lightness < 0.5, 1, -1) * rng.uniform(0.2, 0.45, PIECES)
    other_hue = hue + rng.uniform(-0.3, 0.3, PIECES)
    layers: list[Layer] = []
    for i, kind in enumerate(rng.integers(len(CLUTTER_SHAPES), size=PIECES)):
        first = CLUTTER + 2 * i
        colours[first] = hue[i], lightness[i], 0.2
        colours[first + 1] = other_hue[i], lightness[i] + step[i], 0.2
        for paint_number, shape in enumerate(CLUTTER_SHAPES[kind], first):
            layers.append((paint_number, shape @ pose[i] + centre[i], None))
    return layers


def _creature(
    colours: np.ndarray, rng: np.random.Generator, species: shapes.Species, size: int
) -> list[Layer]:
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
    return [
        (paint_number, ((shape @ pose - low) * scale + corner) * size, clip)
        for paint_number, shape, clip in parts
    ]


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


def _assemble(rng: np.random.Generator, species: shapes.Species) -> list[Layer]:
    """Returns the parts in the body's frame, back to front."""
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


def _rotation(degrees: float | np.ndarray) -> np.ndarray:
    """Returns matrices `[..., 2, 2]` that turn row vectors."""
    angle = np.deg2rad(degrees)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], -2)


def _sum_blocks(canvas: np.ndarray) -> np.ndarray:
    """Returns the sums of blocks of 2 x 2 pixels, `[size / 2, size / 2, ...]` int16."""
    rows = canvas[::2].astype(np.int16) + canvas[1::2]
    return rows[:, ::2] + rows[:, 1::2]


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
