"""Builds what a config names: data, network, objective, optimizer."""

import dataclasses
import functools
import math
import os
from collections.abc import Callable, Mapping, Sequence

import jax.numpy as jnp
import ml_collections
import optax

from ega_jax.config.fields import words
from ega_jax.config.training_data import check_training, leave_out, warn_of_shared
from ega_jax.data.class_names import read_class_names
from ega_jax.data.creatures.source import creatures
from ega_jax.data.files import folder
from ega_jax.data.files.headers import REFUSE, SKIP, SKIP_AGAIN
from ega_jax.data.hierarchy import read_hierarchy
from ega_jax.data.source import SPLITS, DataError, Source
from ega_jax.methods import METHODS, Method
from ega_jax.methods.danet import DANet
from ega_jax.methods.readers import READERS, Reader, check_layer
from ega_jax.models import NETWORKS, Network
from ega_jax.models.inputs import SCALINGS
from ega_jax.ops.attack import Attack, paper_num_steps
from ega_jax.runtime.errors import ConfigError
from ega_jax.training import optimizers
from ega_jax.training.objective import Entropy, Objective, Share, rising


def sources(
    config: ml_collections.ConfigDict,
    splits: Sequence[str] = SPLITS,
    class_names: Sequence[str] | None = None,
    left_out: Mapping[str, str] | None = None,
) -> dict[str, Source]:
    """Opens splits of the data, those of `val` and `test` only where they exist.

    Args:
      config: its `data` fields say which data.
      splits: the ones wanted.
      class_names: the classes of a trained model; None: those of `data.class_names`, or of the
        training split.
      left_out: the training images that the run has left out so far, by id, and why; None: it has
        not begun. Where images are to be skipped all processes have to call this together.

    Raises:
      DataError: the data cannot be used; names the file or the field.
    """
    data, opener = config.data, SOURCES[config.data.name]
    result: dict[str, Source] = {}
    of_a_model = class_names is not None
    if class_names is None:
        class_names = named_classes(config)
    for split in splits:
        on_bad = REFUSE
        if split == "train" and data.on_bad_image == SKIP:
            on_bad = SKIP if left_out is None else SKIP_AGAIN
        if on_bad == REFUSE:
            source = opener(data, split, class_names)
        else:  # of image files; `check` has seen to it
            source = _folder(data, split, class_names, on_bad)
        if source is not None:
            if on_bad != REFUSE:
                source = leave_out(source, left_out)
            if split == "train" and not of_a_model:
                check_training(source, data.num_classes)
            class_names = source.class_names
            labels = background(config, class_names)
            result[split] = dataclasses.replace(source, background=frozenset(labels))
    if data.metadata and not data.val_root:  # else names of two splits may be alike by chance
        warn_of_shared(result)
    return result


def background(config: ml_collections.ConfigDict, class_names: Sequence[str]) -> tuple[int, ...]:
    """Returns the labels of the classes without an object, `data.background_classes`.

    Raises:
      ConfigError: one of them is no class, or no class is left that has an object.
    """
    names = words(config.data.background_classes)
    if unknown := [name for name in names if name not in class_names]:
        raise ConfigError(
            f"config.data.background_classes={config.data.background_classes!r}: {unknown[0]!r} is "
            f"no class; there are {', '.join(class_names[:20])}"
        )
    if names and len(set(names)) == len(class_names):
        raise ConfigError(
            f"config.data.background_classes={config.data.background_classes!r}: no class is left "
            "that has an object"
        )
    return tuple(sorted({class_names.index(name) for name in names}))


def named_classes(config: ml_collections.ConfigDict) -> tuple[str, ...] | None:
    """Reads the classes that `data.class_names` names; None if it is empty.

    Raises:
      DataError: the file cannot be used, or has not `data.num_classes` classes.
    """
    data = config.data
    if not data.class_names:
        return None
    names = read_class_names(data.class_names)
    if data.num_classes not in (None, len(names)):
        raise DataError(
            f"{data.class_names} names {len(names)} classes, but "
            f"config.data.num_classes={data.num_classes}"
        )
    return names


