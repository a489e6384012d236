"""CCAM: weights of the ranks, and maps combined by them."""

import jax.numpy as jnp
import numpy as np
import pytest

from ega_jax.methods.base import View
from ega_jax.methods.ccam import CCAM, FUNCTIONS, combine, rank_weights


@pytest.mark.parametrize(
    ("classes", "function", "expected"),
    [
        (4, "t1b0", [1, 0, 0, 0]),
        (5, "t1b0", [1, 0, 0, 0, 0]),
        (4, "t1b1", [1, 0, 0, -1]),
        (5, "t1b1", [1, 0, 0, 0, -1]),
        (2, "t1b1", [1, -1]),
        (4, "linear", [1, 1 / 3, -1 / 3, -1]),
        (5, "linear", [1, 0.5, 0, -0.5, -1]),
        (6, "quadratic", [1, 0.25, 0, 0, -0.25, -1]),
        (7, "quadratic", [1, 0.25, 0, 0, -1 / 9, -4 / 9, -1]),
        (2, "quadratic", [1, 0]),  # one point of a line from 0 is 0
    ],
)
def test_rank_weights(classes, function, expected):
    weights = rank_weights(classes, function)
    assert weights.shape == (classes,) and weights.dtype == jnp.float32
    np.testing.assert_allclose(weights, expected, atol=1e-7)


def test_the_papers_weights():
    """200 classes, 100 on either side."""
    rest = np.linspace(0, -1, 100)
    expected = np.concatenate([np.linspace(1, 0, 100) ** 2, -(rest**2)])
    np.testing.assert_allclose(rank_weights(200, "quadratic"), expected, atol=1e-6)


def test_unknown_function():
    with pytest.raises(ValueError, match="'cubic'; choose one of t1b0, t1b1, linear, quadratic"):
        rank_weights(4, "cubic")


def draw(classes=7):
    rng = np.random.default_rng(0)
    cams = rng.normal(size=(3, 4, 5, classes)).astype(np.float32)
    return jnp.asarray(cams), jnp.asarray(rng.normal(size=(3, classes)), jnp.float32)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_order_is_by_probability(function):
    cams, logits = draw()
    weights = np.asarray(rank_weights(7, function))
    expected = np.zeros((3, 4, 5))
    for b in range(3):
        for rank, label in enumerate(np.argsort(-np.asarray(logits[b]))):
            expected[b] += weights[rank] * np.asarray(cams[b, :, :, label])
    np.testing.assert_allclose(combine(cams, logits, function), expected, rtol=1e-5, atol=1e-6)


def test_t1b0_is_the_predicted_class_s_map_whatever_is_asked_for():
    cams, logits = draw()
    view = View(None, logits, {"cams": cams}, None)
    classes = jnp.array([[0, 1, 2], [3, 4, 5], [6, 5, 4]])
    maps = CCAM("t1b0").read(view, classes)
    assert maps.shape == (3, 4, 5, 3)
    for b, label in enumerate(logits.argmax(-1)):
        for k in range(3):
            np.testing.assert_array_equal(maps[b, :, :, k], cams[b, :, :, label])
