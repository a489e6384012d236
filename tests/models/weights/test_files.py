"""Weight files: what they hold comes out.

PyTorch is not needed: `tests/helpers/pth_writers.py` makes its files. Where it is installed, it
reads what these wrote, and `torch.save` writes the same.
"""

import collections
import os
import struct

import numpy as np
import pytest
import safetensors.numpy

from ega_jax.models.weights.files import WeightFileError, read, read_metadata, write_safetensors
from tests.helpers.pth_writers import (
    WRITERS,
    Call,
    Storage,
    fake,
    made_of,
    tensor,
    write_pickles,
    write_tar,
    write_zip,
)
from tests.helpers.weight_files import (
    BASE,
    KERAS,
    KERAS_NAMINGS,
    SMALL,
    STATE,
    assert_holds,
    refusal,
    write_keras,
)


def test_state_dict(write, path):
    write(path, STATE)
    assert_holds(read(path), STATE)


@pytest.mark.skipif("torch.save" not in WRITERS, reason="PyTorch is not installed")
def test_pytorch_reads_what_the_writers_above_write(own_write, path):
    import torch

    own_write(path, collections.OrderedDict(STATE))
    tensors = torch.load(path, weights_only=False)
    assert tensors.keys() == STATE.keys()
    for name, array in STATE.items():
        np.testing.assert_array_equal(
            tensors[name].float().numpy(), array.astype(np.float32), strict=True
        )


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_checkpoint(write, path, key):
    state = {f"module.{name}": array for name, array in SMALL.items()}
    others = {"epoch": 3, "arch": "vgg16", "best": np.array(0.5), 7: [None, ("a", 1.5, True)]}
    write(path, others | {key: state | {"note": "text"}, "optimizer": {"state": {0: BASE}}})
    assert_holds(read(path), SMALL)


def test_prefix_of_some_names_stays(write, path):
    state = {"module.weight": BASE, "bias": BASE[:2]}
    write(path, state)
    assert_holds(read(path), state)


def test_ordered_dict_with_attributes(own_write, path):
    """As `Module.state_dict()` returns it."""
    state = collections.OrderedDict(SMALL)
    state._metadata = collections.OrderedDict({"": {"version": 1}})
    own_write(path, state)
    assert_holds(read(path), SMALL)


@pytest.mark.parametrize("write", [write_pickles, write_tar])
def test_tensors_and_parameters_of_every_age(path, write):
    parameter = fake("torch.nn.parameter.Parameter")
    hooks = collections.OrderedDict()
    state = {
        "first": made_of("torch.nn.parameter.Parameter", (BASE, None, hooks, True, False)),
        "second": Call(parameter, BASE, state=(True, False, hooks)),
        "now": Call(fake("torch._utils._rebuild_parameter"), BASE, True, hooks),
    }
    if write is write_pickles:
        place = (Storage(BASE), 0, (24,), (1,))
        state["plain, first"] = made_of("torch.FloatTensor", place)
        state["plain, second"] = Call(fake("torch._utils._rebuild_tensor"), *place)
    write(path, state)
    assert_holds(read(path), dict.fromkeys(state, BASE))


def test_views_of_storages(path):
    """PyTorch before 0.4 wrote storages that are part of others."""
    array = BASE[3:9]
    write_tar(path, {"a": BASE[2:8]}, view=(1, 10))
    assert_holds(read(path), {"a": array})
    write_pickles(path, {"a": tensor(Storage(BASE, view=("x", 1, 10)), 2, (6,), (1,))})
    assert_holds(read(path), {"a": array})
    write_pickles(path, {"a": tensor(Storage(BASE, view=("x", 1, 7)), 2, (6,), (1,))})
    assert "element 7 of a storage of 7" in refusal(path)


def test_big_endian(path):
    write_zip(path, STATE, big=True)
    assert_holds(read(path), STATE)


@pytest.mark.parametrize("inside", [None, "model_weights"])
@pytest.mark.parametrize("naming", KERAS_NAMINGS)
def test_keras(path, naming, inside):
    write_keras(path, KERAS_NAMINGS[naming], inside)
    assert_holds(read(path), KERAS)


def test_safetensors(path):
    metadata = {"source": "vgg16.pth", "sha256": "0"}
    write_safetensors(path, STATE, metadata)
    assert_holds(read(path), STATE)
    assert read_metadata(path) == metadata
    write_safetensors(str(path), SMALL, {})  # over the old one
    assert_holds(read(str(path)), SMALL)
    assert read_metadata(str(path)) == {}
    assert os.listdir(path.parent) == ["file"]
    written = safetensors.numpy.load_file(path)
    assert written.keys() == SMALL.keys()


def test_safetensors_of_an_unsupported_type(path):
    header = b'{"a":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}'
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"0")
    assert "holds 'a' as F8_E4M3" in refusal(path)


def test_safetensors_that_cannot_be_written(tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    with pytest.raises(WeightFileError, match=f"cannot write {folder}"):
        write_safetensors(folder, {"a": np.ones(2, np.float32)}, {})
    assert list(tmp_path.rglob("*")) == [folder]


def test_safetensors_are_checked_before_they_replace(path, monkeypatch):
    write_safetensors(path, SMALL, {})
    save = safetensors.numpy.save
    monkeypatch.setattr(safetensors.numpy, "save", lambda t, m: save(t | {"weight": BASE}, m))
    with pytest.raises(WeightFileError, match=f"{path.name} was left"):
        write_safetensors(path, {"weight": SMALL["weight"]}, {})
    assert_holds(read(path), SMALL)


def test_other_formats_have_no_metadata(own_write, path):
    own_write(path, SMALL)
    assert read_metadata(path) == {}
    write_keras(path, KERAS_NAMINGS["2"])
    assert read_metadata(path) == {}
