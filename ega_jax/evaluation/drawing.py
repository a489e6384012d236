"""Pictures: boxes and masks over images, heat maps, grids. RGB uint8 arrays in and out.

Colours follow the paper: boxes as in Fig. 5, ground truth red and prediction blue; masks as in
Fig. 6, ground truth blue and prediction red.
"""

import io
import math
import os
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from ega_jax.runtime import files

RED = (230, 25, 35)
BLUE = (30, 80, 255)
WHITE = (255, 255, 255)
_GAP = 4  # pixels between the tiles of a grid


def enlarge(image: np.ndarray, side: int) -> np.ndarray:
    """Enlarges an image by the whole factor that brings its longer side nearest to `side`."""
    factor = max(1, round(side / max(image.shape[:2])))
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def heat_map(image: np.ndarray, score_map: np.ndarray, strength: float = 0.5) -> np.ndarray:
    """Lays a score map over an image, blue for 0 to red for 1.

    Args:
      image: `[H, W, 3]` uint8.
      score_map: `[h, w]` in [0, 1]; resized to the image.
      strength: weight of the colours against the image.
    """
    scores = resize_map(score_map, image.shape[1::-1])
    colours = cv2.applyColorMap((scores * 255).astype(np.uint8), cv2.COLORMAP_JET)
    return cv2.addWeighted(image, 1 - strength, colours[..., ::-1], strength, 0)


def resize_map(score_map: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes a score map to a width and a height: `[height, width]` float32 in [0, 1]."""
    resized = cv2.resize(score_map.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    return resized.clip(0, 1)


def draw_boxes(
    image: np.ndarray, boxes: np.ndarray, colour: tuple[int, int, int], scale: float = 1
) -> np.ndarray:
    """Draws boxes `[K, 4]`, xyxy with both corners inside, on a copy of an image.

    Args:
      image: `[H, W, 3]` uint8.
      boxes: in pixels; multiplied by `scale` first, for an enlarged image.
      colour: RGB.
      scale: side of a box's pixel in the image.
    """
    image = np.ascontiguousarray(image)
    image = image.copy()
    thickness = max(1, round(max(image.shape[:2]) / 128))
    for x0, y0, x1, y1 in np.asarray(boxes, float).reshape(-1, 4):
        low = round(x0 * scale), round(y0 * scale)
        high = round((x1 + 1) * scale) - 1, round((y1 + 1) * scale) - 1
        cv2.rectangle(image, low, high, colour, thickness)
    return image


def draw_mask(
    image: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int], strength: float = 0.45
) -> np.ndarray:
    """Tints the pixels of a mask `[h, w]` bool, resized to the image."""
    size = image.shape[1::-1]
    inside = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST).astype(bool)
    result = image.copy()
    tint = (1 - strength) * image[inside] + strength * np.array(colour)
    result[inside] = tint.round().astype(np.uint8)
    return result


def caption(image: np.ndarray, text: str) -> np.ndarray:
    """Writes a line of text under an image, shrunk to fit its width."""
    strip = np.full((18, image.shape[1], 3), 255, np.uint8)
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, 0.42
    (width, _), _ = cv2.getTextSize(text, font, scale, 1)
    scale *= min(1.0, (image.shape[1] - 4) / max(width, 1))
    cv2.putText(strip, text, (2, 13), font, scale, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([image, strip])


def grid(tiles: Sequence[np.ndarray], columns: int | None = None) -> np.ndarray:
    """Arranges tiles of any sizes on white, as near to a square as they allow by default."""
    columns = columns or math.ceil(math.sqrt(len(tiles)))
    height = max(tile.shape[0] for tile in tiles) + _GAP
    width = max(tile.shape[1] for tile in tiles) + _GAP
    rows = math.ceil(len(tiles) / columns)
    sheet = np.full((rows * height + _GAP, columns * width + _GAP, 3), 255, np.uint8)
    for i, tile in enumerate(tiles):
        y, x = i // columns * height + _GAP, i % columns * width + _GAP
        sheet[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
    return sheet


def save_png(path: str | os.PathLike, image: np.ndarray) -> None:
    """Writes a PNG aside and renames it, creating the folders on the way."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    files.write_bytes(path, buffer.getvalue())