def _creatures(
    data: ml_collections.ConfigDict, split: str, class_names: Sequence[str] | None
) -> Source | None:
    """Draws one split; None if it is to have no images."""
    del class_names  # its own
    if not data[f"{split}_images"]:
        return None
    return creatures(
        split,
        num_images=data[f"{split}_images"],
        image_size=data.image_size,
        seed=data.seed,
        num_classes=data.num_classes or 10,
    )


def _folder(
    data: ml_collections.ConfigDict,
    split: str,
    class_names: Sequence[str] | None,
    on_bad: str = REFUSE,
) -> Source | None:
    """Opens one split from files; None if it does not exist and is not `train`."""
    return folder.open_split(
        os.path.expanduser(data.root),
        split,
        metadata=os.path.expanduser(data.metadata),
        masks=os.path.expanduser(data.masks),
        mask_values=data.mask_values,
        class_names=class_names,
        num_classes=data.num_classes,
        check_files=data.check_files,
        on_bad=on_bad,
        apply_exif=data.apply_exif,
        background=words(data.background_classes),
    )


def _tfds(
    data: ml_collections.ConfigDict, split: str, class_names: Sequence[str] | None
) -> Source | None:
    """Opens one split through TFDS; None if it does not exist and is not `train`."""
    # Here, as nobody else needs to load TFDS.
    from ega_jax.data.tfds.download import located
    from ega_jax.data.tfds.source import open_split

    root = data.val_root if split == "val" and data.val_root else data.root
    return open_split(
        located(os.path.expanduser(root)),
        split,
        metadata=os.path.expanduser(data.metadata),
        class_names=class_names,
        num_classes=data.num_classes,
        apply_exif=data.apply_exif,
        mask_values=data.mask_values,
        background=words(data.background_classes),
    )


# By `config.data.name`: the `data` section, a split, and the classes of a trained model or of the
# splits before, or None; to the split, or None where the data set has none.
Opener = Callable[[ml_collections.ConfigDict, str, Sequence[str] | None], Source | None]
SOURCES: dict[str, Opener] = {"folder": _folder, "tfds": _tfds, "creatures": _creatures}


def method(config: ml_collections.ConfigDict) -> Method:
    """Builds the method, of the fields of its section.

    Raises:
      DataError: the hierarchy that it needs cannot be used.
    """
    name = config.method
    # What has no section of its own has no settings, but for the second way to train for CCAM.
    fields = dict(config.get({"nl_ccam": "ccam"}.get(name, name), {}) if name != "cam" else {})
    if name == "has":
        fields["fill"] = SCALINGS[config.model.input_scaling][0]
    if name == "danet":
        fields |= dataclasses.asdict(read_hierarchy(fields.pop("hierarchy")))
    return METHODS[name](**fields)


def reader(config: ml_collections.ConfigDict, model: Network) -> Reader:
    """Builds what reads maps off a trained network: the method's own way unless told otherwise.

    Raises:
      ConfigError: the network has no such module to explain.
    """
    if not config.reader.name:
        return method(config).read
    layer = config.reader.layer
    try:
        check_layer(model, layer, config.data.crop_size)
    except KeyError as error:
        raise ConfigError(f"config.reader.layer={layer!r}: {error.args[0]}") from error
    return functools.partial(READERS[config.reader.name], layer=layer)


def model(config: ml_collections.ConfigDict, num_classes: int) -> Network:
    """Builds the network, with an auxiliary batch norm if adversarial images will need it.

    Raises:
      DataError: the method's hierarchy cannot be used or is of another number of classes.
    """
    settings = config.model
    changes = method(config)
    if isinstance(changes, DANet) and len(changes.parents) != num_classes:
        raise DataError(
            f"{config.danet.hierarchy} has {len(changes.parents)} classes, the data {num_classes}; "
            "write a header and then a line for each class, in the order of the labels"
        )
    return NETWORKS[settings.name](
        num_classes=num_classes,
        width=settings.width,
        feature_stride=settings.feature_stride,
        batch_norm=settings.batch_norm,
        dual=config.ega.enabled and config.ega.adversarial,
        head_convs=settings.head_convs,
        head_batch_norm=settings.head_batch_norm,
        dropout=settings.dropout,
        input_scaling=settings.input_scaling,
        dtype=jnp.dtype(settings.dtype),
        inserts=changes.inserts(settings.name),
        ending=changes.ending(settings.name),
    )


