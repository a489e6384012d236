"""Weight files in all formats, with what they hold, and how they are refused."""

import h5py
import ml_dtypes  # noqa: F401  makes NumPy know "bfloat16"
import numpy as np
import pytest

from ega_jax.models.weights.files import WeightFileError, read
from tests.helpers import tiny
from tests.helpers.pth_writers import (
    KINDS,
)

rng = np.random.default_rng(0)
BASE = rng.normal(size=24).astype(np.float32)
SMALL = {"weight": BASE[:6].reshape(2, 3).copy(), "bn.num_batches_tracked": np.array(7)}
STATE = {
    **SMALL,
    **{dtype: rng.integers(0, 2, (2, 3)).astype(np.dtype(dtype)) for dtype in KINDS},
    "empty": np.zeros((0, 3), np.float32),
    # Views into one storage.
    "shared.all": BASE,
    "shared.part": BASE[6:18].reshape(3, 4),
    "shared.transposed": BASE.reshape(2, 3, 4).transpose(2, 0, 1),
    "shared.strided": BASE[1::5],
    "shared.expanded": np.broadcast_to(BASE[:1], (5, 2)),
}
LAYERS = {
    "input_1": {},
    "block1_conv1": {"kernel": rng.normal(size=(3, 3, 3, 4)), "bias": rng.normal(size=4)},
    "block1_pool": {},
    "fc1": {"kernel": rng.normal(size=(4, 2)), "bias": rng.normal(size=2)},
}
LAYERS = {name: {k: x.astype(np.float32) for k, x in w.items()} for name, w in LAYERS.items()}
KERAS = {f"{name}.{k}": array for name, w in LAYERS.items() for k, array in w.items()}


def plain(array):
    """What `read` makes of an array's type."""
    return array.astype(np.float32) if array.dtype.kind in "fV" else array


def assert_holds(tensors, expected):
    assert tensors.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(tensors[name], plain(array), err_msg=name, strict=True)
        assert tensors[name].flags.c_contiguous and tensors[name].flags.owndata


def refusal(path):
    """Returns the message by which a file is refused, without the name that it begins with."""
    with pytest.raises(WeightFileError) as error:
        read(path)
    assert str(path) in str(error.value)
    return str(error.value).replace(str(path), "")


def write_keras(path, naming, inside=None):
    with h5py.File(path, "w") as file:
        root = file.create_group(inside) if inside else file
        root.attrs["layer_names"] = np.array(list(LAYERS), "S")
        for layer, weights in LAYERS.items():
            group = root.create_group(layer)
            names = {naming(layer, kind): array for kind, array in weights.items()}
            group.attrs["weight_names"] = np.array(list(names), "S") if names else []
            for name, array in names.items():
                group[name] = array


KERAS_NAMINGS = {
    "2016": lambda layer, kind: f"{layer}_{ {'kernel': 'W', 'bias': 'b'}[kind] }_1:0",
    "2": lambda layer, kind: f"{layer}/{kind}:0",
    "3": lambda layer, kind: f"{layer}/{kind}",
}


def variables_of(network):
    """Draws the parameters and statistics of a network, for its smallest image."""
    size = network.smallest_image
    return tiny.variables(network, shape=(1, size, size, 3))
