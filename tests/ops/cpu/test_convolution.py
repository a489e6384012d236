"""Convolutions for CPUs equal XLA's, forward and gradient; other platforms compile XLA's own."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ega_jax.ops.cpu import convolution
from ega_jax.ops.cpu.convolution import LAYOUT, Convolution, convolve
from tests.helpers.platforms import assert_same_programs, operations


def plain(x, kernel, *, strides=(1, 1), padding=((0, 0), (0, 0)), groups=1):
    return jax.lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=LAYOUT, feature_group_count=groups
    )


# Sides of image, channels in and out, kernel, and settings.
CASES = {
    "to few channels": ((8, 8), 3, 8, (3, 3), {"padding": ((1, 1), (1, 1))}),
    "to three": ((6, 16), 8, 3, (3, 3), {"padding": ((1, 1), (1, 1))}),
    "an odd width": ((5, 7), 3, 4, (3, 3), {"padding": ((1, 1), (1, 1))}),
    "sides apart": ((9, 10), 4, 5, (3, 5), {"padding": ((0, 1), (3, 1))}),
    "more padding than kernel": ((6, 8), 3, 4, (3, 3), {"padding": ((3, 3), (4, 4))}),
    "no kernel to speak of": ((6, 8), 3, 4, (1, 1), {}),
    "a single pixel, strides": ((5, 6), 7, 3, (1, 1), {"strides": (2, 2)}),
    "across": ((6, 8), 4, 4, (1, 7), {"padding": ((0, 0), (3, 3))}),
    "strides": ((9, 9), 3, 8, (3, 3), {"strides": (2, 2), "padding": ((1, 1), (1, 1))}),
    "wide and large": ((14, 14), 64, 64, (3, 3), {"padding": ((1, 1), (1, 1))}),
    "wide, large, strides": ((29, 28), 64, 64, (1, 1), {"strides": (2, 2)}),
    "wide, large, all else": (
        (31, 28),
        64,
        96,
        (3, 5),
        {"strides": (2, 1), "padding": ((1, 1), (0, 3))},
    ),
    "a large batch": ((56, 56), 64, 72, (3, 3), {"padding": ((1, 1), (1, 1))}),
    "depthwise": ((7, 9), 6, 6, (3, 5), {"padding": ((1, 1), (2, 2)), "groups": 6}),
    "depthwise, strides": (
        (8, 9),
        6,
        6,
        (3, 3),
        {"strides": (2, 2), "padding": ((1, 1), (0, 1)), "groups": 6},
    ),
    "depthwise, two for each": ((6, 6), 4, 8, (3, 3), {"groups": 4}),
    "two groups": ((6, 6), 6, 8, (3, 3), {"padding": ((1, 1), (1, 1)), "groups": 2}),
}


def arrays(size, channels, features, kernel_size, settings, dtype=np.float32):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, *size, channels))
    kernel = rng.normal(size=(*kernel_size, channels // settings.get("groups", 1), features))
    shape = jax.eval_shape(functools.partial(plain, **settings), x, kernel).shape
    return [jnp.asarray(a, dtype) for a in (x, kernel, rng.normal(size=shape))]


def all_three(function):
    """Forward pass and both gradients."""

    def run(x, kernel, gradient):
        y, back = jax.vjp(function, x, kernel)
        return y, *back(gradient)

    return run


@pytest.mark.parametrize("avx512", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_equals_xla(case, avx512, monkeypatch):
    monkeypatch.setattr(convolution, "has_avx512", lambda: avx512)
    *shapes, settings = CASES[case]
    inputs = arrays(*shapes, settings)
    found, expected = (
        jax.jit(all_three(functools.partial(f, **settings)))(*inputs) for f in (convolve, plain)
    )
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * np.abs(b).max())


@pytest.mark.parametrize(
    ("case", "products"),
    [("wide and large", [3, 0]), ("to few channels", [0, 0])],
)
def test_formulations_depend_on_the_processor(case, products, monkeypatch):
    """The gradient of a kernel by its rows, and how many pixels are computed as channels."""
    *shapes, settings = CASES[case]
    inputs = arrays(*shapes, settings)
    programs = []
    for avx512 in (False, True):
        monkeypatch.setattr(convolution, "has_avx512", lambda avx512=avx512: avx512)
        function = all_three(functools.partial(convolve, **settings))
        programs.append(jax.jit(function).lower(*inputs).as_text())
    assert programs[0] != programs[1]
    assert [text.count("stablehlo.dot_general") for text in programs] == products


@pytest.mark.parametrize("avx512", [False, True])
@pytest.mark.parametrize(
    "case", ["to few channels", "wide and large", "a large batch", "depthwise"]
)
def test_bfloat16(case, avx512, monkeypatch):
    """As near to the exact result as rounding to 8 bits allows."""
    monkeypatch.setattr(convolution, "has_avx512", lambda: avx512)
    *shapes, settings = CASES[case]
    inputs = arrays(*shapes, settings, jnp.bfloat16)
    found = jax.jit(all_three(functools.partial(convolve, **settings)))(*inputs)
    exact = all_three(functools.partial(plain, **settings))(*(a.astype("float32") for a in inputs))
    for a, b in zip(found, exact, strict=True):
        assert a.dtype == jnp.bfloat16
        np.testing.assert_allclose(a.astype("float32"), b, rtol=2**-7, atol=2**-7 * np.abs(b).max())


@pytest.mark.parametrize("case", CASES)
def test_other_platforms_compile_the_plain_convolution(case):
    *shapes, settings = CASES[case]
    inputs = arrays(*shapes, settings)
    assert_same_programs(
        all_three(functools.partial(convolve, **settings)),
        all_three(functools.partial(plain, **settings)),
        inputs,
    )


@pytest.mark.parametrize("strides", [(2, 1), (1, 2)])
@pytest.mark.parametrize("avx512", [False, True])
def test_another_stride_for_rows_than_for_columns(strides, avx512, monkeypatch):
    monkeypatch.setattr(convolution, "has_avx512", lambda: avx512)
    x, kernel = jax.random.normal(jax.random.key(0), (1, 8, 8, 16)), jnp.ones((3, 3, 16, 4))
    settings = {"strides": strides, "padding": ((1, 1), (1, 1))}
    found = jax.jit(functools.partial(convolution.convolve, **settings))(x, kernel)
    np.testing.assert_allclose(found, plain(x, kernel, **settings), rtol=1e-4, atol=1e-4)


def test_what_is_not_wanted_is_not_computed():
    """As in an attack: the gradient of the images alone, or of the kernel alone."""
    *shapes, settings = CASES["to few channels"]
    x, kernel, gradient = arrays(*shapes, settings)
    forward = functools.partial(convolve, **settings)

    def images(x):
        return jax.vjp(lambda x: forward(x, kernel), x)[1](gradient)[0]

    def kernels(kernel):
        return jax.vjp(lambda k: forward(x, k), kernel)[1](gradient)[0]

    for function, argument in ((images, x), (kernels, kernel)):
        jaxpr = str(jax.make_jaxpr(function)(argument))
        assert ("convolution_input_gradient" in jaxpr) == (function is images)
        assert ("convolution_kernel_gradient" in jaxpr) == (function is kernels)


@pytest.mark.parametrize(
    "settings",
    [{"kernel_dilation": 2}, {"precision": "highest"}],
    ids=lambda settings: next(iter(settings)),
)
def test_module_leaves_the_rest_to_jax(settings):
    x, _, _ = arrays(*CASES["to few channels"])
    ours, jaxs = (
        nn.Conv(4, (3, 3), conv_general_dilated_cls=cls, **settings) for cls in (Convolution, None)
    )
    variables = ours.init(jax.random.key(0), x)
    np.testing.assert_array_equal(ours.apply(variables, x), jaxs.apply(variables, x))


@pytest.mark.slow
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("side", [7, 8])
def test_named_padding(padding, side):
    """Depthwise and with strides, as EfficientNet has it; by our formulation, not by XLA's."""
    x = arrays((side, 9), 6, 6, (3, 5), {"groups": 6})[0]
    ours, jaxs = (
        nn.Conv(
            6,
            (3, 5),
            (2, 2),
            padding,
            feature_group_count=6,
            conv_general_dilated_cls=cls,
        )
        for cls in (Convolution, None)
    )
    variables = ours.init(jax.random.key(0), x)

    def gradients(conv):
        return jax.jit(jax.grad(lambda v, x: (conv.apply(v, x) ** 2).sum(), (0, 1)))

    expected, found = (gradients(conv)(variables, x) for conv in (jaxs, ours))
    for one, other in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    assert "convolution(" not in gradients(ours).lower(variables, x).compile().as_text()


