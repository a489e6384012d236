"""The filled pixels: drawn by hand, and OpenCV's."""

import cv2
import numpy as np
import pytest

from ega_jax.data.creatures import raster
from ega_jax.data.creatures.shapes import bar, drawing, polygon


def masks(drawings, size):
    """Fills drawings, each on an image of its own: `[drawings, size, size]`."""
    images = np.zeros((len(drawings), size * (size + 2 * raster.MARGIN)), np.uint8)
    for image, pixels in zip(images, raster.fill(drawings, size), strict=True):
        image[pixels] = 1
    return images.reshape(len(drawings), size, -1)[:, :, raster.MARGIN : -raster.MARGIN]


def picture(*polygons):
    """Fills one drawing on six rows of six pixels."""
    (mask,) = masks([drawing(*polygons)], 6)
    return ["".join(".#"[int(pixel)] for pixel in row) for row in mask]


def test_square_covers_the_pixels_of_its_corners():
    assert picture(bar(1.5, 1.5, 4.5, 3.5)) == [
        "......",
        ".####.",
        ".####.",
        ".####.",
        "......",
        "......",
    ]


def test_slanted_line_takes_the_nearer_pixel_and_of_two_the_former():
    # The line falls by half a pixel a column: in the second and the fourth two rows are as near.
    assert picture(polygon((0.5, 0.5), (4.5, 2.5), (0.5, 2.5))) == [
        "##....",
        "####..",
        "#####.",
        "......",
        "......",
        "......",
    ]


def test_what_two_polygons_cover_is_left_out_but_for_its_outline():
    assert picture(bar(0.5, 0.5, 5.5, 5.5), bar(1.5, 1.5, 4.5, 4.5)) == [
        "######",
        "######",
        "##..##",
        "##..##",
        "######",
        "######",
    ]


def test_only_what_is_in_the_image_is_drawn():
    assert picture(bar(-90, 2.5, 2.5, 90)) == ["......"] * 2 + ["###..."] * 4
    assert picture(bar(-90, -90, 90, 90)) == ["######"] * 6
    assert picture(bar(-9, -9, -2, 90)) == ["......"] * 6


def test_point_is_a_pixel():
    assert picture(polygon((2.6, 1.2), (2.7, 1.3))) == ["......", "..#..."] + ["......"] * 4


def test_drawings_do_not_touch_one_another():
    left, top = drawing(bar(-5, -5, 1.2, 9)), drawing(bar(-5, -5, 9, 1.2))
    columns = np.tile([1, 1, 0, 0], (4, 1))
    np.testing.assert_array_equal(masks([left, top, left], 4), [columns, columns.T, columns])


@pytest.mark.skipif(int(cv2.__version__.split(".")[0]) < 5, reason="OpenCV 4 may fill others")
@pytest.mark.parametrize("spread", [0.3, 1, 4], ids=["inside", "across", "far outside"])
def test_pixels_are_those_of_opencv(spread):
    rng = np.random.default_rng(0)
    for size in (8, 31, 64):
        drawings = []
        for polygons, vertices in rng.integers(1, 9, (100, 2)):
            centre = rng.uniform(size=(polygons, 1, 2))
            points = centre + rng.uniform(-spread, spread, (polygons, vertices, 2))
            drawings.append(points * size)
        for polygons, mask in zip(drawings, masks(drawings, size), strict=True):
            image = np.zeros((size, size), np.uint8)
            points = np.rint((polygons - 0.5) * raster.SUBPIXELS).astype(np.int32)
            cv2.fillPoly(image, points, 1, cv2.LINE_8, 4)  # bits of a sixteenth
            np.testing.assert_array_equal(mask, image)
