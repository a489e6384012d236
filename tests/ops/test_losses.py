"""Cross entropy and CAM entropies, against numbers worked out by hand and in NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ega_jax.ops import losses

LN2 = np.log(2)


def entropy(cams, labels=(0,), probability="minmax", reduction="sum"):
    labels = jnp.asarray(labels)
    return losses.cam_entropy(cams, labels, probability=probability, reduction=reduction)


def reference(cams, labels, probability):
    """Eq. 7 summed over the map, in float64 and another way round: image by image."""
    result = []
    for maps, label in zip(np.asarray(cams, np.float64), labels, strict=True):
        chosen = maps[..., label]
        if probability == "minmax":
            p = (chosen - chosen.min()) / (chosen.max() - chosen.min())
        elif probability == "class_softmax":
            p = np.exp(maps) / np.exp(maps).sum(axis=-1, keepdims=True)
        elif probability == "spatial_softmax":
            p = np.exp(chosen) / np.exp(chosen).sum()
        else:
            p = 1 / (1 + np.exp(-chosen))
        p = p[p > 0]
        result.append(-(p * np.log(p)).sum())
    return np.array(result)


@pytest.fixture(scope="module")
def cams():
    return jnp.asarray(np.random.default_rng(0).normal(0, 2, (3, 4, 5, 6)), jnp.float32)


LABELS = (0, 5, 2)


def test_cross_entropy_by_hand():
    logits = jnp.log(jnp.array([[1.0, 2.0, 5.0], [4.0, 2.0, 2.0]]))
    values = losses.cross_entropy(logits, jnp.array([1, 0]))
    np.testing.assert_allclose(values, [-np.log(2 / 8), -np.log(4 / 8)], rtol=1e-6)
    assert losses.cross_entropy(logits.astype(jnp.bfloat16), jnp.array([1, 0])).dtype == jnp.float32


def test_cross_entropy_of_huge_logits():
    logits = jnp.array([[1e4, -1e4], [1e4, -1e4]])
    np.testing.assert_array_equal(losses.cross_entropy(logits, jnp.array([0, 1])), [0, 2e4])


# One map of four pixels, class 0; the second class matters to `class_softmax` alone.
BY_HAND = {
    # p = 0, 1/4, 1/2, 1
    "minmax": ([-1, 0, 1, 3], [0, 0, 0, 0], 0.25 * 2 * LN2 + 0.5 * LN2),
    # p = 1/8, 1/4, 1/2, 1/8
    "spatial_softmax": (
        [0, LN2, 2 * LN2, 0],
        [9, 9, 9, 9],
        (1 / 8 * 3 + 1 / 4 * 2 + 1 / 2 * 1 + 1 / 8 * 3) * LN2,
    ),
    # p = 1/2, 3/4, 1/4, 1/2
    "sigmoid": (
        [0, np.log(3), -np.log(3), 0],
        [9, 9, 9, 9],
        2 * 0.5 * LN2 + 0.75 * np.log(4 / 3) + 0.25 * 2 * LN2,
    ),
    # p = (1/2, 1/2), (3/4, 1/4), (1/4, 3/4), (1/2, 1/2)
    "class_softmax": (
        [0, np.log(3), 0, 5],
        [0, 0, np.log(3), 5],
        2 * LN2 + 2 * (0.75 * np.log(4 / 3) + 0.25 * 2 * LN2),
    ),
}


@pytest.mark.parametrize("probability", losses.PROBABILITIES)
def test_entropy_by_hand(probability):
    first, second, expected = BY_HAND[probability]
    cams = jnp.stack([jnp.array(first), jnp.array(second)], axis=-1).reshape(1, 2, 2, 2)
    total = entropy(cams, probability=probability, reduction="sum")
    mean = entropy(cams, probability=probability, reduction="mean")
    assert total.shape == (1,) and total.dtype == jnp.float32
    np.testing.assert_allclose(total, [expected], rtol=1e-6)
    np.testing.assert_allclose(mean, [expected / 4], rtol=1e-6)


@pytest.mark.parametrize(
    ("probability", "expected"),
    [
        ("minmax", 0.0),  # a constant map is 0 everywhere
        ("spatial_softmax", np.log(4 * 5)),  # the most that 20 pixels can have
        ("class_softmax", 20 * np.log(6)),  # the most that 6 classes can have, at 20 pixels
        ("sigmoid", 20 * 0.5 * LN2),
    ],
)
def test_entropy_of_a_uniform_map(probability, expected):
    uniform = jnp.zeros((2, 4, 5, 6))
    total = entropy(uniform, [0, 3], probability, "sum")
    np.testing.assert_allclose(total, [expected] * 2, rtol=1e-6)
    mean = entropy(uniform, [0, 3], probability, "mean")
    np.testing.assert_allclose(mean, [expected / 20] * 2, rtol=1e-6)


@pytest.mark.parametrize("probability", losses.PROBABILITIES)
def test_entropy_against_numpy(cams, probability):
    expected = reference(cams, LABELS, probability)
    total = entropy(cams, LABELS, probability, "sum")
    np.testing.assert_allclose(total, expected, rtol=1e-5)
    mean = entropy(cams, LABELS, probability, "mean")
    np.testing.assert_allclose(mean, expected / 20, rtol=1e-5)
    assert np.all(total >= 0)


@pytest.mark.parametrize("probability", losses.PROBABILITIES)
def test_gradient_against_numerical_differentiation(cams, probability):
    gradient = jax.grad(lambda c: entropy(c, LABELS, probability, "sum").sum())(cams)
    exact, h = np.asarray(cams, np.float64), 1e-6
    numerical = np.zeros_like(exact)
    for index in np.ndindex(*exact.shape):
        up, down = exact.copy(), exact.copy()
        up[index] += h
        down[index] -= h
        difference = reference(up, LABELS, probability) - reference(down, LABELS, probability)
        numerical[index] = difference.sum() / (2 * h)
    assert np.abs(numerical).max() > 0.1
    np.testing.assert_allclose(gradient, numerical, rtol=1e-3, atol=1e-4)


EXTREMES = {
    "zeros": np.zeros((2, 3, 3, 4)),
    "constant": np.full((2, 3, 3, 4), 7.3),
    "one bright pixel": np.pad(np.ones((2, 1, 1, 4)), ((0, 0), (1, 1), (1, 1), (0, 0))),
    "huge": 1e4 * np.random.default_rng(0).normal(size=(2, 3, 3, 4)),
    "enormous": 1e30 * np.random.default_rng(0).normal(size=(2, 3, 3, 4)),
    "very negative": np.full((2, 3, 3, 4), -1e30),
    "small": 1e-6 * np.random.default_rng(0).normal(size=(2, 3, 3, 4)),
    "tiny": 1e-20 * np.random.default_rng(0).normal(size=(2, 3, 3, 4)),
    "nearly constant": 1 + 1e-6 * np.random.default_rng(0).normal(size=(2, 3, 3, 4)),
}


@pytest.mark.parametrize("probability", losses.PROBABILITIES)
@pytest.mark.parametrize("case", EXTREMES)
def test_value_and_gradient_are_finite(probability, case):
    cams = jnp.asarray(EXTREMES[case], jnp.float32)

    def total(cams):
        return entropy(cams, [0, 3], probability, "sum").sum()

    value, gradient = jax.value_and_grad(total)(cams)
    assert np.isfinite(value) and value >= -1e-5
    assert np.all(np.isfinite(gradient))


def test_the_other_classes_do_not_matter(cams):
    """But to `class_softmax`, which reads all of them and no label."""
    for probability in losses.PROBABILITIES:
        total = functools.partial(entropy, probability=probability, reduction="sum")
        gradient = jax.grad(lambda c, total=total: total(c, LABELS).sum())(cams)
        chosen = np.zeros(cams.shape, bool)
        for i, label in enumerate(LABELS):
            chosen[i, :, :, label] = True
        if probability == "class_softmax":
            np.testing.assert_array_equal(total(cams, LABELS), total(cams, (1, 1, 1)))
            assert np.all(gradient[~chosen] != 0)
        else:
            assert np.all(total(cams, LABELS) != total(cams, (1, 1, 1)))
            assert np.all(gradient[~chosen] == 0)


def test_low_precision_maps_are_read_in_float32(cams):
    low = cams.astype(jnp.bfloat16)
    for probability in losses.PROBABILITIES:
        np.testing.assert_array_equal(
            entropy(low, LABELS, probability), entropy(low.astype(jnp.float32), LABELS, probability)
        )


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"probability": "softmax"}, "spatial_softmax"), ({"reduction": "max"}, "mean")],
)
def test_unknown_names(cams, settings, named):
    with pytest.raises(ValueError, match=rf"unknown .*{named}"):
        entropy(cams, LABELS, **settings)
