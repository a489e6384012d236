"""Weight files: what they hold comes out, and nothing else happens.

PyTorch is not needed: writers below make its files. Where it is installed, it reads what they
wrote, and `torch.save` writes the same.
"""

import argparse
import collections
import copyreg
import os
import pickle
import re
import struct
import tarfile
import zipfile

import h5py
import ml_dtypes  # noqa: F401  makes NumPy know "bfloat16"
import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from ega_jax.models.weights.files import WeightFileError, read, read_metadata, write_safetensors
from tests.helpers.pth_writers import (
    KINDS,
    OWN_WRITERS,
    REBUILD,
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


@pytest.fixture(params=WRITERS)
def write(request):
    return WRITERS[request.param]


@pytest.fixture(params=OWN_WRITERS)
def own_write(request):
    return OWN_WRITERS[request.param]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file"  # the suffix says nothing


# What files hold.


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


# What files must not do.


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"a": BASE, "b": x}], ids=["top", "in"])
@pytest.mark.parametrize(
    ("function", "named"),
    [
        (os.system, "system"),
        (eval, "eval"),
        (exec, "exec"),
        (getattr, "getattr"),
        (__import__, "__import__"),
        (pickle.loads, "loads"),
        (argparse.Namespace, "argparse.Namespace"),
        (fake("torch.load"), "torch.load"),
        (fake("torch.storage._load_from_bytes"), "torch.storage._load_from_bytes"),
        (fake("torch.nn.modules.linear.Linear"), "torch.nn.modules.linear.Linear"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_calls_are_refused(own_write, path, function, named, wrap):
    marker = path.with_name("marker")
    command = f"open({str(marker)!r}, 'w')" if function in (eval, exec) else f"touch {marker}"
    own_write(path, wrap(Call(function, command)))
    message = refusal(path)
    assert re.search(rf"asks for '[\w.]*\b{named}': refused", message)
    assert "save model.state_dict()" in message
    assert not marker.exists()


@pytest.mark.parametrize(
    ("pickled", "reason"),
    [
        (b"cos\nsystem\n(S'touch marker'\ntR.", "'os.system'"),
        (b"(S'touch marker'\nios\nsystem\n.", "'os.system'"),
        (b"(cos\nsystem\nS'touch marker'\no.", "'os.system'"),
        (b"\x80\x02\x82\xfaU\x0ctouch marker\x85R.", "EXT1"),
        (b"\x80\x02\x83\xfa\0U\x0ctouch marker\x85R.", "EXT2"),
        (b"\x80\x02\x84\xfa\0\0\0U\x0ctouch marker\x85R.", "EXT4"),
        (b"\x80\x04\x8c\x0bcollections\x8c\x15OrderedDict.__class__\x93.", "__class__"),
        (b"\x80\x02ctorch\nFloatStorage.__class__\n.", "__class__"),
        (b"\x80\x02c__main__\n__dict__\n.", "'__main__.__dict__'"),
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v3\n.", "_rebuild_tensor_v3"),
        (b"\x80\x02c" + b"o" * 10**6 + b"\nsystem\n.", "oooo"),
        (b"\x80\x02U\x01aQ.", ""),
        (b"Pa\n.", ""),
    ],
)
def test_other_ways_to_call_are_refused(own_write, tmp_path, monkeypatch, pickled, reason):
    monkeypatch.chdir(tmp_path)
    copyreg.add_extension("os", "system", 250)
    try:
        assert pickle.loads(b"\x80\x02\x82\xfa.") is os.system  # from now on without find_class
        own_write(tmp_path / "file", {}, pickled=pickled)
        message = refusal(tmp_path / "file")
    finally:
        copyreg.remove_extension("os", "system", 250)
    assert reason in message and len(message) < 500
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("name", ["collections\nOrderedDict", "torch._utils\n_rebuild_tensor_v2"])
@pytest.mark.parametrize("state", ["N}HERE\x86", "}HERE"], ids=["slots", "dict"])
@pytest.mark.parametrize("attribute", ["__setstate__", "__new__", "parts", "get", "items"])
def test_a_file_does_not_change_how_the_next_is_read(path, name, state, attribute):
    setitem = f"U{chr(len(attribute))}{attribute}K\x01s"
    pickled = f"\x80\x02c{name}\n{state.replace('HERE', setitem)}b."
    write_zip(path, {}, pickled=pickled.encode("latin1"))
    assert "damaged" in refusal(path)
    write_zip(path, STATE)
    assert_holds(read(path), STATE)


SIX = BASE[:6].copy()


@pytest.mark.parametrize("write", [write_zip, write_pickles])
@pytest.mark.parametrize(
    ("offset", "size", "stride", "claims"),
    [
        (6, (1,), (1,), {}),
        (0, (7,), (1,), {}),
        (0, (2, 3), (3, 2), {}),
        (2**70, (1,), (1,), {}),
        (0, (2,), (2**62,), {}),
        (-1, (2,), (1,), {}),
        (0, (-1,), (1,), {}),
        (5, (6,), (-1,), {}),
        (0, (2, 3), (3,), {}),
        (0.0, (6,), (1,), {}),
        (0, (6.0,), (1,), {}),
        (0, 6, 1, {}),
        (0, (7,), (1,), {"numel": 7}),
        (0, (1,), (1,), {"numel": 2**40}),
        (0, (1,), (1,), {"numel": 2**70}),
        (0, (0,), (1,), {"numel": -1}),
        (0, (1,), (1,), {"numel": None}),
        (0, (1,), (1,), {"key": 5}),
        (0, (1,), (1,), {"key": "5"}),
        (0, (1,), (1,), {"kind": "O"}),
        (0, (1,), (1,), {"kind": None}),
        (0, (2**40,), (0,), {}),
        (0, (2**62, 2**62), (0, 0), {}),
        (0, (1,) * 100, (1,) * 100, {}),
    ],
)
def test_tensor_outside_its_storage(path, write, offset, size, stride, claims):
    write(path, {"good": SIX, "evil": tensor(Storage(SIX, **claims), offset, size, stride)})
    refusal(path)
    write(path, {"good": SIX, "evil": tensor(Storage(SIX), 5, (1, 1), (7, 1))})
    assert read(path)["evil"] == SIX[5]


@pytest.mark.parametrize(
    "parts", [(), (None,), (SIX,), (Storage(SIX),), ("Float", 0, (1,), (1,)), (Call(REBUILD),)]
)
def test_tensor_of_other_parts(path, parts):
    write_zip(path, {"evil": Call(REBUILD, *parts)})
    if parts and parts[0] is SIX:  # like a parameter
        assert_holds(read(path), {"evil": SIX})
    else:
        assert "unknown way (tensor 'evil')" in refusal(path)


def test_tensor_of_itself(path):
    pickled = b"\x80\x02}U\x01actorch._utils\n_rebuild_tensor_v2\n)Rq\x00h\x00\x85bs."
    write_zip(path, {}, pickled=pickled)
    assert "unknown way" in refusal(path)


@pytest.mark.parametrize("write", [write_pickles, write_tar])
@pytest.mark.parametrize("count", [-1, -(2**63), 7, 2**40, 2**62])
def test_false_size_of_a_storage(path, write, count):
    write(path, {"a": SIX})
    content = path.read_bytes()
    honest = struct.pack("<q", 6) + SIX.tobytes()
    assert content.count(honest) == 1
    end = content.index(honest) + len(honest) if write is write_pickles else None
    path.write_bytes(content.replace(honest, struct.pack("<q", count) + SIX.tobytes())[:end])
    refusal(path)


def test_many_copies_of_one_storage(path):
    array = np.zeros(1000, np.float32)
    state = {str(i): array for i in range(100)}
    write_zip(path, state)
    assert "asks for" in refusal(path)
    write_zip(path, dict(list(state.items())[:2]))  # tied weights are in order
    assert len(read(path)) == 2


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x02Nr\xff\xff\xff\x7f.",
        b"Np2147483647\n.",
        b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b".",
        b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".",
        b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"N.",
        b"\x80\x02\x8b\xff\xff\xff\x7f.",
    ],
    ids=["memo", "text memo", "bytes", "bytearray", "frame", "integer"],
)
def test_pickle_that_asks_for_memory(path, pickled):
    write_zip(path, {}, pickled=pickled)
    refusal(path)


def test_compressed_member(path):
    write_zip(path, {"a": np.zeros(10**6, np.float32)}, compression=zipfile.ZIP_DEFLATED)
    assert "compresses data.pkl" in refusal(path)


def damage(file, tmp_path, how):
    other = tmp_path / "other.h5"
    write_keras(other, KERAS_NAMINGS["2"])
    group = file["block1_conv1/block1_conv1"]
    name = "kernel:0"
    if how == "model":
        del file.attrs["layer_names"]
        file["model_weights"] = h5py.ExternalLink(other, "/")
        return
    if how == "layer":
        group, name = file, "block1_conv1"
    elif how == "group":
        group, name = file["block1_conv1"], "block1_conv1"
    del group[name]
    if how == "soft link":
        group[name] = h5py.SoftLink("/fc1/fc1/kernel:0")
    elif how == "external storage":
        group.create_dataset(name, (4,), "f4", external=[(other, 0, 16)])
    elif how == "virtual":
        virtual = h5py.VirtualLayout((4, 2), "f4")
        virtual[:] = h5py.VirtualSource(other, "/fc1/fc1/kernel:0", (4, 2))
        group.create_virtual_dataset(name, virtual)
    elif how == "group for array":
        group.create_group(name)
    elif how == "text":
        group[name] = "text"
    elif how == "huge":
        group.create_dataset(name, (2**40,), "f4")
    elif how != "nothing":
        group[name] = h5py.ExternalLink(other, f"{group.name}/{name}")


@pytest.mark.parametrize(
    "how",
    ["model", "layer", "group", "array", "soft link", "external storage", "virtual"]
    + ["group for array", "text", "huge", "nothing"],
)
def test_keras_file_that_leads_elsewhere(path, how):
    write_keras(path, KERAS_NAMINGS["2"])
    with h5py.File(path, "a") as file:
        damage(file, path.parent, how)
    message = refusal(path)
    if how != "huge":
        assert "block1_conv1" in message or "model_weights" in message


def test_keras_names_that_meet(path):
    write_keras(path, lambda layer, kind: f"{layer}_{kind}/kernel:0")
    assert "two tensors named 'block1_conv1.kernel'" in refusal(path)


# Files that are damaged or something else.


def small_file(path, kind):
    if kind == "safetensors":
        write_safetensors(path, SMALL, {"key": "value"})
    elif kind == "keras":
        write_keras(path, KERAS_NAMINGS["2"])
    else:
        WRITERS[kind](path, SMALL)
    return path.read_bytes()


@pytest.mark.parametrize("kind", [*WRITERS, "safetensors", "keras"])
def test_truncated(path, kind):
    content = small_file(path, kind)
    end = len(content.rstrip(b"\0") if kind == "tar" else content)  # without a tar's padding
    for size in range(0, end, 1 + end // 1000):
        path.write_bytes(content[:size])
        refusal(path)


@pytest.mark.parametrize("kind", [*OWN_WRITERS, "safetensors"])
def test_a_flipped_bit_is_refused_or_read(path, kind):
    content = bytearray(small_file(path, kind))
    for place in range(0, len(content), 1 + len(content) // 1000):
        content[place] ^= 1 << place % 8
        path.write_bytes(content)
        try:
            read(path)
        except WeightFileError as error:
            assert str(path) in str(error)  # noqa: PT017
        content[place] ^= 1 << place % 8


def test_damaged_zip_member(path):
    content = small_file(path, "zip")
    weight = SMALL["weight"].tobytes()
    assert content.count(weight) == 1
    path.write_bytes(content.replace(weight, bytes(len(weight))))
    message = refusal(path)
    assert "damaged" in message and "CRC" in message


def save_image(path):
    Image.new("RGB", (8, 8)).save(path, "JPEG")


def save_tar(path):
    with tarfile.open(path, "w:") as archive:
        archive.add(__file__, "file.py")


def save_hdf5(path):
    with h5py.File(path, "w") as file:
        file["a"] = BASE


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.mkdir(), "directory"),
        (lambda path: path.touch(), "is empty"),
        (lambda path: path.write_text("text\n"), "is no .pth, .safetensors or .h5 file"),
        (save_image, "is no .pth, .safetensors or .h5 file"),
        (lambda path: np.savez(path.open("wb"), a=BASE), "not one of torch.save"),
        (lambda path: path.write_bytes(pickle.dumps({"a": 1})), "not one of torch.save"),
        (save_tar, "not one of torch.save"),
        (save_hdf5, "not one of Keras"),
        (lambda path: path.write_bytes(safetensors.numpy.save({})), "holds no tensors"),
        (lambda path: write_zip(path, {"epoch": 3}), "holds no tensors"),
        (lambda path: write_pickles(path, {}), "holds no tensors"),
        (lambda path: write_zip(path, [BASE]), "no state dict"),
        (lambda path: write_tar(path, BASE), "no state dict"),
    ],
)
def test_other_files(path, make, reason):
    make(path)
    assert reason in refusal(path)


@pytest.mark.parametrize("content", [b"", b"text", b"\xff" * 100, b"\x20" + bytes(7) + b"{ "])
def test_metadata_of_other_files(path, content):
    with pytest.raises(WeightFileError, match=str(path)):
        read_metadata(path)
    path.write_bytes(content)
    with pytest.raises(WeightFileError, match=str(path)):
        read_metadata(path)
