"""Configs as files and as promises: reading, writing, and finding impossible values at start."""

import functools
import logging
import math
from typing import Any

import ml_collections

from ega_jax.config.build import SOURCES
from ega_jax.config.fields import get_config, words
from ega_jax.data.export import FORMATS
from ega_jax.methods import METHODS
from ega_jax.methods.ccam import FUNCTIONS
from ega_jax.methods.readers import READERS
from ega_jax.models import NETWORKS
from ega_jax.models.inputs import SCALINGS
from ega_jax.ops import losses
from ega_jax.ops.remat import POLICIES
from ega_jax.runtime.errors import ConfigError
from ega_jax.training.objective import ATTACK_BN_MODES

logger = logging.getLogger(__name__)

# What `batch_size` says to be chosen by the memory of the devices.
AUTO = "auto"

_AT_LEAST = {
    "steps": 0,
    "log_every_steps": 1,
    "accumulate": 1,
    "profile": 0,
    "data.crop_size": 1,
    "data.num_classes": 2,
    "data.image_size": 32,
    "data.train_images": 1,
    "data.val_images": 0,
    "data.test_images": 0,
    "ega.num_steps": 0,
    "ega.epsilon": 0,
    "ega.step_size": 0,
    "ega.ce_weight": 0,
    "ega.lambda_clean": 0,
    "ega.lambda_adv": 0,
    "ega.entropy_start": 0,
    "ega.entropy_rise": 0,
    "model.head_convs": 0,
    "optimizer.head_multiplier": 0,
    "optimizer.weight_decay": 0,
    "optimizer.warmup_epochs": 0,
    "optimizer.decay_factor": 0,
    "checkpoint.every_steps": 1,
    "checkpoint.keep": 1,
    "eval.batch_size": 1,
    "eval.every_epochs": 0,
    "eval.map_size": 2,
    "eval.pictures": 0,
    "eval.bootstrap": 0,
    "report.images": 0,
    "annotate.review": 0,
    "predict.top_k": 1,
    "predict.max_objects": 1,
    "predict.size": 1,
    "predict.tiles": 1,
    "danet.num_maps": 2,  # half of 3 maps would be one, without a pair
    "danet.alpha": 0,
}
_POSITIVE = (
    "epochs",
    "model.width",
    "optimizer.learning_rate",
    "optimizer.clip_norm",
    "cutmix.beta",
)
_BELOW_ONE = ("model.dropout", "optimizer.momentum", "eval.threshold", "predict.threshold")
_SHARES = (
    "has.drop_rate",
    "acol.threshold",
    "adl.drop_rate",
    "adl.threshold",
    "cutmix.probability",
    "predict.smallest",
    "annotate.min_confidence",
)


def check(config: ml_collections.ConfigDict, num_devices: int = 1) -> None:
    """Looks for impossible values, each by itself and beside others.

    Raises:
      ConfigError: names the field, its value and the remedy.
    """
    _check_values(config)
    _check_data(config)
    _check_optimizer(config)
    _check_thresholds(config)
    _check_prediction(config)
    _check_network(config)
    _check_method(config)
    _check_attack(config)
    _check_entropy(config)
    _check_batches(config, num_devices)


def _choices() -> dict[str, tuple]:
    """Returns what fields can be; asked for late, as methods, networks and data can be added."""
    return {
        "method": tuple(METHODS),
        "remat": tuple(POLICIES),
        "ccam.function": FUNCTIONS,
        "reader.name": ("", *READERS),
        "data.name": tuple(SOURCES),
        "data.cache": ("none", "memory"),
        "data.mask_values": ("binary", "trimap"),
        "data.on_bad_image": ("refuse", "skip"),
        "model.name": tuple(NETWORKS),
        "model.input_scaling": tuple(SCALINGS),
        "model.dtype": ("float32", "bfloat16"),
        "ega.probability": losses.PROBABILITIES,
        "ega.reduction": losses.REDUCTIONS,
        "ega.attack_bn_mode": ATTACK_BN_MODES,
        "ega.attack_space": ("pixel", "scaled"),
        "optimizer.name": ("sgd", "adam"),
        "optimizer.schedule": ("step", "cosine", "polynomial", "constant"),
        "eval.checkpoint": ("last", "best"),
        "predict.boxes": ("largest", "all"),
        "annotate.regions": ("polygons", "rle", "none"),
        "annotate.images": ("link", "copy", "none"),
    }


