"""What holds for every system: its key decides, on any number of devices, and CAM costs as ever."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ega_jax.methods import METHODS
from ega_jax.methods.cam import CAM
from ega_jax.models.norm import MAIN
from ega_jax.runtime.sharding import Placement
from ega_jax.training import steps
from ega_jax.training.objective import Objective
from tests.helpers import tiny

SETTINGS = {
    "has": {"grid_sizes": (0, 4, 8)},
    "spg": {"thresholds_b2": (0.6, 0.2), "thresholds_b1": (0.52, 0.48), "thresholds_c": (0.5, 0.5)},
    "danet": {"parents": (0, 1, 0, 2, 1), "roots": (0, 1, 0, 1, 1), "num_maps": 3, "alpha": 0.01},
}
KEY = jax.random.key(7)


@functools.cache
def method(name):
    if name == "danet":
        return METHODS[name](**SETTINGS[name])
    return tiny.method(name, **SETTINGS.get(name, {}))


@functools.cache
def compiled(name, num_devices):
    """Gradient, sums and new statistics of a system, as a function of state, batch and key."""
    placement = Placement(jax.devices()[:num_devices])
    model = tiny.network(method(name))
    variables = tiny.variables(model)
    run = jax.jit(
        functools.partial(Objective(method=method(name)).loss_and_grads, model),
        in_shardings=(*[placement.replicated] * 2, placement.by_example, placement.replicated),
        out_shardings=placement.replicated,
    )
    batch = placement.put_batch(tiny.batch(dtype=np.float32))
    statistics = {MAIN: variables[MAIN]}
    return lambda key: run(variables["params"], statistics, batch, key)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_one_device_equals_four(name):
    """Also what is drawn: squares, boxes, masks, channels."""
    one, four = (compiled(name, n)(KEY) for n in (1, 4))
    tiny.assert_trees_close(four, one, rtol=1e-4, atol=1e-5)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(one))
    grads, sums, _ = one
    moved = {module for module, tree in grads.items() if any(map(np.any, jax.tree.leaves(tree)))}
    assert moved == set(grads)  # every module learns something
    np.testing.assert_allclose(
        sums["loss"],
        sum(v for k, v in sums.items() if k.startswith(("ce", "seeds", "cosine"))),
        rtol=1e-5,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_the_key_decides(name):
    run = compiled(name, 1)
    first, again = run(KEY), run(KEY)
    tiny.assert_trees_equal(again, first)
    others = [run(jax.random.key(seed))[1]["loss"] for seed in range(3)]
    draws = name in ("has", "adl", "cutmix", "danet")
    assert (len({float(loss) for loss in others}) > 1) == draws


@pytest.mark.parametrize("name", ["backprop", "ccam"])
def test_trained_as_cam(name):
    tiny.assert_trees_equal(compiled(name, 1)(KEY), compiled("cam", 1)(KEY))


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_what_a_system_adds_to_the_network(name):
    model, plain = tiny.network(method(name)), tiny.network()
    variables = tiny.variables(model)
    keys = (set(tree) for tree in (variables["params"], tiny.variables(plain)["params"]))
    more = set.symmetric_difference(*keys)
    expected = {
        "acol": {"head_b"},
        "spg": {"head_b", "head_b1", "head_b2", "head_c"},
        "danet": {"head_parent", "head_root"},
        "nl_ccam": {f"insert_{s}" for s in ("pool2", "pool3", "pool4", "conv5_3")},
    }
    assert more == expected.get(name, set())
    shapes = [
        jax.eval_shape(
            functools.partial(m.apply, train=False), tiny.variables(m), jnp.zeros((1, 16, 16, 3))
        )
        for m in (model, plain)
    ]
    (logits, out), (plain_logits, plain_out) = shapes
    assert logits.shape == plain_logits.shape == (1, tiny.CLASSES)
    assert out["cams"].shape == plain_out["cams"].shape
    assert method(name).one_map == (name not in ("acol", "danet"))


@pytest.mark.parametrize("name", METHODS)
def test_augmentation_is_has_and_cutmix_s_alone(name):
    batch = tiny.batch(dtype=np.float32)
    changes = type(method(name)).augment is not CAM.augment
    assert changes == (name in ("has", "cutmix"))
    if not changes:
        assert method(name).augment(batch, KEY) is batch


@pytest.mark.slow
def test_cam_costs_what_a_plain_step_costs():
    """That other systems can be switched on does not show in the compiled step."""
    model, tx = tiny.network(width=1 / 32, num_classes=10), tiny.optimizer()
    init = functools.partial(steps.init_state, model=model, tx=tx, image_size=32)
    state = jax.eval_shape(init, jax.random.key(0))
    batch = {
        "image": jax.ShapeDtypeStruct((8, 32, 32, 3), jnp.uint8),
        "label": jax.ShapeDtypeStruct((8,), jnp.int32),
        "mask": jax.ShapeDtypeStruct((8,), jnp.bool_),
    }

    def plain(state, batch):
        def loss(params):
            (logits, _), update = model.apply(
                {"params": params, **state.model_state},
                batch["image"].astype(jnp.float32) / 255,
                train=True,
                mutable=[MAIN],
            )
            p = jax.nn.log_softmax(logits)
            return -jnp.take_along_axis(p, batch["label"][:, None], 1).mean(), update

        (value, update), grads = jax.value_and_grad(loss, has_aux=True)(state.params)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return state.replace(params=params, opt_state=opt_state, model_state=update), value

    def flops(step):
        return jax.jit(step).lower(state, batch).compile().cost_analysis()["flops"]

    step = functools.partial(steps.train_step, model=model, tx=tx, ega=Objective(), seed=0)
    assert abs(flops(step) / flops(plain) - 1) < 0.001
