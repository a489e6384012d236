"""Settings that the authors of the field's evaluation code found by search, by data and network.

Choe et al., CVPR 2020: 30 random trials each, on their networks (`protocol.REFERENCE_MODELS`). All
are second-hand, as their own list is not public: those for CUB, and CAM on ILSVRC with ResNet-50,
from two sources that agree; the rest from one. The stride of the maps is known for CAM alone and
taken for the other methods too. Where nothing is known of a method, its defaults (`base.py`) and
the learning rate of CAM stand in.
"""

CAM = {  # (data, network): learning rate, stride of the maps
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


def _has(rate: float, grid: int, drop_rate: float) -> dict:
    return {
        "optimizer.learning_rate": rate,
        "has.grid_sizes": (grid,),
        "has.drop_rate": drop_rate,
    }


def _acol(rate: float, threshold: float) -> dict:
    return {"optimizer.learning_rate": rate, "acol.threshold": threshold}


def _spg(rate: float, b2: tuple, b1: tuple, c: tuple) -> dict:
    return {
        "optimizer.learning_rate": rate,
        "spg.thresholds_b2": b2,
        "spg.thresholds_b1": b1,
        "spg.thresholds_c": c,
    }


def _adl(rate: float, threshold: float, drop_rate: float) -> dict:
    return {
        "optimizer.learning_rate": rate,
        "adl.threshold": threshold,
        "adl.drop_rate": drop_rate,
    }


def _cutmix(rate: float, beta: float, probability: float) -> dict:
    return {
        "optimizer.learning_rate": rate,
        "cutmix.beta": beta,
        "cutmix.probability": probability,
    }


METHODS = {  # (data, network, method): fields of the config
    ("cub", "vgg", "has"): _has(3.42891848e-3, 65, 0.47),
    ("cub", "inception_v3", "has"): _has(1.400558066e-2, 170, 0.26),
    ("cub", "resnet50", "has"): _has(3.61996526e-3, 120, 0.66),
    ("cub", "vgg", "acol"): _acol(1.0569582e-4, 0.89),
    ("cub", "inception_v3", "acol"): _acol(6.58832165e-3, 0.79),
    ("cub", "resnet50", "acol"): _acol(1.700073e-5, 0.57),
    ("cub", "vgg", "spg"): _spg(1.2558923e-4, (0.29, 0.23), (0.03, 0.02), (0.82, 0.59)),
    ("cub", "inception_v3", "spg"): _spg(3.360682e-4, (0.28, 0.02), (0.17, 0.03), (0.47, 0.31)),
    ("cub", "resnet50", "spg"): _spg(4.521947e-5, (0.41, 0.35), (0.24, 0.21), (0.12, 0.08)),
    ("cub", "vgg", "adl"): _adl(2.430601e-5, 0.72, 0.33),
    ("cub", "inception_v3", "adl"): _adl(3.8655054e-4, 0.86, 0.69),
    ("cub", "resnet50", "adl"): _adl(1.253438325e-2, 0.76, 0.24),
    ("cub", "vgg", "cutmix"): _cutmix(3.220934e-5, 0.85, 0.79),
    ("cub", "inception_v3", "cutmix"): _cutmix(2.25171726e-3, 0.04, 0.30),
    ("cub", "resnet50", "cutmix"): _cutmix(3.333722e-4, 1.35, 0.24),
}
