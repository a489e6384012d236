"""Writes an object's pixels as COCO's run lengths or polygons; `convert/regions.py` reads them."""

import cv2
import numpy as np


def run_lengths_of(mask: np.ndarray) -> str:
    """Compresses a mask `[H, W]` bool as `maskApi.c` of cocodataset/cocoapi does."""
    pixels = mask.ravel(order="F")
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    edges = [0, *changes.tolist(), pixels.size]
    runs = [after - before for before, after in zip(edges, edges[1:], strict=False)]
    if pixels[0]:
        runs.insert(0, 0)  # background comes first
    text = []
    for i, run in enumerate(runs):
        value = run - (runs[i - 2] if i > 2 else 0)
        while True:
            bits = value & 31
            value >>= 5
            more = value != (-1 if bits & 16 else 0)
            text.append(chr((bits | 32 if more else bits) + 48))
            if not more:
                break
    return "".join(text)


def polygons_of(mask: np.ndarray) -> list[list[float]]:
    """Draws the outlines of a mask `[H, W]` bool: x, y, x, y, ... of each, in pixels.

    They pass between the middles of pixels, so that filling them gives the mask back, but for its
    holes, which polygons of COCO do not have.
    """
    twice = mask.astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    contours, _ = cv2.findContours(twice, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    outlines = [(contour.reshape(-1, 2) + 0.5) / 2 for contour in contours]
    return [outline.ravel().tolist() for outline in outlines]