def _check_values(config: ml_collections.ConfigDict) -> None:
    """Looks at each field by itself."""
    for field, low in _AT_LEAST.items():
        value = _get(config, field)
        _require(value is None or value >= low, field, value, f"must be at least {low}")
    for field in _POSITIVE:
        value = _get(config, field)
        _require(value is None or 0 < value < math.inf, field, value, "must be positive and finite")
    for field in _BELOW_ONE:
        value = _get(config, field)
        _require(value is None or 0 <= value < 1, field, value, "must lie in [0, 1)")
    for field in _SHARES:
        value = _get(config, field)
        _require(0 <= value <= 1, field, value, "must lie in [0, 1]")
    for field, choices in _choices().items():
        value = _get(config, field)
        _require(value in choices, field, value, f"must be one of {', '.join(map(str, choices))}")


def _check_data(config: ml_collections.ConfigDict) -> None:
    data, through_tfds = config.data, config.data.name == "tfds"
    for field in ("root", "metadata", "masks", "class_names"):
        _require(
            not (data[field] and data.name == "creatures"),
            f"data.{field}",
            data[field],
            "leave it: creatures are drawn; for pictures there is configs/photos.py",
        )
    drawn = get_config().data
    for field in ("image_size", "train_images", "val_images", "test_images"):
        _require(
            data.name not in ("folder", "tfds") or data[field] == drawn[field],
            f"data.{field}",
            data[field],
            "is for creatures; leave it",
        )
    _require(
        not (data.masks and through_tfds), "data.masks", data.masks, "leave it: TFDS has the masks"
    )
    _require(
        through_tfds or not data.val_root, "data.val_root", data.val_root, "needs data.name=tfds"
    )
    _require(
        data.on_bad_image == "refuse" or (data.name == "folder" and data.check_files),
        "data.on_bad_image",
        data.on_bad_image,
        "needs data.name=folder and data.check_files=true",
    )
    _require(
        data.mask_values == "binary" or data.name != "creatures",
        "data.mask_values",
        data.mask_values,
        "leave it: the masks of creatures are drawn",
    )
    _require(
        data.crop_size <= data.resize_size,
        "data.crop_size",
        data.crop_size,
        f"must not exceed data.resize_size={data.resize_size}",
    )


def _check_optimizer(config: ml_collections.ConfigDict) -> None:
    decay_epochs = config.optimizer.decay_epochs
    _require(
        all(epoch > 0 for epoch in decay_epochs),
        "optimizer.decay_epochs",
        decay_epochs,
        "must all be positive",
    )
    head_modules = config.optimizer.head_modules
    _require(
        len(head_modules) > 0,
        "optimizer.head_modules",
        head_modules,
        'must name modules, ("head",) say; for one rate set optimizer.head_multiplier=1',
    )


def _check_entropy(config: ml_collections.ConfigDict) -> None:
    start, rise = config.ega.entropy_start, config.ega.entropy_rise
    _require(
        start + rise <= 1,
        "ega.entropy_rise",
        rise,
        f"must end with the training: at most {1 - start:g} with ega.entropy_start={start:g}",
    )


def _check_thresholds(config: ml_collections.ConfigDict) -> None:
    interval, threshold = config.eval.threshold_interval, config.eval.threshold
    _require(
        0 < interval <= 0.5, "eval.threshold_interval", interval, "must lie in (0, 0.5], e.g. 0.001"
    )
    steps = threshold / interval
    _require(
        abs(steps - round(steps)) < 1e-6,
        "eval.threshold",
        threshold,
        f"must be a multiple of eval.threshold_interval={interval}",
    )


def _check_prediction(config: ml_collections.ConfigDict) -> None:
    scales = config.predict.scales
    _require(
        len(scales) > 0 and all(0 < scale <= 8 for scale in scales),
        "predict.scales",
        scales,
        "must be one multiple of the size or several, above 0 and at most 8, e.g. (0.75,1.0,1.25)",
    )
    formats = words(config.annotate.format)
    _require(
        bool(formats) and set(formats) <= set(FORMATS),
        "annotate.format",
        config.annotate.format,
        f"must be one of {', '.join(FORMATS)}, or several joined by commas",
    )


