"""Checks of the config, and its way to a file and back."""

import math

import pytest

from configs import base, folder, quickstart, rows
from ega_jax.config import build
from ega_jax.config.check import _warn_once, check
from ega_jax.models.network import single
from ega_jax.ops.losses import PROBABILITIES
from ega_jax.runtime.errors import ConfigError


def creatures():
    config = base.get_config()
    config.data.name = "creatures"
    return config


RECIPES = {
    "base": base.get_config,
    "base with creatures": creatures,
    **{
        f"folder:{row}": lambda row=row: folder.get_config(row)
        for row in rows.ROWS
        if row != "danet"
    },
    **{f"quickstart:{row}": lambda row=row: quickstart.get_config(row) for row in rows.ROWS},
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes_are_valid(recipe):
    config = RECIPES[recipe]()
    check(config)
    check(config, num_devices=4)
    with pytest.raises((AttributeError, KeyError), match="lambda_claen"):
        config.ega.lambda_claen = 2.0


@pytest.mark.parametrize(
    ("row", "adversarial", "entropy"),
    [
        ("ega", True, True),
        ("cam", False, False),
        ("adversarial", True, False),
        ("entropy", False, True),
        *((probability, True, True) for probability in PROBABILITIES),
    ],
)
def test_quickstart_rows(row, adversarial, entropy):
    ega = build.objective(quickstart.get_config(row))
    assert (ega.attack is not None) == adversarial
    weights = (ega.entropy.lambda_clean, ega.entropy.lambda_adv) if ega.entropy else (0.0, 0.0)
    assert all(weights) == any(weights) == entropy
    if row in PROBABILITIES:
        assert ega.entropy.probability == row


def test_quickstart_has_no_such_row():
    with pytest.raises(ValueError, match="egaa.*choose one of.*adversarial"):
        quickstart.get_config("egaa")


@pytest.mark.parametrize("row", rows.ROWS)
def test_quickstart_rows_build(row):
    config = quickstart.get_config(row)
    assert build.objective(config).method == build.method(config)
    model = build.model(config, 10)
    expected = {  # stages behind which something is put
        "adl": {"pool3", "conv4_3", "conv5_3"},
        "nl_ccam": {"pool2", "pool3", "pool4", "conv5_3"},
    }
    assert set(model.inserts) == expected.get(row, set())
    assert (model.ending is not single) == (row in ("acol", "spg", "danet"))
    assert model.dual == (build.objective(config).attack is not None)


def test_when_the_entropies_set_in():
    config = changed({"steps": 40, "ega.entropy_start": 0.25, "ega.entropy_rise": 0.5})
    check(config)
    share = build.entropy_share(config, num_images=100)
    found = [float(share(step)) for step in (0, 9, 10, 19, 29, 39)]
    assert found == pytest.approx([0, 0, 0.05, 0.5, 1, 1])
    config.update_from_flattened_dict({"steps": None, "epochs": 2.0, "batch_size": 10})
    share = build.entropy_share(config, num_images=100)  # of 20 steps
    assert float(share(5)) == pytest.approx(0.1)
    config.ega.enabled = False
    assert build.entropy_share(config, num_images=100) is None
    at_once = {"ega.entropy_start": 0.0, "ega.entropy_rise": 0.0}
    assert build.entropy_share(changed(at_once), num_images=100) is None


def test_settings_reach_the_methods():
    """Every field of a section is one of the method's, and its value arrives there."""
    changes = {
        "has": {"grid_sizes": (0, 7), "drop_rate": 0.4},
        "acol": {"threshold": 0.3},
        "spg": {
            "thresholds_b2": (0.8, 0.2),
            "thresholds_b1": (0.6, 0.1),
            "thresholds_c": (0.9, 0.3),
        },
        "adl": {"drop_rate": 0.1, "threshold": 0.2},
        "cutmix": {"beta": 2.0, "probability": 0.1},
        "danet": {"num_maps": 5, "alpha": 0.3},
        "ccam": {"function": "linear"},
        "nl_ccam": {"function": "linear"},
    }
    for name, values in changes.items():
        config = quickstart.get_config(name)
        section = config["ccam" if name == "nl_ccam" else name]
        assert set(section) - {"hierarchy"} == set(values)
        section.update(values)
        check(config)
        method = build.method(config)
        assert {field: getattr(method, field) for field in values} == values


IMPOSSIBLE = [
    ("batch_size", 0),
    ("batch_size", -4),
    ("steps", -1),
    ("epochs", 0.0),
    ("epochs", -1.0),
    ("epochs", math.inf),
    ("epochs", math.nan),
    ("log_every_steps", 0),
    ("accumulate", 0),
    ("profile", -1),
    ("remat", "all"),
    ("data.name", "imagenet"),
    ("data.cache", "disk"),
    ("data.val_root", "tfds/cub/1.0.0"),  # with data.name=folder
    ("data.num_classes", 1),
    ("data.train_images", 0),
    ("data.val_images", -1),
    ("data.test_images", -1),
    ("data.crop_size", 0),
    ("data.crop_size", 272),  # beyond resize_size
    ("data.crop_size", 100),  # no multiple of the stride
    ("model.name", "vgg19"),
    ("model.width", 0.0),
    ("model.width", math.nan),
    ("model.feature_stride", 32),
    ("model.head_convs", -1),
    ("model.input_scaling", "zero-mean"),
    ("model.dropout", 1.0),
    ("model.dropout", -0.1),
    ("model.dtype", "float16"),
    ("ega.epsilon", -1.0),
    ("ega.epsilon", math.nan),
    ("ega.num_steps", -1),
    ("ega.step_size", -1.0),
    ("ega.lambda_clean", -1.0),
    ("ega.lambda_adv", math.nan),
    ("ega.entropy_start", -0.1),
    ("ega.entropy_start", math.nan),
    ("ega.entropy_rise", 1.5),
    ("ega.probability", "softmax"),
    ("ega.reduction", "max"),
    ("ega.attack_bn_mode", "batch"),
    ("ega.attack_space", "signed"),
    ("ega.ce_weight", -1.0),
    ("method", "drop"),
    ("has.grid_sizes", ()),
    ("has.grid_sizes", (16, -1)),
    ("has.grid_sizes", (0.5,)),
    ("has.drop_rate", 1.5),
    ("acol.threshold", -0.1),
    ("spg.thresholds_b2", (0.1, 0.2)),  # the lower first
    ("spg.thresholds_b1", (0.5,)),
    ("spg.thresholds_c", (1.1, 0.5)),
    ("adl.drop_rate", math.nan),
    ("adl.threshold", 2.0),
    ("cutmix.beta", 0.0),
    ("cutmix.probability", -0.5),
    ("danet.num_maps", 1),  # half of three maps has no pairs
    ("danet.alpha", -0.1),
    ("ccam.function", "cubic"),
    ("reader.name", "cam"),
    ("optimizer.name", "lamb"),
    ("optimizer.learning_rate", 0.0),
    ("optimizer.learning_rate", math.nan),
    ("optimizer.head_multiplier", -1.0),
    ("optimizer.head_modules", ()),
    ("optimizer.momentum", 1.0),
    ("optimizer.weight_decay", -1e-4),
    ("optimizer.clip_norm", 0.0),
    ("optimizer.schedule", "linear"),
    ("optimizer.warmup_epochs", -1.0),
    ("optimizer.decay_factor", -0.1),
    ("checkpoint.every_steps", 0),
    ("checkpoint.keep", 0),
    ("eval.batch_size", 0),
    ("eval.every_epochs", -1.0),
    ("eval.checkpoint", "newest"),
    ("eval.map_size", 1),
    ("eval.threshold", 1.0),
    ("eval.threshold", 0.2005),  # no multiple of the interval
    ("eval.threshold_interval", 0.0),
    ("eval.threshold_interval", 0.6),
    ("eval.pictures", -1),
    ("eval.bootstrap", -1),
    ("predict.top_k", 0),
    ("predict.max_objects", 0),
    ("predict.smallest", 1.5),
    ("predict.size", 16),
    ("predict.tiles", 0),
    ("predict.scales", ()),
    ("predict.scales", (1.0, 0.0)),
    ("annotate.format", "coco,pascal"),
    ("annotate.format", ""),
    ("annotate.regions", "bitmap"),
    ("annotate.images", "move"),
    ("annotate.min_confidence", -0.1),
    ("predict.threshold", 1.0),
]


def changed(changes):
    config = base.get_config()
    config.update_from_flattened_dict(changes)
    return config


def test_masks_of_tfds_are_in_the_data_set():
    with pytest.raises(ConfigError, match=r"config.data.masks='masks': .* TFDS has the masks"):
        check(changed({"data.name": "tfds", "data.masks": "masks"}))


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("creatures", "data.root", "PICTURES"),
        ("creatures", "data.metadata", "META"),
        ("creatures", "data.masks", "MASKS"),
        ("folder", "data.train_images", 100),
        ("tfds", "data.image_size", 64),
    ],
)
def test_fields_of_other_data_are_not_ignored(name, field, value):
    with pytest.raises(ConfigError, match=rf"config\.{field}={value!r}: .*creatures"):
        check(changed({"data.name": name, field: value}))


