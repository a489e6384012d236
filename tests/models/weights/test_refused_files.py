"""Weight files that are refused: they call, claim what is not so, or are damaged."""

import argparse
import copyreg
import os
import pickle
import re
import struct
import tarfile
import zipfile

import h5py
import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from ega_jax.models.weights.files import WeightFileError, read, read_metadata, write_safetensors
from tests.helpers.pth_writers import (
    OWN_WRITERS,
    REBUILD,
    WRITERS,
    Call,
    Storage,
    fake,
    tensor,
    write_pickles,
    write_tar,
    write_zip,
)
from tests.helpers.weight_files import (
    BASE,
    KERAS_NAMINGS,
    SMALL,
    STATE,
    assert_holds,
    refusal,
    write_keras,
)


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
    assert refusal(path)


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
        assert refusal(path)


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
