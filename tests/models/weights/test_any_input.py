"""Whatever lies in a weight file: tensors come out, or one error names it."""

import h5py
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given

from ega_jax.models.weights.files import WeightFileError, read, read_metadata
from tests.helpers.inputs import any_bytes, many
from tests.helpers.pth_writers import OWN_WRITERS

pytestmark = pytest.mark.filterwarnings("ignore")

TENSORS = {
    "conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "conv.bias": np.arange(2, dtype=np.float16),
    "bn.num_batches_tracked": np.array(7),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="module")
def originals(folder):
    """Small good files of all kinds."""
    files = []
    for number, write in enumerate(OWN_WRITERS.values()):
        path = folder / f"{number}.pth"
        write(path, {"state_dict": TENSORS})
        files.append(path.read_bytes())
    files.append(safetensors.numpy.save(TENSORS, {"input_scaling": "imagenet"}))
    with h5py.File(folder / "a.h5", "w") as file:
        file.attrs["layer_names"] = [b"fc1"]
        group = file.create_group("fc1")
        group.attrs["weight_names"] = [b"fc1/kernel:0"]
        group["fc1/kernel:0"] = np.eye(3, dtype=np.float32)
    files.append((folder / "a.h5").read_bytes())
    for content in files:
        (folder / "good").write_bytes(content)
        assert read(folder / "good")
    return files


def test_weight_file_of_any_input(folder, originals):
    path = folder / "weights"

    @many
    @given(content=any_bytes(originals))
    def check(content):
        path.write_bytes(content)
        for function in (read, read_metadata):
            try:
                result = function(path)
            except WeightFileError as error:
                assert str(path) in str(error)
                continue
            assert isinstance(result, dict)

    check()
