"""The field's protocol: what all recipes for CUB, ILSVRC and OpenImages have in common.

Paper (section 4.1): images to 256, random crops of 224, backbones fine-tuned from ImageNet weights
(`model.pretrained`), two 3x3 convolutions of 1024 and one 1x1 in the head, ten crops for the
classes on CUB and ILSVRC. Here, for what it leaves open: batches of 32, epochs, decay and weight
decay of the reference evaluation code (Choe et al., CVPR 2020), whose rate falls one epoch before
every multiple of its period; learning rate 0.001, ten times that in the head, as in the example of
the authors' code (which has batches of 1); batch norm in the head where the trunk has it; maps of
28x28 for Inception v3 and ResNet-50, and ResNet's layer4 at the rate of the head, as in the
reference; dropout in the heads of Inception v3 (SPG) and AlexNet (its release).

Rows of `configs/rows.py` other than EGA's are systems by themselves. For the three backbones of the
evaluation code they have its networks, single crops and, where they are known, the settings that
its authors found (`configs/tuned.py`); DANet and NL-CCAM those of their own authors. Besides:

* `reference` is the CAM baseline of that evaluation code. (`cam` is the baseline of the ablation:
  the network and schedule of EGA.)
* `released_code` is what EGA's published code does, for its two backbones: VGG16 without batch
  norm, so without an auxiliary one; an attack on scaled images, of one standard deviation, with a
  random start and a step of 0.01, cut to [0, 1] there; half the weight on each cross entropy; no
  gradient of the entropy. There batches are of 1 in the only example.
"""

import pathlib

import ml_collections

from configs import base, rows, tuned

DATA = {  # classes, epochs, period of the decay, ten crops
    "cub": (200, 50, 15, True),
    "ilsvrc": (1000, 10, 3, True),
    "openimages": (100, 10, 3, False),
}
MODELS = {
    "vgg": {"name": "vgg16"},
    "googlenet": {"name": "googlenet", "input_scaling": "signed"},
    "inception_v3": {"name": "inception_v3", "feature_stride": 8, "dropout": 0.5},
    "resnet50": {"name": "resnet50", "feature_stride": 8},
    "alexnet": {"name": "alexnet", "batch_norm": False, "head_convs": 0, "dropout": 0.5},
}
REFERENCE_MODELS = {
    "vgg": {"batch_norm": False, "head_convs": 1},
    "inception_v3": {"head_batch_norm": False},
    "resnet50": {"head_convs": 0},
}
RELEASED = ("vgg", "inception_v3")  # backbones of EGA's published code
# Systems whose heads are their own there, of two 3x3 convolutions.
_DEEP_HEADS = {
    "acol": tuple(REFERENCE_MODELS),
    "danet": tuple(REFERENCE_MODELS),
    "spg": ("vgg", "inception_v3"),
}
HIERARCHIES = {"cub": pathlib.Path(__file__).parent / "hierarchies" / "cub.csv"}


def recipe(data: str, model: str, row: str) -> ml_collections.ConfigDict:
    """Returns a recipe.

    Args:
      data: a key of `DATA`.
      model: a key of `MODELS`.
      row: one of `rows.ROWS`, `reference` or `released_code`.

    Raises:
      ValueError: there is no such row.
    """
    config = base.get_config()
    config.data.num_classes, epochs, period, config.eval.ten_crop = DATA[data]
    config.data.apply_exif = False  # sizes, boxes and masks are for the pixels as stored
    config.epochs = float(epochs)
    config.optimizer.decay_epochs = tuple(float(e - 1) for e in range(period, epochs + 1, period))
    config.model.update(MODELS[model])
    if model == "resnet50":
        config.optimizer.weight_decay = 1e-4
        config.optimizer.head_modules = ("layer4", "head")
    if model == "alexnet":
        config.data.crop_size = 227
        config.eval.map_size = 224
    if data in HIERARCHIES:
        config.danet.hierarchy = str(HIERARCHIES[data])
    more = ("reference",) * (model in REFERENCE_MODELS) + ("released_code",) * (model in RELEASED)
    if row == "released_code" and row in more:
        _as_released(config, model)
        return config
    of_reference = row == "reference" and row in more
    rows.choose(config, "cam" if of_reference else row, f"configs/{data}_{model}.py", more)
    if config.ega.enabled or row == "cam":
        return config
    if model in REFERENCE_MODELS:
        config.eval.ten_crop = False
        config.model.update(REFERENCE_MODELS[model])
        if model in _DEEP_HEADS.get(row, ()):
            config.model.head_convs = 2
        if row in ("acol", "adl"):
            config.model.dropout = 0.0  # they have none there
        rate, config.model.feature_stride = tuned.CAM[data, model]
        config.optimizer.learning_rate = rate
        config.update_from_flattened_dict(tuned.METHODS.get((data, model, row), {}))
    if row in _AUTHORS:
        _AUTHORS[row](config)
    return config


def _as_released(config: ml_collections.ConfigDict, model: str) -> None:
    """Sets what EGA's published code does; see above."""
    config.model.update(REFERENCE_MODELS[model])
    config.ega.attack_space = "scaled"
    config.ega.epsilon, config.ega.num_steps, config.ega.step_size = 1.0, 1, 0.01
    config.ega.random_start = True
    config.ega.attack_bn_mode = "train"
    config.ega.ce_weight = 0.5
    config.ega.lambda_clean = config.ega.lambda_adv = 0.0


def _danet(config: ml_collections.ConfigDict) -> None:
    """Sets the schedule of DANet's authors, and four maps of a label on Inception v3."""
    config.optimizer.learning_rate = 0.001
    config.batch_size = 30
    config.epochs, config.optimizer.decay_epochs = 100.0, (80.0,)
    if config.model.name == "inception_v3":
        config.danet.num_maps = 4


def _nl_ccam(config: ml_collections.ConfigDict) -> None:
    """Sets the schedule of NL-CCAM's authors, and their classifier without convolutions."""
    config.optimizer.update({"name": "adam", "learning_rate": 5e-5, "weight_decay": 0.0})
    config.optimizer.schedule = "polynomial"
    config.batch_size, config.epochs = 16, 100.0
    config.model.head_convs = 0


_AUTHORS = {"danet": _danet, "nl_ccam": _nl_ccam}
