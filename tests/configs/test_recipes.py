"""The recipes for published data and photographs: they say what they should, build, and step."""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import protocol, rows
from ega_jax.config import build
from ega_jax.config.check import check
from ega_jax.methods import CAM, METHODS
from ega_jax.models.inputs import SCALINGS
from ega_jax.ops.attack import Attack
from ega_jax.ops.losses import PROBABILITIES
from ega_jax.runtime.errors import ConfigError
from ega_jax.training import steps
from ega_jax.training.objective import Objective
from tests.helpers import tiny

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


def shapes_of_a_step(config, size, batch_size):
    """Traces a training step: the shapes of the state, which stay, and of the metric sums."""
    made = parts(config)
    init = functools.partial(steps.init_state, image_size=size, **made)
    state = jax.eval_shape(init, jax.random.key(0))
    batch = {
        "image": jax.ShapeDtypeStruct((batch_size, size, size, 3), jnp.uint8),
        "label": jax.ShapeDtypeStruct((batch_size,), jnp.int32),
        "mask": jax.ShapeDtypeStruct((batch_size,), jnp.bool_),
    }
    step = functools.partial(steps.train_step, ega=build.objective(config), seed=0, **made)
    after, sums = jax.eval_shape(step, state, batch)
    assert jax.tree.map(lambda x: x.shape, after) == jax.tree.map(lambda x: x.shape, state)
    return state, sums


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",  # data sets differ by their classes: each with some network, each network with one
    [
        "cub_vgg",
        "ilsvrc_googlenet",
        "openimages_inception_v3",
        "ilsvrc_resnet50",
        "openimages_alexnet",
    ],
)
def test_builds_at_full_size(name):
    config = recipe(name)
    state, sums = shapes_of_a_step(config, config.data.crop_size, config.batch_size)
    assert {"ce_clean", "ce_adv", "entropy_clean", "entropy_adv"} <= sums.keys()
    classes = config.data.num_classes
    assert state.params["head"]["classifier"]["kernel"].shape[-1] == classes


@pytest.mark.slow
@pytest.mark.parametrize("name", [f"cub_{m}" for m in (*protocol.MODELS, "efficientnet_lite0")])
def test_steps_at_reduced_width(name):
    # Recipes of a network differ by classes and schedule: one of each takes the costly step.
    config = recipe(name)
    config.model.width = 1 / 16  # with single channels a ReLU can block all of the gradient
    made = parts(config)
    size = config.data.crop_size
    state = tiny.train_state(**made, shape=(1, size, size, 3))
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.integers(0, 256, (2, size, size, 3), np.uint8),
        "label": rng.integers(0, config.data.num_classes, 2, np.int32),
        "mask": np.ones(2, bool),
    }
    step = functools.partial(steps.train_step, ega=build.objective(config), seed=0, **made)
    after, sums = jax.jit(step)(state, batch)
    assert all(np.isfinite(value) for value in sums.values())
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((after.params, after.model_state)))
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), after.params, state.params)
    assert any(jax.tree.leaves(moved["head"]))
    assert 0 < sums["perturbation"] / sums["count"] <= 1 + 1e-4


@pytest.mark.parametrize("name", RECIPES)
def test_fits_four_devices(name):
    check(recipe(name), num_devices=4)


def test_protocol():
    """Paper, section 4.1, and the reference's training: what each data set and network asks for."""
    for name in RECIPES:
        optimizer = recipe(name).optimizer
        assert (optimizer.learning_rate, optimizer.head_multiplier) == (0.001, 10.0)
        assert (optimizer.momentum, recipe(name).batch_size) == (0.9, 32)
    assert recipe("cub_googlenet").model.input_scaling == "signed"
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


@pytest.mark.parametrize(
    ("name", "rate", "stride", "weight_decay"),
    [
        ("cub_vgg", 0.00001268269, 16, 5e-4),
        ("cub_inception_v3", 0.00224844746, 8, 5e-4),
        ("cub_resnet50", 0.00023222617, 8, 1e-4),
        ("ilsvrc_vgg", 0.00001654502, 16, 5e-4),
        ("ilsvrc_inception_v3", 0.0003606503, 8, 5e-4),
        ("ilsvrc_resnet50", 0.00003108411, 8, 1e-4),
        ("openimages_vgg", 0.00034052401, 16, 5e-4),
        ("openimages_inception_v3", 0.0003, 8, 5e-4),
        ("openimages_resnet50", 0.00107117324, 16, 1e-4),
    ],
)
def test_reference_rows(name, rate, stride, weight_decay):
    config = recipe(name, "reference")
    check(config)
    assert build.objective(config) == Objective() and not config.eval.ten_crop
    optimizer, model = config.optimizer, config.model
    assert (optimizer.learning_rate, optimizer.weight_decay) == (rate, weight_decay)
    assert model.feature_stride == stride
    expected = {  # batch norm, convolutions in the head, batch norm there, dropout
        "vgg16": (False, 1, True, 0.0),
        "inception_v3": (True, 2, False, 0.5),
        "resnet50": (True, 0, True, 0.0),
    }[model.name]
    head = (model.batch_norm, model.head_convs, model.head_batch_norm, model.dropout)
    assert head == expected


