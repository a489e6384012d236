"""Hide-and-Seek: which pixels are hidden, with what, and how many."""

import functools

import jax
import numpy as np
import pytest

from configs import quickstart
from ega_jax.config import build
from ega_jax.methods.has import HaS, hidden_squares
from ega_jax.models.inputs import SCALINGS, scale_input
from tests.helpers import tiny

pytestmark = pytest.mark.slow

KEY = jax.random.key(0)


def hidden(batch_size, size, grid_sizes, drop_rate):
    draw = functools.partial(hidden_squares, batch_size=batch_size, size=size)
    return np.asarray(
        jax.jit(functools.partial(draw, grid_sizes=grid_sizes, drop_rate=drop_rate))(KEY)
    )


def in_squares(image, grid):
    """Whether all pixels of every square are alike; the last squares may be cut off."""
    size = len(image)
    starts = range(0, size, grid)
    squares = [image[y : y + grid, x : x + grid] for y in starts for x in starts]
    return all(square.all() or not square.any() for square in squares)


@pytest.mark.parametrize(("size", "grid"), [(16, 4), (17, 5), (16, 16), (16, 40), (13, 1)])
def test_whole_squares_are_hidden(size, grid):
    found = hidden(40, size, (grid,), 0.5)
    assert found.shape == (40, size, size) and found.dtype == bool
    assert all(in_squares(image, grid) for image in found)
    assert found.any() and not found.all()
    if grid < size:
        assert not all(in_squares(image, grid + 1) for image in found)


def test_squares_at_the_border_are_cut_off_and_drawn_by_themselves():
    found = hidden(200, 17, (5,), 0.5)  # squares of 5, 5, 5 and 2 pixels
    last = found[:, 15:, 15:]
    assert all(corner.all() or not corner.any() for corner in last)
    before = found[:, 10, 10]
    assert 0 < (last[:, 0, 0] != before).sum() < 200


def test_the_grid_is_drawn_for_each_image():
    found = hidden(300, 16, (0, 4, 8), 0.5)
    whole = ~found.any(axis=(1, 2))
    coarse = np.array([in_squares(image, 8) for image in found]) & ~whole
    fine = np.array([in_squares(image, 4) for image in found]) & ~whole & ~coarse
    assert (whole | coarse | fine).all()
    # A third each; of the 8-pixel grids 1 in 16 hides nothing.
    assert 75 < whole.sum() < 140 and 65 < coarse.sum() < 125 and 70 < fine.sum() < 130


def test_images_differ():
    found = hidden(50, 16, (4,), 0.5)
    assert len({image.tobytes() for image in found}) > 45


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.8, 1.0])
def test_mean_share(rate):
    share = hidden(1000, 16, (4,), rate).mean()  # of 16000 squares
    assert share == rate if rate in (0, 1) else abs(share - rate) < 0.015


def test_grid_0_hides_nothing_whatever_the_rate():
    assert not hidden(20, 16, (0,), 1.0).any()
    found = hidden(200, 16, (0, 8), 1.0)
    whole = ~found.any(axis=(1, 2))
    assert (whole | found.all(axis=(1, 2))).all() and 60 < whole.sum() < 140


def test_augment():
    batch = tiny.batch(dtype=np.float32)
    method = HaS(grid_sizes=(4,), drop_rate=0.5, fill=(0.1, 0.2, 0.3))
    augment = jax.jit(method.augment)
    after = augment(batch, KEY)
    found = hidden(tiny.BATCH, tiny.SIZE, (4,), 0.5)
    expected = np.where(found[..., None], np.float32([0.1, 0.2, 0.3]), batch["image"])
    np.testing.assert_array_equal(after["image"], expected)
    assert set(after) == set(batch)
    np.testing.assert_array_equal(after["label"], batch["label"])
    np.testing.assert_array_equal(after["mask"], batch["mask"])
    again, other = augment(batch, KEY), augment(batch, jax.random.key(1))
    np.testing.assert_array_equal(again["image"], after["image"])
    assert np.any(other["image"] != after["image"])


@pytest.mark.parametrize("scaling", SCALINGS)
def test_what_is_hidden_becomes_0(scaling):
    config = quickstart.get_config("has")
    config.model.input_scaling = scaling
    config.has.drop_rate, config.has.grid_sizes = 1.0, (8,)
    after = jax.jit(build.method(config).augment)(tiny.batch(dtype=np.float32), KEY)
    assert not np.any(scale_input(after["image"], scaling))