def view_sizes(config: ml_collections.ConfigDict) -> tuple[int, ...]:
    """Returns the sides of the squares that pictures are looked at in, the whole size first.

    Multiples of `predict.size` are rounded to what the network takes.
    """
    network, stride = NETWORKS[config.model.name], config.model.feature_stride
    size = config.predict.size or config.data.crop_size
    unit = stride if network.whole_strides else 1
    least = -(-network.smallest_image // unit) * unit
    sizes = [max(round(size * scale / unit) * unit, least) for scale in config.predict.scales]
    return tuple(sorted(set(sizes), key=lambda side: abs(side - size)))


def objective(
    config: ml_collections.ConfigDict, class_names: Sequence[str] | None = None
) -> Objective:
    """Builds the objective: the method's alone, or EGA's over it.

    Args:
      config: of the run.
      class_names: in the order of the labels; needed where some have no object.

    Raises:
      ConfigError: `data.background_classes` are not among them.
    """
    ega = config.ega
    if not ega.enabled:
        return Objective(method=method(config), remat=config.remat)
    attack = attack_scaling = None
    if ega.adversarial:
        unit = 1.0
        if ega.attack_space == "scaled":
            attack_scaling, unit = SCALINGS[config.model.input_scaling], 255.0
        attack = Attack(
            epsilon=ega.epsilon * unit,
            step_size=ega.step_size * unit,
            num_steps=paper_num_steps(ega.epsilon) if ega.num_steps is None else ega.num_steps,
            random_start=ega.random_start,
            descend=ega.targeted,
        )
    return Objective(
        attack=attack,
        attack_scaling=attack_scaling,
        ce_weight=ega.ce_weight,
        entropy=Entropy(ega.lambda_clean, ega.lambda_adv, ega.probability, ega.reduction),
        attack_bn_mode=ega.attack_bn_mode,
        targeted=ega.targeted,
        fast=ega.fast,
        method=method(config),
        remat=config.remat,
        background=background(config, class_names or ()),
    )


def total_steps(config: ml_collections.ConfigDict, num_images: int) -> int:
    """Returns the number of updates of the run."""
    if config.steps is not None:
        return config.steps
    return math.ceil(config.epochs * num_images / config.batch_size)


def entropy_share(config: ml_collections.ConfigDict, num_images: int) -> Share | None:
    """Builds what lets the entropy terms set in late; None if they are there from the start."""
    ega = config.ega
    if not ega.enabled or not (ega.entropy_start or ega.entropy_rise):
        return None
    steps = total_steps(config, num_images)
    return rising(round(ega.entropy_start * steps), round(ega.entropy_rise * steps))


def schedule(config: ml_collections.ConfigDict, num_images: int) -> optimizers.Schedule:
    """Builds the learning-rate schedule; epochs become steps by the size of the training split."""
    optimizer = config.optimizer
    steps_per_epoch = num_images / config.batch_size
    common = {
        "total_steps": total_steps(config, num_images),
        "warmup_steps": round(optimizer.warmup_epochs * steps_per_epoch),
    }
    if optimizer.schedule == "step":
        return optimizers.step_decay(
            optimizer.learning_rate,
            boundaries=[round(epoch * steps_per_epoch) for epoch in optimizer.decay_epochs],
            factor=optimizer.decay_factor,
            **common,
        )
    if optimizer.schedule == "polynomial":
        return optimizers.polynomial(optimizer.learning_rate, power=0.9, **common)
    kind = {"cosine": optimizers.cosine, "constant": optimizers.constant}[optimizer.schedule]
    return kind(optimizer.learning_rate, **common)


def optimizer(
    config: ml_collections.ConfigDict, schedule: optimizers.Schedule
) -> optax.GradientTransformation:
    """Builds the optimizer."""
    settings = config.optimizer
    rule = optimizers.adam() if settings.name == "adam" else optimizers.nesterov(settings.momentum)
    return optimizers.build(
        rule,
        schedule,
        weight_decay=settings.weight_decay,
        decay_norm_and_bias=settings.decay_norm_and_bias,
        head_multiplier=settings.head_multiplier,
        head_modules=settings.head_modules,
        clip_norm=settings.clip_norm,
    )
