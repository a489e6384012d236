"""Maximum pooling for CPUs equals XLA's to the bit; other platforms compile XLA's own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ega_jax.ops.cpu.pooling import max_pool
from tests.helpers.platforms import assert_same_programs

pytestmark = pytest.mark.usefixtures("quick_compilation")

CASES = {  # sides; window, strides, padding
    "tiles": ((8, 6), 2, 2, ((0, 0), (0, 0))),
    "tiles, some pixels left": ((9, 7), 2, 2, ((0, 0), (0, 0))),
    "overlap": ((9, 9), 3, 2, ((1, 1), (1, 1))),
    "sticks out": ((8, 8), 3, 2, ((0, 1), (0, 1))),
    "every pixel": ((5, 6), 3, 1, ((1, 1), (1, 1))),
    "gaps": ((8, 8), 2, 3, ((0, 0), (0, 0))),
    "three in a row": ((6, 9), 3, 3, ((0, 0), (0, 0))),
}


def plain(x, window, strides, padding):
    sides = ((0, 0), *padding, (0, 0))
    dims, steps = (1, window, window, 1), (1, strides, strides, 1)
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, dims, steps, sides)


def both(function, *settings):
    def run(x, gradient):
        y, back = jax.vjp(lambda x: function(x, *settings), x)
        return y, back(gradient)[0]

    return run


def arrays(size, settings, dtype=np.float32):
    """Few different values, so that most windows have several maxima."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.integers(-3, 3, (2, *size, 5)), dtype)
    shape = jax.eval_shape(lambda x: plain(x, *settings), x).shape
    return x, jnp.asarray(rng.normal(size=shape), dtype)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("case", CASES)
def test_equals_xla(case, dtype):
    size, *settings = CASES[case]
    inputs = arrays(size, settings, dtype)
    y, gradient = jax.jit(both(max_pool, *settings))(*inputs)
    expected, expected_gradient = jax.jit(both(plain, *settings))(*inputs)
    np.testing.assert_array_equal(y, expected)
    assert gradient.dtype == dtype
    tolerance = 1e-6 if dtype == jnp.float32 else 2**-6  # where windows overlap, of their sum
    np.testing.assert_allclose(
        gradient.astype("float32"), expected_gradient.astype("float32"), tolerance, tolerance
    )


@pytest.mark.parametrize("case", CASES)
def test_other_platforms_compile_the_plain_pool(case):
    size, *settings = CASES[case]
    assert_same_programs(both(max_pool, *settings), both(plain, *settings), arrays(size, settings))


def test_negative_infinity_has_a_gradient_too():
    """A window of nothing but minus infinity: its first pixel is the maximum."""
    x = jnp.full((1, 2, 2, 1), -jnp.inf)
    gradient = jax.jit(jax.grad(lambda x: (max_pool(x, 2, 2, ((0, 0), (0, 0))) * 3.0).sum()))(x)
    np.testing.assert_array_equal(np.ravel(gradient), [3, 0, 0, 0])


def test_rematerialized():
    size, *settings = CASES["overlap"]
    x, _ = arrays(size, settings)
    loss = functools.partial(lambda f, x: jnp.square(f(x, *settings)).sum())
    found = jax.jit(jax.grad(jax.checkpoint(functools.partial(loss, max_pool))))(x)
    np.testing.assert_allclose(found, jax.grad(functools.partial(loss, plain))(x), rtol=1e-6)
