import numpy as np
import pytest
from PIL import Image

from ega_jax.evaluation import drawing


def test_enlarge_uses_whole_factors_and_never_shrinks():
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    big = drawing.enlarge(image, 9)
    assert big.shape == (6, 9, 3)
    np.testing.assert_array_equal(big[::3, ::3], image)
    assert drawing.enlarge(big, 2).shape == big.shape


def test_heat_map_is_blue_at_0_and_red_at_1():
    image = np.zeros((4, 4, 3), np.uint8)
    cold, hot = (drawing.heat_map(image, np.full((2, 2), v), 1.0)[0, 0] for v in (0.0, 1.0))
    assert cold[2] > 100 and cold[0] == 0
    assert hot[0] > 100 and hot[2] == 0


def test_draw_boxes_paints_the_border_of_the_boxs_own_pixels():
    image = np.zeros((16, 16, 3), np.uint8)
    drawn = drawing.draw_boxes(image, np.array([2, 3, 5, 7]), drawing.RED)
    ys, xs = np.nonzero(drawn.any(axis=-1))
    assert (xs.min(), ys.min(), xs.max(), ys.max()) == (2, 3, 5, 7)
    assert not drawn[4:7, 3:5].any()
    assert not image.any()  # the input stays as it is


def test_draw_boxes_scales_to_an_enlarged_image():
    drawn = drawing.draw_boxes(
        np.zeros((32, 32, 3), np.uint8), np.array([[1, 1, 2, 3]]), drawing.BLUE, scale=4
    )
    ys, xs = np.nonzero(drawn.any(axis=-1))
    assert (xs.min(), ys.min(), xs.max(), ys.max()) == (4, 4, 11, 15)


def test_draw_mask_tints_the_mask_only():
    mask = np.array([[True, False], [False, False]])
    tinted = drawing.draw_mask(np.zeros((4, 4, 3), np.uint8), mask, drawing.RED, 1.0)
    assert (tinted[:2, :2] == drawing.RED).all()
    assert not tinted[2:].any() and not tinted[:, 2:].any()


def test_caption_keeps_the_width_and_the_image():
    image = np.zeros((8, 64, 3), np.uint8)
    result = drawing.caption(image, "a line that is much too long for so narrow an image")
    assert result.shape[0] > 8 and result.shape[1] == 64
    np.testing.assert_array_equal(result[:8], image)
    assert (result[8:] < 128).any()


@pytest.mark.parametrize(
    ("count", "columns", "rows_by_columns"), [(5, None, (2, 3)), (5, 5, (1, 5))]
)
def test_grid_places_every_tile(count, columns, rows_by_columns):
    tiles = [np.full((10, 12, 3), i + 1, np.uint8) for i in range(count)]
    sheet = drawing.grid(tiles, columns)
    rows, columns = rows_by_columns
    assert sheet.shape[0] // 10 >= rows and sheet.shape[1] // 12 >= columns
    for i in range(count):
        assert (sheet == i + 1).all(axis=-1).sum() == 120


def test_save_png_creates_folders_and_leaves_nothing_aside(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    drawing.save_png(tmp_path / "a" / "b.png", image)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a" / "b.png")), image)
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b.png"]
