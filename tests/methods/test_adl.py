"""ADL: both maps, their gradients, and when which is drawn."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ega_jax.methods.adl import AttentionDropout, drop_mask, importance_map
from tests.helpers import tiny

pytestmark = pytest.mark.slow

# Means over the channels: 1, 4; 5, 10 and, in the second image, -4, 1; 0.5, 2.
X = jnp.array(
    [
        [[[0.0, 2], [3, 5]], [[5, 5], [11, 9]]],
        [[[-4.0, -4], [3, -1]], [[1, 0], [1, 3]]],
    ]
)
MEANS = np.array([[[1, 4], [5, 10]], [[-4, 1], [0.5, 2]]])


def test_drop_mask_by_hand():
    mask = drop_mask(X, 0.5)
    assert mask.shape == (2, 2, 2, 1)
    # Of the first image what reaches 5 drops, 5 too; of the second what reaches 1.
    np.testing.assert_array_equal(mask[..., 0], [[[1, 1], [0, 0]], [[1, 0], [1, 0]]])
    np.testing.assert_array_equal(drop_mask(X, 0.51)[0, ..., 0], [[1, 1], [1, 0]])
    np.testing.assert_array_equal(drop_mask(X, 1.0)[0, ..., 0], [[1, 1], [1, 0]])


def test_importance_map_by_hand():
    np.testing.assert_allclose(importance_map(X)[..., 0], 1 / (1 + np.exp(-MEANS)), rtol=1e-6)


@functools.cache
def layer(drop_rate):
    """The layer in training, as a function of a key and features, and its gradient."""
    module = AttentionDropout(drop_rate, 0.5)

    def apply(key, x):
        return module.apply({}, x, train=True, rngs={"dropout": key})

    gradient = jax.grad(lambda key, x: apply(key, x).sum(), argnums=1)
    return jax.jit(jax.vmap(apply, (0, None))), jax.jit(gradient)


@pytest.mark.parametrize("drop_rate", [0.0, 0.75, 1.0])
def test_one_map_is_drawn_for_the_whole_batch(drop_rate):
    apply, _ = layer(drop_rate)
    results = np.asarray(apply(jax.random.split(jax.random.key(0), 400), X))
    dropped = np.isclose(results, X * drop_mask(X, 0.5)).all(axis=(1, 2, 3, 4))
    weighted = np.isclose(results, X * importance_map(X)).all(axis=(1, 2, 3, 4))
    assert (dropped ^ weighted).all()  # one or the other, for both images alike
    assert abs(dropped.mean() - drop_rate) < (0.07 if 0 < drop_rate < 1 else 1e-9)


def test_no_gradient_through_the_mask():
    _, gradient = layer(1.0)
    mask = np.broadcast_to(drop_mask(X, 0.5), X.shape)
    np.testing.assert_array_equal(gradient(jax.random.key(0), X), mask)


def test_gradient_through_the_importance():
    _, gradient = layer(0.0)
    share = 1 / (1 + np.exp(-MEANS[..., None]))
    # d/dx_j of sum_i x_i s(mean x) = s + s (1 - s) (sum_i x_i) / 2 = s + s (1 - s) mean
    expected = share + share * (1 - share) * MEANS[..., None]
    expected = np.broadcast_to(expected, X.shape)
    np.testing.assert_allclose(gradient(jax.random.key(0), X), expected, rtol=1e-5, atol=1e-6)


def test_layers_draw_by_themselves():
    class Two(nn.Module):
        @nn.compact
        def __call__(self, x):
            return [AttentionDropout(0.5, 0.5, name=n)(x, train=True) for n in ("a", "b")]

    @jax.jit
    @jax.vmap
    def outcomes(key):
        results = Two().apply({}, X, rngs={"dropout": key})
        return jnp.array([(r == X * drop_mask(X, 0.5)).all() for r in results])

    first, second = np.asarray(outcomes(jax.random.split(jax.random.key(0), 400))).T
    assert 60 < (first & second).sum() < 140  # a quarter
    assert 60 < (~first & second).sum() < 140


def test_evaluation_is_cam_s():
    """No parameters, and nothing happens."""
    plain, method = tiny.network(), tiny.network(tiny.method("adl"))
    variables = tiny.variables(plain)
    tiny.assert_trees_equal(tiny.variables(method), variables)
    images = tiny.batch(dtype=np.float32)["image"]

    def logits(model, **kwargs):
        apply = functools.partial(model.apply, mutable=["batch_stats"], **kwargs)
        return jax.jit(apply)(variables, images)[0][0]

    np.testing.assert_array_equal(logits(method, train=False), logits(plain, train=False))
    rngs = {"rngs": {"dropout": jax.random.key(0)}, "train": True}
    assert np.any(logits(method, **rngs) != logits(plain, **rngs))


def test_places():
    """As in the field's code; a layer stands behind each."""
    method = tiny.method("adl")
    assert tuple(method.inserts("vgg16")) == ("pool3", "conv4_3", "conv5_3")
    assert tuple(method.inserts("resnet50")) == ("layer3_0", "layer4_0", "layer4_2")
    assert len(method.inserts("inception_v3")) == len(method.inserts("googlenet")) == 3