@pytest.mark.parametrize("row", rows.ROWS)
def test_rows(row):
    config = recipe("cub_vgg", row)
    check(config)
    objective = build.objective(config)
    assert (objective.attack is None) == (row in METHODS or row == "entropy")
    assert type(objective.method) is METHODS.get(row, CAM)


@pytest.mark.parametrize("row", rows.ROWS)
@pytest.mark.parametrize("small", [False, True])
def test_photos(small, row):
    """The recipe for photographs, with the two words that it takes in either order."""
    config = recipe("photos", f"small,{row}" if small else row)
    assert config.to_dict() == recipe("photos", f"{row},small" if small else row).to_dict()
    assert (config.model.name, config.model.pretrained) == ("efficientnet_lite0", "auto")
    assert config.optimizer.learning_rate == 0.005
    assert config.ega.probability == (row if row in PROBABILITIES else "minmax")
    assert (config.ega.entropy_start, config.ega.entropy_rise) == (0.25, 0.5)
    weights = (0.0, 0.0) if row == "adversarial" else (3.0, 1.0)
    assert (config.ega.lambda_clean, config.ega.lambda_adv) == weights
    assert (config.data.resize_size, config.data.crop_size) == ((146, 128) if small else (256, 224))
    assert (config.epochs, config.batch_size, config.model.head_convs) == (8.0, 16, 0)
    if row == "danet":
        config.danet.hierarchy = str(protocol.HIERARCHIES["cub"])
    check(config)
    objective = build.objective(config)
    assert (objective.attack is None) == (row in METHODS or row == "entropy")
    assert type(objective.method) is METHODS.get(row, CAM)


def test_photos_without_a_row():
    assert recipe("photos", "small").to_dict() == recipe("photos", "small,ega").to_dict()
    for words, message in [
        ("smal,cam", r"photos.py:smal,cam has several rows, smal, cam; choose one"),
        ("tiny", r"photos.py has no row 'tiny'; choose one of ega, .*small"),
    ]:
        with pytest.raises(ValueError, match=message):
            recipe("photos", words)
    with pytest.raises(ValueError, match=r"configs/pets_vgg.py has no row 'small'"):
        recipe("pets_vgg", "small")


@pytest.mark.parametrize("row", rows.ROWS)
@pytest.mark.parametrize("name", ["pets_efficientnet_lite0", "pets_vgg", "pets_resnet50"])
def test_data_by_name(name, row):
    config = recipe(name, row)
    if row == "danet":
        config.danet.hierarchy = str(protocol.HIERARCHIES["cub"])
    check(config)
    assert (config.optimizer.schedule, config.epochs) == ("cosine", 8.0)
    build.optimizer(config, build.schedule(config, IMAGES))
    build.objective(config)


@pytest.mark.slow
@pytest.mark.parametrize("row", rows.ROWS)
def test_every_row_has_a_step_on_efficientnet(row):
    config = recipe("cub_efficientnet_lite0", f"small,{row}")
    config.model.width = 1 / 16
    sums = shapes_of_a_step(config, size=64, batch_size=2)[1]
    assert ("ce_adv" in sums) == (build.objective(config).attack is not None)


@pytest.mark.slow
def test_adversarial_images_where_only_the_inserts_have_a_batch_norm():
    config = recipe("cub_vgg", "nl_ccam")
    config.ega.enabled = True
    config.model.width = 1 / 32
    assert not config.model.batch_norm
    assert "ce_adv" in shapes_of_a_step(config, size=64, batch_size=2)[1]


def undefined(name, row):
    """What a message says of a system that is not defined for a network or lacks a hierarchy."""
    data, model = name.split("_", 1)
    if model == "alexnet" and row in ("spg", "adl", "danet", "nl_ccam"):
        return rf"config\.method='{row}': is not defined for model\.name=alexnet, only for vgg16, "
    if row == "danet" and data != "cub":
        return (
            r"config\.danet\.hierarchy='': danet needs .*: set a CSV file with a line class,parent"
        )
    return None


