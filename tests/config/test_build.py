"""From a config to objects: every field arrives where it counts."""

import numpy as np
import pytest

from ega_jax.config import build
from ega_jax.config.fields import get_config
from ega_jax.ops.attack import Attack
from ega_jax.training.objective import Entropy, Objective

IMAGES = 100


def changed(**fields):
    config = get_config()
    with config.ignore_type():
        config.update_from_flattened_dict({k.replace("__", "."): v for k, v in fields.items()})
    return config


RISING = [(0, 0.1), (4, 0.5), (9, 1.0)]


@pytest.mark.parametrize(
    ("kind", "after"),
    [
        ("step", [(10, 1.0), (19, 1.0), (20, 0.2), (29, 0.2), (30, 0.04)]),
        ("cosine", [(10, 1.0), (25, 0.5), (40, 0.0)]),
        ("polynomial", [(10, 1.0), (25, 0.5**0.9), (40, 0.0)]),
        ("constant", [(10, 1.0), (39, 1.0)]),
    ],
)
def test_rates_by_step(kind, after):
    """Epochs are of ten steps: the first warms up, and there are four."""
    config = changed(
        epochs=4.0,
        batch_size=10,
        optimizer__learning_rate=1.0,
        optimizer__warmup_epochs=1.0,
        optimizer__schedule=kind,
        optimizer__decay_epochs=(2.0, 3.0),
        optimizer__decay_factor=0.2,
    )
    assert build.total_steps(config, IMAGES) == 40
    rate = build.schedule(config, IMAGES)
    for step, expected in RISING + after:
        np.testing.assert_allclose(rate(step), expected, rtol=1e-5, atol=1e-6, err_msg=f"{step}")


@pytest.mark.parametrize(
    ("fields", "trunk", "bias", "head"),
    [
        # The gradient 1 and the decay 0.1 of a parameter 2, with Nesterov's momentum of 0.5.
        ({}, 1.8, 1.5, 18.0),
        ({"decay_norm_and_bias": True}, 1.8, 1.8, 18.0),
        ({"momentum": 0.0}, 1.2, 1.0, 12.0),
        ({"head_multiplier": 1.0}, 1.8, 1.5, 1.8),
        ({"head_modules": ("trunk",)}, 18.0, 15.0, 1.8),
        ({"weight_decay": 0.0}, 1.5, 1.5, 15.0),
        ({"clip_norm": 3**0.5 / 2}, 1.05, 0.75, 10.5),  # half of the gradient's norm
        ({"name": "adam"}, 1.0, 1.0, 10.0),
    ],
)
def test_one_update(fields, trunk, bias, head):
    settings = {
        **{"name": "sgd", "momentum": 0.5, "weight_decay": 0.1, "decay_norm_and_bias": False},
        **{"head_multiplier": 10.0, "clip_norm": None},
    }
    fields = {f"optimizer__{name}": value for name, value in (settings | fields).items()}
    tx = build.optimizer(changed(**fields), lambda step: 1.0)
    params = {"trunk": {"kernel": 2.0, "bias": 2.0}, "head": {"kernel": 2.0}}
    params = {k: {n: np.float32(x) for n, x in v.items()} for k, v in params.items()}
    grads = {k: dict.fromkeys(v, np.float32(1)) for k, v in params.items()}
    updates, _ = tx.update(grads, tx.init(params), params)
    found = updates["trunk"]["kernel"], updates["trunk"]["bias"], updates["head"]["kernel"]
    np.testing.assert_allclose(found, np.negative([trunk, bias, head]), rtol=1e-5)


def test_every_field_of_the_objective():
    config = changed(
        ega__epsilon=3.0,
        ega__step_size=0.5,
        ega__random_start=True,
        ega__targeted=True,
        ega__attack_bn_mode="train",
        ega__ce_weight=0.7,
        ega__lambda_clean=2.0,
        ega__lambda_adv=0.3,
        ega__probability="sigmoid",
        ega__reduction="sum",
        remat="elementwise",
    )
    expected = Objective(
        attack=Attack(3.0, 0.5, 4, random_start=True, descend=True),  # n = epsilon + 1
        entropy=Entropy(2.0, 0.3, "sigmoid", "sum"),
        attack_bn_mode="train",
        targeted=True,
        ce_weight=0.7,
        remat="elementwise",
    )
    assert build.objective(config) == expected
    config.ega.num_steps = 2
    assert build.objective(config).attack.num_steps == 2
    assert build.objective(changed(ega__fast=True)).fast
    alone = build.objective(changed(ega__adversarial=False))
    assert alone.attack is None and alone.entropy == build.objective(changed()).entropy


def test_every_field_of_the_network():
    fields = {
        **{"width": 0.25, "feature_stride": 8, "batch_norm": False, "head_convs": 1},
        **{"head_batch_norm": False, "dropout": 0.3, "input_scaling": "caffe"},
    }
    config = changed(**{f"model__{name}": value for name, value in fields.items()})
    config.model.dtype = "bfloat16"
    network = build.model(config, 7)
    assert {name: getattr(network, name) for name in fields} == fields
    assert (network.num_classes, network.dual, network.dtype) == (7, True, np.dtype("bfloat16"))
    assert not build.model(changed(ega__adversarial=False), 7).dual
