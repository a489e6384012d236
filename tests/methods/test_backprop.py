"""Backprop: gradients with respect to the image, and their means over cells."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ega_jax.methods.backprop import Backprop, cell_means, saliency
from tests.helpers import tiny

MEANS = jax.jit(cell_means, static_argnums=1)


def test_equals_finite_differences():
    """Of a network whose logits are quadratic, so that central differences are exact."""
    rng = np.random.default_rng(0)
    linear, square = (rng.normal(size=(4, 5, 3, 6)) for _ in range(2))
    images, classes = rng.uniform(size=(2, 4, 5, 3)), np.array([4, 1])

    def forward(x):
        logits = jnp.einsum("bhwc,hwck->bk", x, linear) + jnp.einsum("bhwc,hwck->bk", x**2, square)
        return logits, {}

    expected = np.zeros((2, 4, 5))
    for b, label in enumerate(classes):
        for y in range(4):
            for x in range(5):
                for colour in range(3):
                    step = np.zeros((4, 5, 3))
                    step[y, x, colour] = 0.5
                    ends = [
                        ((images[b] + s) * linear[..., label]).sum()
                        + ((images[b] + s) ** 2 * square[..., label]).sum()
                        for s in (step, -step)
                    ]
                    expected[b, y, x] = max(expected[b, y, x], abs(ends[0] - ends[1]))
    maps = saliency(forward, jnp.asarray(images, jnp.float32), jnp.asarray(classes))
    np.testing.assert_allclose(maps, expected, rtol=1e-4)


def test_cell_means_by_hand():
    """Three pixels a cell and a half; five pixels three cells of 5/3."""
    maps = jnp.array([[[1.0, 2, 6]] * 3])
    np.testing.assert_allclose(MEANS(maps, (1, 2))[0], [[(1 + 1) / 1.5, (1 + 6) / 1.5]])
    column = jnp.array([[[3.0], [6], [9], [12], [15]]])
    expected = [(3 + 6 * 2 / 3) * 0.6, (6 / 3 + 9 + 12 / 3) * 0.6, (12 * 2 / 3 + 15) * 0.6]
    np.testing.assert_allclose(MEANS(column, (3, 1))[0, :, 0], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("pixels", "cells"), [((8, 12), (4, 3)), ((7, 9), (3, 4)), ((4, 4), (4, 4))]
)
def test_cell_means_keep_the_mean(pixels, cells):
    maps = np.random.default_rng(0).uniform(size=(2, *pixels)).astype(np.float32)
    means = MEANS(maps, cells)
    assert means.shape == (2, *cells)
    np.testing.assert_allclose(means.mean(axis=(1, 2)), maps.mean(axis=(1, 2)), rtol=1e-5)
    if pixels == (8, 12):
        blocks = maps.reshape(2, 4, 2, 3, 4).mean(axis=(2, 4))
        np.testing.assert_allclose(means, blocks, rtol=1e-5)
    if pixels == cells:
        np.testing.assert_array_equal(means, maps)


@pytest.mark.slow
def test_read():
    """Against the whole Jacobian of the tiny network, for several classes."""
    model = tiny.TinyNet()
    variables = tiny.variables(model)
    images = jnp.asarray(tiny.batch(size=2, dtype=np.float32)["image"])
    classes = jnp.array([[0, 3], [4, 4]])
    maps = jax.jit(lambda x: Backprop().read(tiny.view(model, variables, x), classes))(images)
    assert maps.shape == (2, 8, 8, 2)

    logits = functools.partial(model.apply, variables, train=False)
    for b in range(2):
        jacobian = jax.jit(jax.jacrev(lambda x: logits(x[None])[0][0]))(images[b])
        for k in range(2):
            pixels = np.abs(jacobian[classes[b, k]]).max(axis=-1)
            expected = pixels.reshape(8, 2, 8, 2).mean(axis=(1, 3))
            np.testing.assert_allclose(maps[b, :, :, k], expected, rtol=1e-3, atol=1e-6)