def _check_attack(config: ml_collections.ConfigDict) -> None:
    ega = config.ega
    for field in ("ega.epsilon", "ega.step_size"):
        value = _get(config, field)
        _require(
            value == 0 or value >= 0.1 or ega.attack_space == "scaled",
            field,
            value,
            "is in grey levels of 0-255, of which this is next to nothing; of 8/255 write 8",
        )
        if 0 < value < 1 and ega.attack_space == "pixel":
            _warn_once(f"config.{field}={value:g} is less than one grey level of 0-255.")
    if not ega.fast:
        return
    _require(
        ega.adversarial and (ega.num_steps == 1 or (ega.num_steps is None and ega.epsilon <= 1)),
        "ega.fast",
        True,
        "needs ega.adversarial and a single step: set ega.num_steps=1",
    )
    _require(
        not (ega.targeted or ega.random_start),
        "ega.fast",
        True,
        "takes the clean pass's gradient: set ega.targeted and ega.random_start to false",
    )
    _require(ega.attack_space == "pixel", "ega.fast", True, "needs ega.attack_space=pixel")


@functools.cache
def _warn_once(message: str) -> None:
    """Logs a warning, once in a process: a config is checked at several places."""
    logger.warning(message)


def _check_batches(config: ml_collections.ConfigDict, num_devices: int) -> None:
    batch_size = config.batch_size
    _require(
        batch_size == AUTO or (isinstance(batch_size, int) and batch_size >= 1),
        "batch_size",
        batch_size,
        f"must be at least 1, or {AUTO}",
    )
    for field, parts in (("batch_size", config.accumulate), ("eval.batch_size", 1)):
        value, unit = _get(config, field), num_devices * parts
        if value == AUTO:
            continue
        lower = value - value % unit
        choices = [str(n) for n in (lower, lower + unit) if n]
        over = f"{num_devices} devices" + (f" in accumulate={parts} parts" if parts > 1 else "")
        _require(
            value % unit == 0,
            field,
            value,
            f"does not divide over {over}; set it to {' or '.join(choices)}",
        )


def _check_network(config: ml_collections.ConfigDict) -> None:
    """Looks for what the network does not have."""
    model = config.model
    network = NETWORKS[model.name]
    for field, choices in [
        ("feature_stride", network.feature_strides),
        ("batch_norm", network.batch_norms),
    ]:
        _require(
            model[field] in choices,
            f"model.{field}",
            model[field],
            f"{model.name} has {' or '.join(map(str, choices))}",
        )
    for field in ("data.crop_size", "predict.size"):
        size = _get(config, field)
        if size is None:
            continue
        if network.whole_strides:
            _require(
                size % model.feature_stride == 0,
                field,
                size,
                f"must be a multiple of model.feature_stride={model.feature_stride}",
            )
        _require(
            size >= network.smallest_image,
            field,
            size,
            f"{model.name} needs at least {network.smallest_image}",
        )


def _check_method(config: ml_collections.ConfigDict) -> None:
    """Looks for what the method does not have."""
    for field in ("spg.thresholds_b2", "spg.thresholds_b1", "spg.thresholds_c"):
        value = _get(config, field)
        _require(
            len(value) == 2 and 0 <= value[1] <= value[0] <= 1,
            field,
            value,
            "must be two bounds in [0, 1], the higher first",
        )
    grids = config.has.grid_sizes
    _require(
        len(grids) > 0 and all(isinstance(side, int) and side >= 0 for side in grids),
        "has.grid_sizes",
        grids,
        "must be sides in whole pixels, 0 for images that stay whole",
    )
    name = config.method
    networks = METHODS[name].networks
    _require(
        networks is None or config.model.name in networks,
        "method",
        name,
        f"is not defined for model.name={config.model.name}, only for {', '.join(networks or ())}",
    )
    _require(
        METHODS[name].one_map or not config.ega.enabled,
        "ega.enabled",
        config.ega.enabled,
        f"{name} has several class maps an image, EGA wants one; set it to false",
    )
    _require(
        name != "danet" or config.danet.hierarchy,
        "danet.hierarchy",
        config.danet.hierarchy,
        "danet needs the classes' hierarchy: set a CSV file with a line class,parent,root for each "
        "class (configs/hierarchies has those of CUB and of creatures)",
    )


def _get(config: ml_collections.ConfigDict, field: str) -> Any:
    for name in field.split("."):
        if name not in config:
            raise ConfigError(
                f"config.{field} is missing: the config was written by another version; give the "
                "recipe as --config too"
            )
        config = config[name]
    return config


def _require(condition: bool, field: str, value: object, remedy: str) -> None:
    if not condition:
        raise ConfigError(f"config.{field}={value!r}: {remedy}")