@pytest.mark.parametrize("name", RECIPES)
def test_every_row_builds_or_says_why_not(name):
    data, model = name.split("_", 1)
    more = ["reference"] * (model in protocol.REFERENCE_MODELS)
    more += ["released_code"] * (model in protocol.RELEASED)
    for row in (*rows.ROWS, *more):
        config = recipe(name, row)
        if message := undefined(name, row):
            with pytest.raises(ConfigError, match=message):
                check(config)
            continue
        check(config, num_devices=2 if row == "danet" else 4)  # batches of 30
        assert build.model(config, config.data.num_classes).num_classes == protocol.DATA[data][0]
        objective = build.objective(config)
        assert type(objective.method) is METHODS.get(row, CAM)
        build.optimizer(config, build.schedule(config, IMAGES))


@pytest.mark.slow
@pytest.mark.parametrize("row", ["acol", "spg", "adl", "danet", "nl_ccam"])
@pytest.mark.parametrize("model", ["googlenet", "inception_v3", "resnet50"])
def test_networks_of_the_systems(model, row):
    """Inserts, heads and losses fit together; for VGG16 the systems' own tests say so."""
    config = recipe(f"cub_{model}", row)
    config.model.width = 1 / 64
    network, method = build.model(config, 200), build.method(config)

    def loss(key, images, labels):
        rngs = {"params": key, "dropout": key}
        (logits, out), _ = network.init_with_output(rngs, images, train=True, labels=labels)
        batch = {"image": images, "label": labels, "mask": labels >= 0}
        return logits, method.loss(logits, out, batch, key)

    images = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
    labels = jax.ShapeDtypeStruct((2,), jnp.int32)
    logits, terms = jax.eval_shape(loss, jax.random.key(0), images, labels)
    assert logits.shape == (2, 200)
    assert all(term.shape == (2,) and term.dtype == jnp.float32 for term in terms.values())


@pytest.mark.parametrize(
    ("name", "row", "expected"),
    [  # batch norm, convolutions in the head, dropout, rate, stride
        ("cub_vgg", "acol", (False, 2, 0.0, 1.0569582e-4, 16)),
        ("cub_vgg", "spg", (False, 2, 0.0, 1.2558923e-4, 16)),
        ("cub_vgg", "adl", (False, 1, 0.0, 2.430601e-5, 16)),
        ("cub_vgg", "danet", (False, 2, 0.0, 0.001, 16)),
        ("cub_vgg", "nl_ccam", (False, 0, 0.0, 5e-5, 16)),
        ("cub_inception_v3", "has", (True, 2, 0.5, 1.400558066e-2, 8)),
        ("cub_inception_v3", "acol", (True, 2, 0.0, 6.58832165e-3, 8)),
        ("cub_inception_v3", "spg", (True, 2, 0.5, 3.360682e-4, 8)),
        ("cub_inception_v3", "adl", (True, 2, 0.0, 3.8655054e-4, 8)),
        ("cub_resnet50", "acol", (True, 2, 0.0, 1.700073e-5, 8)),
        ("cub_resnet50", "spg", (True, 0, 0.0, 4.521947e-5, 8)),
        ("cub_resnet50", "cutmix", (True, 0, 0.0, 3.333722e-4, 8)),
    ],
)
def test_systems_of_the_reference(name, row, expected):
    """Networks of the field's code, with the heads that it gives each system."""
    config = recipe(name, row)
    model = config.model
    found = (model.batch_norm, model.head_convs, model.dropout)
    assert (*found, config.optimizer.learning_rate, model.feature_stride) == expected
    assert not config.eval.ten_crop and not config.ega.enabled


def test_released_code():
    """Its ball: one standard deviation around the scaled image, a step of 0.01 in it."""
    objective = build.objective(recipe("cub_inception_v3", "released_code"))
    assert objective.attack == Attack(255.0, 0.01 * 255, 1, random_start=True)
    assert objective.attack_scaling == SCALINGS["imagenet"]
    assert (objective.ce_weight, objective.attack_bn_mode) == (0.5, "train")
    assert objective.entropy.lambda_clean == objective.entropy.lambda_adv == 0
    for name, norms in (("cub_inception_v3", True), ("cub_vgg", False)):  # VGG has none at all
        model = build.model(recipe(name, "released_code"), 200)
        images = jax.ShapeDtypeStruct((1, 80, 80, 3), np.float32)
        made = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), images)
        assert ("batch_stats_aux" in made) == norms


def test_rows_that_do_not_exist():
    with pytest.raises(ValueError, match="configs/cub_vgg.py has no row 'eag'; .*ega, .*reference"):
        recipe("cub_vgg", "eag")
    with pytest.raises(ValueError, match="configs/cub_alexnet.py has no row 'reference'"):
        recipe("cub_alexnet", "reference")
