"""Maximum pooling for CPUs equals XLA's to the bit; other platforms compile XLA's own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ega_jax.ops.cpu.pooling import max_pool
from tests.helpers.platforms import assert_same_programs, operations

CASES = {  # sides; window, strides, padding
    "tiles": ((8, 6), 2, 2, ((0, 0), (0, 0))),
    "tiles, some pixels left": ((9, 7), 2, 2, ((0, 0), (0, 0))),
    "overlap": ((9, 9), 3, 2, ((1, 1), (1, 1))),
    "sticks out": ((8, 8), 3, 2, ((0, 1), (0, 1))),
    "every pixel": ((5, 6), 3, 1, ((1, 1), (1, 1))),
    "gaps": ((8, 8), 2, 3, ((0, 0), (0, 0))),
    "three in a row": ((6, 9), 3, 3, ((0, 0), (0, 0))),
    "tiles with a border": ((7, 5), 2, 2, ((0, 1), (1, 0))),
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


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("case", ["tiles", "overlap"])
def test_behind_what_is_computed_within_its_readers(case, dtype):
    """A normalization and a ReLU: every window sends all of its gradient to its maximum."""
    size, *settings = CASES[case]
    rng = np.random.default_rng(1)
    x = jnp.asarray(rng.normal(size=(3, *size, 5)), dtype)
    scale, shift = (jnp.asarray(rng.uniform(0.5, 2, 5), dtype) for _ in range(2))

    def loss(x, pool):
        y = jax.nn.relu(x * scale + shift)
        return (pool(y, *settings).astype("float32") * jnp.arange(1.0, 6.0)).sum()

    found, expected = (jax.jit(jax.grad(loss), static_argnums=1)(x, f) for f in (max_pool, plain))
    assert np.any(expected)
    np.testing.assert_allclose(
        found.astype("float32"), expected.astype("float32"), rtol=2**-6, atol=2**-6
    )


@pytest.mark.slow
def test_over_four_devices():
    """Each has its own windows: nothing is exchanged."""
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    split = jax.NamedSharding(mesh, jax.P("data"))
    for case in ("tiles", "overlap"):
        size, *settings = CASES[case]
        inputs = [jnp.concatenate([a, -a]) for a in arrays(size, settings)]
        function = both(max_pool, *settings)
        program = jax.jit(function, in_shardings=split, out_shardings=split)
        text = program.lower(*inputs).compile().as_text()
        exchanged = operations(text, "all-reduce", "all-gather", "all-to-all", "collective-permute")
        assert set(exchanged.values()) == {0}
        for a, b in zip(program(*inputs), jax.jit(function)(*inputs), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_value_that_is_no_number_is_not_lost():
    x = jnp.full((1, 2, 2, 1), jnp.nan)
    gradient = jax.jit(jax.grad(lambda x: (max_pool(x, 2, 2, ((0, 0), (0, 0))) * 3.0).sum()))(x)
    assert np.nansum(gradient) == 3


def test_the_place_of_a_maximum_is_computed_once():
    """What finds it ends in a reduction over windows, which XLA keeps."""
    size, *settings = CASES["tiles"]
    x, gradient = arrays(size, settings)
    text = jax.jit(both(max_pool, *settings)).lower(x, gradient).compile().as_text()
    assert operations(text, "reduce-window")["reduce-window"] == 2  # the pool's own, and this one


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