@pytest.mark.parametrize(("field", "value"), IMPOSSIBLE)
def test_impossible_values(field, value):
    with pytest.raises(ConfigError) as error:
        check(changed({field: value}))
    # The field, the value as it stands, and what to do.
    message = str(error.value)
    assert message.startswith(f"config.{field}={value!r}: ")
    assert len(message.split(": ", 1)[1]) > 10


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"ega.entropy_start": 0.5, "ega.entropy_rise": 0.75},
            "ega.entropy_rise=0.75: must end with the training: at most 0.5",
        ),
        ({"model.name": "resnet50", "model.batch_norm": False}, "model.batch_norm=False: resnet50"),
        ({"model.name": "alexnet"}, "model.batch_norm=True: alexnet has False"),
        (
            {"model.name": "alexnet", "model.batch_norm": False, "model.feature_stride": 8},
            "model.feature_stride=8: alexnet has 16",
        ),
        (
            {"model.name": "alexnet", "model.batch_norm": False, "data.crop_size": 64},
            "data.crop_size=64: alexnet needs at least 67",
        ),
    ],
)
def test_what_a_network_does_not_have(changes, message):
    with pytest.raises(ConfigError, match=message):
        check(changed(changes))


ALEXNET = {"model.name": "alexnet", "model.batch_norm": False}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "adl", **ALEXNET}, r"config\.method='adl': .*alexnet, only for vgg16, googlen"),
        (
            {"method": "danet", "ega.enabled": False},
            r"config\.danet\.hierarchy='': danet needs .*set a CSV file",
        ),
        ({"method": "acol"}, r"config\.ega\.enabled=True: acol has several .*set it to false"),
        (
            {"method": "danet", "danet.hierarchy": "x.csv"},
            r"config\.ega\.enabled=True: danet has several class maps",
        ),
        (
            {"ega.fast": True, "ega.attack_space": "scaled"},
            r"config\.ega\.fast=True: needs ega\.attack_space=pixel",
        ),
    ],
)
def test_what_a_method_does_not_have(changes, message):
    with pytest.raises(ConfigError, match=message):
        check(changed(changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": 1},
        {"model.name": "googlenet", "data.crop_size": 225},
        {"model.name": "resnet50", "model.feature_stride": 32, "model.head_convs": 0},
        {"data.num_classes": 2},
        {"data.name": "creatures", "data.val_images": 0, "data.test_images": 0},
        {"data.crop_size": 256},
        {"data.crop_size": 232, "model.feature_stride": 8},
        {"model.dtype": "bfloat16"},
        {"ega.num_steps": 0},
        {"ega.epsilon": 0.0},
        {"optimizer.clip_norm": 1.0, "optimizer.momentum": 0.0},
        {"eval.threshold": 0.0},
        {"eval.threshold": 0.3, "eval.threshold_interval": 0.05},
        {"eval.every_epochs": 0.0, "eval.map_size": 28},
        {"ega.fast": True},
        {"ega.fast": True, "ega.num_steps": 1},
        {"ega.fast": True, "ega.num_steps": 1, "ega.epsilon": 4.0},
    ],
)
def test_corner_values(changes):
    check(changed(changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"ega.adversarial": False},
        {"ega.epsilon": 2.0},
        {"ega.num_steps": 2},
        {"ega.num_steps": 0},
        {"ega.targeted": True},
        {"ega.random_start": True},
    ],
)
def test_fast_and_what_it_excludes(changes):
    with pytest.raises(ConfigError, match=r"config\.ega\.fast=True: "):
        check(changed({"ega.fast": True, **changes}))


@pytest.mark.parametrize("field", ["batch_size", "eval.batch_size"])
@pytest.mark.parametrize(
    ("value", "num_devices", "remedy"), [(30, 4, "28 or 32"), (3, 4, "to 4"), (7, 2, "6 or 8")]
)
def test_batches_must_divide_over_the_devices(field, value, num_devices, remedy):
    config = changed({field: value})
    check(config, num_devices=1)
    with pytest.raises(ConfigError, match=rf"{field}={value}: .*{num_devices} devices.*{remedy}"):
        check(config, num_devices)


def test_less_than_a_grey_level_is_said_once(caplog):
    _warn_once.cache_clear()
    for _ in range(3):
        check(changed({"ega.epsilon": 0.5}))
    said = [record.message for record in caplog.records if "grey level" in record.message]
    assert said == ["config.ega.epsilon=0.5 is less than one grey level of 0-255."]
