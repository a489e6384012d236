"""NL-CCAM: the block against loops over cells, and the identity that it begins as."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ega_jax.methods.cam import CAM
from ega_jax.methods.nl_ccam import NLCCAM, NonLocal
from ega_jax.models.norm import AUX, MAIN
from tests.helpers import tiny

pytestmark = pytest.mark.slow

SHAPE = (2, 3, 4, 16)
X = jnp.asarray(np.random.default_rng(0).normal(size=SHAPE), jnp.float32)


def naive(params, statistics, x):
    """The block by its definition, one cell after another; attention rows sum to 1."""

    def project(name, vector):
        return vector @ np.asarray(params[name]["kernel"])[0, 0] + np.asarray(params[name]["bias"])

    result = np.zeros(x.shape)
    for b, cells in enumerate(np.asarray(x).reshape(len(x), -1, x.shape[-1])):
        for i, cell in enumerate(cells):
            scores = np.array([project("query", cell) @ project("key", other) for other in cells])
            attention = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
            mean = sum(a * project("value", o) for a, o in zip(attention, cells, strict=True))
            result[b].reshape(-1, x.shape[-1])[i] = project("mix", mean)
    centred = (result - statistics["mean"]) / np.sqrt(np.asarray(statistics["var"]) + 1e-5)
    return x, centred


@pytest.mark.parametrize("dual", [False, True])
def test_equals_the_definition(dual):
    module = NonLocal(dual=dual)
    variables = tiny.variables(module, shape=SHAPE)
    params = variables["params"]
    assert params["query"]["kernel"].shape == params["key"]["kernel"].shape == (1, 1, 16, 2)
    assert params["value"]["kernel"].shape == params["mix"]["kernel"].shape == (1, 1, 16, 16)
    assert set(params["bn"]) == ({"main", "aux"} if dual else {"main"})
    for branch, collection in [("main", MAIN), ("aux", AUX)][: 1 + dual]:
        statistics = variables[collection]["bn"][branch]
        x, centred = naive(params, statistics, X)
        bn = params["bn"][branch]
        expected = x + centred * bn["scale"] + bn["bias"]
        found = jax.jit(functools.partial(module.apply, train=False, aux=branch == "aux"))(
            variables, X
        )
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
        assert np.abs(expected - x).max() > 0.5


def test_attention_rows_sum_to_1():
    """Where all values are alike, so is what every cell gets of them, whoever it looks at."""
    module = NonLocal()
    variables = tiny.variables(module, shape=SHAPE)
    params = variables["params"]
    params["value"]["kernel"] = jnp.zeros((1, 1, 16, 16))
    apply = jax.jit(functools.partial(module.apply, train=True, mutable=[MAIN]))
    _, update = apply(variables, X)
    mixed = params["value"]["bias"] @ params["mix"]["kernel"][0, 0] + params["mix"]["bias"]
    expected = 0.9 * variables[MAIN]["bn"]["main"]["mean"] + 0.1 * mixed
    np.testing.assert_allclose(update[MAIN]["bn"]["main"]["mean"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("train", [False, True])
def test_begins_as_the_identity(train, dtype):
    module = NonLocal(dual=True, dtype=dtype)
    x = X.astype(dtype)
    variables = module.init(jax.random.key(0), x, train=False)
    for aux in (False, True):
        y, _ = module.apply(variables, x, train=train, aux=aux, mutable=[MAIN, AUX])
        assert y.dtype == dtype
        np.testing.assert_array_equal(y, x)


def test_a_new_network_is_cam_s():
    """Blocks behind four stages leave the trunk as it was: its weights keep their sense."""
    plain, method = tiny.network(), tiny.network(tiny.method("nl_ccam"))
    variables = tiny.variables(plain)
    with_blocks = jax.jit(functools.partial(method.init, train=False))(
        jax.random.key(0), jnp.zeros((1, 16, 16, 3))
    )
    blocks = {f"insert_{stage}" for stage in ("pool2", "pool3", "pool4", "conv5_3")}
    assert with_blocks["params"].keys() - variables["params"].keys() == blocks
    joined = {k: with_blocks[k] | variables[k] for k in variables}
    images = tiny.batch(dtype=np.float32)["image"]
    expected, _ = jax.jit(functools.partial(plain.apply, train=False))(variables, images)
    logits, _ = jax.jit(functools.partial(method.apply, train=False))(joined, images)
    np.testing.assert_allclose(logits, expected, rtol=1e-6, atol=1e-7)


def test_the_blocks_learn_from_the_first_step():
    """The scale of 0 stops the gradient of what is before it, but not its own."""
    module = NonLocal()
    variables = module.init(jax.random.key(0), X, train=False)
    weights = jnp.asarray(np.random.default_rng(1).normal(size=SHAPE), jnp.float32)

    def loss(params):
        y, _ = module.apply({**variables, "params": params}, X, train=True, mutable=[MAIN])
        return (y * weights).sum()

    grads = jax.jit(jax.grad(loss))(variables["params"])
    assert all(map(np.any, jax.tree.leaves(grads["bn"])))
    assert not any(map(np.any, jax.tree.leaves(grads["query"])))


def test_reads_as_ccam():
    method = NLCCAM(function="t1b1")
    assert method.one_map and method.read.__func__ is not CAM.read
    cams = jnp.asarray(np.random.default_rng(0).normal(size=(1, 2, 2, 3)), jnp.float32)
    view = tiny.View(None, jnp.array([[0.1, 0.9, -0.3]]), {"cams": cams}, None)
    expected = cams[..., 1] - cams[..., 2]
    np.testing.assert_allclose(method.read(view, jnp.array([[0]]))[..., 0], expected, rtol=1e-6)
