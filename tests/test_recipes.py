"""The recipes for CUB, ILSVRC and OpenImages: they say what they should, build, and step."""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import protocol, rows
from ega_jax import build, steps
from ega_jax.config import check

RECIPES = [f"{data}_{model}" for data in protocol.DATA for model in protocol.MODELS]
IMAGES = 6000  # of a training split; decides on the schedule alone


def recipe(name, row="ega"):
    return importlib.import_module(f"configs.{name}").get_config(row)


def parts(config):
    """The arguments of `steps.train_step` that are no arrays."""
    return {
        "model": build.model(config, config.data.num_classes),
        "tx": build.optimizer(config, build.schedule(config, IMAGES)),
    }


@pytest.mark.parametrize("name", RECIPES)
def test_builds_at_full_size(name):
    config = recipe(name)
    check(config, num_devices=4)
    made = parts(config)
    size, classes = config.data.crop_size, config.data.num_classes
    init = functools.partial(steps.init_state, image_size=size, **made)
    state = jax.eval_shape(init, jax.random.key(0))
    batch = {
        "image": jax.ShapeDtypeStruct((config.batch_size, size, size, 3), jnp.uint8),
        "label": jax.ShapeDtypeStruct((config.batch_size,), jnp.int32),
        "mask": jax.ShapeDtypeStruct((config.batch_size,), jnp.bool_),
    }
    step = functools.partial(steps.train_step, ega=build.ega(config), seed=0, **made)
    after, sums = jax.eval_shape(step, state, batch)
    assert jax.tree.map(lambda x: x.shape, after) == jax.tree.map(lambda x: x.shape, state)
    assert {"ce_clean", "ce_adv", "entropy_clean", "entropy_adv"} <= sums.keys()
    assert state.params["head"]["classifier"]["kernel"].shape[-1] == classes


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_steps_at_reduced_width(quick_compilation, name):
    # Recipes differ by network and by classes: one of each network takes the costly step.
    row = "ega" if name.startswith("cub") else "cam"
    config = recipe(name, row)
    config.model.width = 1 / 64
    made = parts(config)
    size = config.data.crop_size
    init = functools.partial(steps.init_state, image_size=size, **made)
    state = jax.jit(init)(jax.random.key(0))
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.integers(0, 256, (2, size, size, 3), np.uint8),
        "label": rng.integers(0, config.data.num_classes, 2, np.int32),
        "mask": np.ones(2, bool),
    }
    step = functools.partial(steps.train_step, ega=build.ega(config), seed=0, **made)
    after, sums = jax.jit(step)(state, batch)
    assert all(np.isfinite(value) for value in sums.values())
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((after.params, after.model_state)))
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), after.params, state.params)
    assert any(jax.tree.leaves(moved["head"]))
    if row == "ega":
        assert 0 < sums["perturbation"] / sums["count"] <= 1 + 1e-4


def test_protocol():
    """Paper, section 4.1, and the reference's training: what each data set and network asks for."""
    cub = recipe("cub_vgg")
    assert (cub.data.resize_size, cub.data.crop_size, cub.data.num_classes) == (256, 224, 200)
    assert (cub.model.name, cub.model.batch_norm, cub.model.head_convs) == ("vgg16", True, 2)
    assert cub.eval.ten_crop and not recipe("openimages_vgg").eval.ten_crop
    assert cub.epochs == 50 and cub.optimizer.decay_epochs == (14.0, 29.0, 44.0)
    ilsvrc = recipe("ilsvrc_resnet50")
    assert ilsvrc.epochs == 10 and ilsvrc.optimizer.decay_epochs == (2.0, 5.0, 8.0)
    assert ilsvrc.optimizer.weight_decay == 1e-4 and cub.optimizer.weight_decay == 5e-4
    assert ilsvrc.optimizer.head_modules == ("layer4", "head")
    alexnet = recipe("ilsvrc_alexnet")
    assert (alexnet.data.crop_size, alexnet.eval.map_size) == (227, 224)


@pytest.mark.parametrize("data", protocol.DATA)
@pytest.mark.parametrize("model", protocol.REFERENCE_MODELS)
def test_reference_rows(data, model):
    config = recipe(f"{data}_{model}", "reference")
    check(config)
    assert not config.ega.adversarial
    assert config.ega.lambda_clean == config.ega.lambda_adv == 0
    assert config.optimizer.learning_rate != 0.001
    if model == "vgg":
        assert (config.model.batch_norm, config.model.head_convs) == (False, 1)
    build.model(config, 2)


@pytest.mark.parametrize("row", rows.ROWS)
def test_rows_of_the_ablation(row):
    config = recipe("cub_vgg", row)
    check(config)
    assert config.ega.adversarial == (row not in ("cam", "entropy"))


def test_rows_that_do_not_exist():
    with pytest.raises(ValueError, match="configs/cub_vgg.py has no row 'eag'; choose one of ega"):
        recipe("cub_vgg", "eag")
    with pytest.raises(ValueError, match="configs/cub_alexnet.py has no row 'reference'"):
        recipe("cub_alexnet", "reference")