@pytest.mark.parametrize(("batch", "products"), [(2, 3), (1, 0)])
def test_a_batch_of_few_images_stays_in_the_cache(batch, products, monkeypatch):
    """With AVX-512, the gradient of a kernel is XLA's own there."""
    monkeypatch.setattr(convolution, "has_avx512", lambda: True)
    *shapes, settings = CASES["a large batch"]
    x, kernel, gradient = arrays(*shapes, settings)
    function = all_three(functools.partial(convolve, **settings))
    text = jax.jit(function).lower(x[:batch], kernel, gradient[:batch]).as_text()
    assert text.count("stablehlo.dot_general") == products


@pytest.mark.slow
@pytest.mark.parametrize("avx512", [False, True])
def test_over_four_devices(avx512, monkeypatch):
    """Sums over the devices for the kernel's gradient, and nothing else is exchanged."""
    monkeypatch.setattr(convolution, "has_avx512", lambda: avx512)
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    split = jax.NamedSharding(mesh, jax.P("data"))
    whole = jax.NamedSharding(mesh, jax.P())
    for case in ("to few channels", "depthwise", "wide and large", "a large batch"):
        *shapes, settings = CASES[case]
        x, kernel, gradient = arrays(*shapes, settings)
        x, gradient = (jnp.concatenate([a, -2 * a]) for a in (x, gradient))
        function = all_three(functools.partial(convolve, **settings))
        expected = jax.jit(function)(x, kernel, gradient)
        program = jax.jit(
            function, in_shardings=(split, whole, split), out_shardings=(split, split, whole)
        )
        compiled = program.lower(x, kernel, gradient).compile()
        counts = operations(compiled.as_text(), "all-reduce", "all-gather", "all-to-all")
        assert counts["all-gather"] == counts["all-to-all"] == 0
        assert 1 <= counts["all-reduce"]
        for a, b in zip(program(x, kernel, gradient), expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * np.abs(b).max())


def test_within_a_scan_and_rematerialized():
    *shapes, settings = CASES["to few channels"]
    x, kernel, _ = arrays(*shapes, settings)

    def loss(kernel, function):
        def one(total, image):
            return total + jnp.square(function(image[None], kernel, **settings)).sum(), None

        return jax.lax.scan(jax.checkpoint(one), 0.0, x)[0]

    found, expected = (
        jax.jit(jax.grad(loss), static_argnums=1)(kernel, f) for f in (convolve, plain)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


def test_under_vmap():
    """ScoreCAM looks at several masked images of a batch at once."""
    x = jax.random.normal(jax.random.key(0), (3, 2, 8, 8, 4))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 4, 5))

    def summed(function):
        return lambda x: jnp.sum(jnp.sin(function(x)))

    def ours(x):
        return convolve(x, kernel, padding=((1, 1), (1, 1)))

    def plain(x):
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    for make in (lambda f: f, lambda f: jax.grad(summed(f))):
        np.testing.assert_allclose(
            jax.jit(jax.vmap(make(ours)))(x), jax.jit(jax.vmap(make(plain)))(x), atol=1e-4
        )
