"""The two branches of batch norm: equal to linen's own, and closed to each other."""

import functools

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ega_jax.models.norm import AUX, MAIN, DualBatchNorm
from tests.helpers import tiny

BRANCHES = {"main": (False, MAIN), "aux": (True, AUX)}


@pytest.fixture(scope="module")
def x():
    return jnp.asarray(np.random.default_rng(0).normal(2.0, 3.0, (6, 4, 4, 3)), jnp.float32)


@pytest.fixture(scope="module")
def variables(x):
    """Both branches, each with numbers of its own."""
    rng = np.random.default_rng(1)
    fresh = DualBatchNorm(dual=True).init(jax.random.key(0), x, train=False)
    return jax.tree.map(lambda a: jnp.asarray(rng.uniform(0.5, 2.0, a.shape), a.dtype), fresh)


def only(variables, branch):
    """What a plain `nn.BatchNorm` needs to stand in for one branch."""
    _, collection = BRANCHES[branch]
    return {
        "params": variables["params"][branch],
        "batch_stats": variables[collection][branch],
    }


@pytest.mark.parametrize("branch", BRANCHES)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_equals_linen(x, variables, branch, dtype):
    aux, collection = BRANCHES[branch]
    module = DualBatchNorm(dual=True, dtype=dtype)
    plain = nn.BatchNorm(momentum=0.9, epsilon=1e-5, dtype=dtype)

    expected, expected_update = plain.apply(
        only(variables, branch), x, use_running_average=False, mutable=["batch_stats"]
    )
    actual, update = module.apply(variables, x, train=True, aux=aux, mutable=[collection])
    np.testing.assert_array_equal(actual, expected)
    assert actual.dtype == dtype
    tiny.assert_trees_equal(update[collection][branch], expected_update["batch_stats"])
    assert all(s.dtype == jnp.float32 for s in jax.tree.leaves(update))

    expected = plain.apply(only(variables, branch), x, use_running_average=True)
    np.testing.assert_array_equal(module.apply(variables, x, train=False, aux=aux), expected)


def test_statistics_by_hand():
    x = jnp.array([[1.0], [3.0]])  # mean 2, variance 1
    module = DualBatchNorm(dual=True, epsilon=0.0)
    variables = module.init(jax.random.key(0), x, train=True, aux=True)
    output, update = module.apply(variables, x, train=True, aux=True, mutable=[AUX])
    np.testing.assert_allclose(output, [[-1.0], [1.0]], rtol=1e-6)
    np.testing.assert_allclose(update[AUX]["aux"]["mean"], [0.9 * 0 + 0.1 * 2], rtol=1e-6)
    np.testing.assert_allclose(update[AUX]["aux"]["var"], [0.9 * 1 + 0.1 * 1], rtol=1e-6)


@pytest.mark.parametrize("branch", BRANCHES)
def test_pass_touches_its_own_branch_only(x, variables, branch):
    aux, collection = BRANCHES[branch]
    _, update = DualBatchNorm(dual=True).apply(
        variables, x, train=True, aux=aux, mutable=[collection]
    )
    assert set(update) == {collection}
    # Even a pass that may write to both writes to its own.
    _, update = DualBatchNorm(dual=True).apply(
        variables, x, train=True, aux=aux, mutable=[MAIN, AUX]
    )
    other = "main" if aux else "aux"
    other_collection = BRANCHES[other][1]
    tiny.assert_trees_equal(update[other_collection], variables[other_collection])
    assert not np.array_equal(
        update[collection][branch]["mean"], variables[collection][branch]["mean"]
    )


@pytest.mark.parametrize(("aux", "wrong"), [(False, AUX), (True, MAIN)])
def test_wrong_branch_cannot_be_updated(x, variables, aux, wrong):
    with pytest.raises(flax.errors.ModifyScopeVariableError):
        DualBatchNorm(dual=True).apply(variables, x, train=True, aux=aux, mutable=[wrong])


@pytest.mark.parametrize("branch", BRANCHES)
def test_unused_branch_has_zero_gradient(x, variables, branch):
    aux, collection = BRANCHES[branch]

    def loss(params):
        output, _ = DualBatchNorm(dual=True).apply(
            {**variables, "params": params}, x, train=True, aux=aux, mutable=[collection]
        )
        return jnp.sum(output**3)

    grads = jax.grad(loss)(variables["params"])
    other = "main" if aux else "aux"
    assert all(np.all(g == 0) for g in jax.tree.leaves(grads[other]))
    assert all(np.all(g != 0) for g in jax.tree.leaves(grads[branch]))


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("aux", [False, True])
def test_init_creates_both_branches(x, train, aux):
    variables = DualBatchNorm(dual=True).init(jax.random.key(0), x, train=train, aux=aux)
    shapes = jax.tree.map(jnp.shape, variables)
    affine, statistics = {"scale": (3,), "bias": (3,)}, {"mean": (3,), "var": (3,)}
    assert shapes == {
        "params": {"main": affine, "aux": affine},
        MAIN: {"main": statistics},
        AUX: {"aux": statistics},
    }
    # Initialisation itself is no pass: it must not count as the first batch.
    assert np.all(variables[MAIN]["main"]["mean"] == 0)
    assert np.all(variables[AUX]["aux"]["mean"] == 0)


def test_auxiliary_starts_as_the_main_one(x):
    module = DualBatchNorm(dual=True)
    variables = module.init(jax.random.key(0), x, train=False)
    tiny.assert_trees_equal(variables["params"]["main"], variables["params"]["aux"])
    tiny.assert_trees_equal(variables[MAIN]["main"], variables[AUX]["aux"])
    main, aux = (module.apply(variables, x, train=False, aux=aux) for aux in (False, True))
    np.testing.assert_array_equal(main, aux)


def test_single_is_one_batch_norm(x):
    variables = DualBatchNorm().init(jax.random.key(0), x, train=False)
    assert set(variables) == {"params", MAIN}
    assert set(variables["params"]) == {"main"}
    with pytest.raises(ValueError, match="dual=True"):
        DualBatchNorm().apply(variables, x, train=False, aux=True)


def test_inference_without_the_auxiliary_branch():
    model = tiny.TinyNet(dual=True)
    variables = tiny.variables(model)
    images = tiny.batch(dtype=np.float32)["image"]
    expected, _ = jax.jit(functools.partial(model.apply, train=False))(variables, images)
    params = flax.traverse_util.flatten_dict(variables["params"])
    kept = {path: value for path, value in params.items() if "aux" not in path}
    assert len(kept) == len(params) - 6  # scale and bias of three auxiliary batch norms
    slim = {"params": flax.traverse_util.unflatten_dict(kept), MAIN: variables[MAIN]}
    for network in (model, tiny.TinyNet(dual=False)):
        logits, _ = jax.jit(functools.partial(network.apply, train=False))(slim, images)
        np.testing.assert_allclose(logits, expected, rtol=1e-6)
