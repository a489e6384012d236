"""Choosing and scaling class maps."""

import jax
import jax.numpy as jnp
import numpy as np

from ega_jax.ops import class_maps


def test_select():
    cams = jnp.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    labels = jnp.array([4, 0])
    chosen = class_maps.select(cams, labels)
    assert chosen.shape == (2, 3, 4)
    np.testing.assert_array_equal(chosen[0], cams[0, :, :, 4])
    np.testing.assert_array_equal(chosen[1], cams[1, :, :, 0])


def test_select_several():
    cams = jnp.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    chosen = class_maps.select(cams, jnp.array([[4, 0, 1], [2, 2, 3]]))
    assert chosen.shape == (2, 3, 4, 3)
    np.testing.assert_array_equal(chosen[0], cams[0][..., jnp.array([4, 0, 1])])
    np.testing.assert_array_equal(chosen[1], cams[1][..., jnp.array([2, 2, 3])])
    one = class_maps.select(cams, jnp.array([[4], [2]]))
    assert one.shape == (2, 3, 4, 1)


def test_select_sends_gradient_to_the_chosen_class_only():
    cams = jnp.ones((2, 3, 4, 5))
    gradient = jax.grad(lambda c: class_maps.select(c, jnp.array([1, 3])).sum())(cams)
    expected = np.zeros((2, 3, 4, 5))
    expected[0, :, :, 1] = expected[1, :, :, 3] = 1
    np.testing.assert_array_equal(gradient, expected)


def test_min_max():
    maps = jnp.array([[[-2.0, 0.0], [2.0, 6.0]], [[1.0, 1.0], [1.0, 1.0]], [[0.0, 9.0], [9.0, 0]]])
    expected = [[[0, 0.25], [0.5, 1]], [[0, 0], [0, 0]], [[0, 1], [1, 0]]]
    np.testing.assert_array_equal(class_maps.min_max(maps), expected)


def test_min_max_gradient_is_finite():
    for maps in (jnp.ones((1, 3, 3)), jnp.zeros((1, 3, 3)), jnp.full((1, 3, 3), -1e30)):
        gradient = jax.grad(lambda m: jnp.sum(class_maps.min_max(m) ** 2))(maps)
        assert np.all(np.isfinite(gradient))
