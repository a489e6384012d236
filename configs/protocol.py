"""The field's protocol: what all recipes for CUB, ILSVRC and OpenImages have in common.

Paper (section 4.1): images to 256, random crops of 224, backbones fine-tuned from ImageNet weights
(`model.pretrained`), two 3x3 convolutions of 1024 and one 1x1 in the head, ten crops for the
classes on CUB and ILSVRC. Here, for what it leaves open: batches of 32, epochs, decay and weight
decay of the reference evaluation code (Choe et al., CVPR 2020), whose rate falls one epoch before
every multiple of its period; learning rate 0.001, ten times that in the head, as in the example of
the authors' code (which has batches of 1); batch norm in the head where the trunk has it; maps of
28x28 for Inception v3 and ResNet-50, and ResNet's layer4 at the rate of the head, as in the
reference; dropout in the heads of Inception v3 (SPG) and AlexNet (its release).

Row `reference` is the CAM baseline of that evaluation code, for the three backbones that it has:
its networks, heads, single crops, and the learning rates that its authors found by search.
"""

import ml_collections

from configs import base, rows

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
# Learning rate and stride of the map. All second-hand, as the authors' own list is not public: CUB
# and ILSVRC's ResNet-50 from two sources that agree, the rest from one.
REFERENCE_RATES = {
    ("cub", "vgg"): (1.268269e-5, 16),
    ("cub", "inception_v3"): (2.24844746e-3, 8),
    ("cub", "resnet50"): (2.3222617e-4, 8),
    ("ilsvrc", "vgg"): (1.654502e-5, 16),
    ("ilsvrc", "inception_v3"): (3.606503e-4, 8),
    ("ilsvrc", "resnet50"): (3.108411e-5, 8),
    ("openimages", "vgg"): (3.4052401e-4, 16),
    ("openimages", "inception_v3"): (3e-4, 8),
    ("openimages", "resnet50"): (1.07117324e-3, 16),
}


def recipe(data: str, model: str, row: str) -> ml_collections.ConfigDict:
    """Returns a recipe.

    Args:
      data: a key of `DATA`.
      model: a key of `MODELS`.
      row: one of `rows.ROWS`, or `reference`.

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
    if row != "reference":
        more = ("reference",) if model in REFERENCE_MODELS else ()
        rows.choose(config, row, f"configs/{data}_{model}.py", more)
        return config
    if model not in REFERENCE_MODELS:
        raise ValueError(
            f"configs/{data}_{model}.py has no row 'reference': the reference has "
            f"{', '.join(REFERENCE_MODELS)}"
        )
    rows.choose(config, "cam", f"configs/{data}_{model}.py")
    config.model.update(REFERENCE_MODELS[model])
    config.eval.ten_crop = False
    config.optimizer.learning_rate, config.model.feature_stride = REFERENCE_RATES[data, model]
    return config
