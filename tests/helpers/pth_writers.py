"""Writes PyTorch's weight files without PyTorch: zip, pickles one after another, tar.

Arrays stand for tensors, and views of one array for tensors of one storage. Where PyTorch is
installed, `WRITERS` holds its own too.
"""

import collections
import importlib.util
import io
import pickle
import struct
import sys
import tarfile
import types
import zipfile
from unittest import mock

import ml_dtypes  # noqa: F401  makes NumPy know "bfloat16"
import numpy as np

KINDS = {
    "float64": "Double",
    "float32": "Float",
    "float16": "Half",
    "bfloat16": "BFloat16",
    "int64": "Long",
    "int32": "Int",
    "int16": "Short",
    "int8": "Char",
    "uint8": "Byte",
    "bool": "Bool",
}

FAKES = {}


def fake(name):
    """Makes a class that is pickled as the global `name`."""
    module, _, attribute = name.rpartition(".")
    body = {"__module__": module, "__getstate__": lambda self: self.state}
    return FAKES.setdefault(name, type(attribute, (), body))


STORAGES = {dtype: fake(f"torch.{kind}Storage") for dtype, kind in KINDS.items()}
REBUILD = fake("torch._utils._rebuild_tensor_v2")


class Call:
    """Is pickled as the call of a function and, perhaps, a state to give its result."""

    def __init__(self, *function_and_args, state=None):
        function, *args = function_and_args
        self.reduced = (function, tuple(args), state)


def made_of(name, state):
    """An instance of the global `name` that is pickled as its state."""
    instance = fake(name)()
    instance.state = state
    return instance


class Storage:
    """A storage in a pickle; `claims` replace what is said there of it."""

    def __init__(self, array, **claims):
        self.array, self.key = array, str(id(array))
        said = {"kind": STORAGES[array.dtype.name], "key": self.key, "where": "cpu"}
        self.said = ("storage", *(said | {"numel": array.size} | claims).values())


def layout(array):
    """Returns an array's storage, and offset, size and strides in it."""
    base = array
    while isinstance(base.base, np.ndarray):
        base = base.base
    offset = (array.ctypes.data - base.ctypes.data) // base.itemsize
    return base, offset, array.shape, tuple(step // base.itemsize for step in array.strides)


def tensor(storage, offset, size, stride):
    return Call(REBUILD, storage, offset, size, stride, False, collections.OrderedDict())


class Pickler(pickle.Pickler):
    """Pickles as `torch.save` does, and keeps the storages, whose bytes go elsewhere."""

    def __init__(self, stream, fields_of_storage=5):
        super().__init__(stream, 2)
        self.fields_of_storage, self.storages = fields_of_storage, {}

    def dump(self, value):
        modules = {}
        for name, cls in FAKES.items():
            *parents, attribute = name.split(".")
            for i in range(len(parents)):
                module = modules.setdefault(".".join(parents[: i + 1]), types.ModuleType(name))
            setattr(module, attribute, cls)
        with mock.patch.dict(sys.modules, modules):
            super().dump(value)

    def persistent_id(self, value):
        if not isinstance(value, Storage):
            return None
        self.storages[value.key] = value.array
        return (*value.said, None)[: self.fields_of_storage]

    def reducer_override(self, value):
        if isinstance(value, np.ndarray):
            base, *place = layout(value)
            return tensor(Storage(base), *place).reduced
        return value.reduced if isinstance(value, Call) else NotImplemented


def write_zip(path, value, pickled=None, big=False, compression=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    pickler = Pickler(stream)
    pickler.dump(value)
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled or stream.getvalue())
        if big:
            archive.writestr("archive/byteorder", "big")
        for key, array in pickler.storages.items():
            raw = (array.byteswap() if big else array).tobytes()
            archive.writestr(f"archive/data/{key}", raw)
        archive.writestr("archive/version", "3\n")


def dump_storage(stream, array):
    stream.write(struct.pack("<q", array.size) + array.tobytes())


def write_pickles(path, value, pickled=None):
    with open(path, "wb") as stream:
        for header in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
            pickle.dump(header, stream, 2)
        pickler = Pickler(stream, fields_of_storage=6)
        if pickled:
            stream.write(pickled)
        else:
            pickler.dump(value)
        pickle.dump(list(pickler.storages), stream, 2)
        for array in pickler.storages.values():
            dump_storage(stream, array)


class TarPickler(Pickler):
    """Before February 2017 tensors had their place outside the pickle, too."""

    def __init__(self, stream):
        super().__init__(stream)
        self.tensors = {}

    def persistent_id(self, value):
        if not isinstance(value, np.ndarray):
            return None
        key = id(value) + 1  # another than of its storage
        self.tensors[key] = value
        return str(key)


def write_tar(path, value, pickled=None, view=None):
    files = {name: io.BytesIO() for name in ("sys_info", "pickle", "tensors", "storages")}

    def dump(name, value):
        Pickler(files[name]).dump(value)

    dump("sys_info", {"protocol_version": 1000})
    pickler = TarPickler(files["pickle"])
    if pickled:
        files["pickle"].write(pickled)
    else:
        pickler.dump(value)

    bases, views = {}, []
    dump("tensors", len(pickler.tensors))
    for key, array in pickler.tensors.items():
        base, offset, size, stride = layout(array)
        storage = id(base)
        bases[storage] = base
        if view:
            views.append((-storage, storage, *view))
            storage = -storage
        dump("tensors", (key, storage, fake(f"torch.{KINDS[array.dtype.name]}Tensor")))
        numbers = (array.ndim, *size, *stride, offset)
        files["tensors"].write(struct.pack(f"<{len(numbers)}q", *numbers))
    dump("storages", len(bases))
    for key, base in bases.items():
        dump("storages", (key, "cpu", STORAGES[base.dtype.name]))
        dump_storage(files["storages"], base)
    dump("storages", views)

    with tarfile.open(path, "w:") as archive:
        for name, stream in files.items():
            member = tarfile.TarInfo(name)
            member.size = stream.tell()
            stream.seek(0)
            archive.addfile(member, stream)


def to_torch(value, storages):
    """Makes PyTorch's tensors of arrays, those of one storage as those of one array."""
    import torch

    if isinstance(value, dict):
        return {name: to_torch(x, storages) for name, x in value.items()}
    if not isinstance(value, np.ndarray):
        return value
    base, offset, size, stride = layout(value)
    if id(base) not in storages:
        dtype, raw = getattr(torch, base.dtype.name), bytearray(base.tobytes())
        storages[id(base)] = torch.frombuffer(raw, dtype=dtype) if raw else torch.zeros(0).to(dtype)
    return storages[id(base)].as_strided(size, stride, offset)


def torch_save(path, value, **kwargs):
    import torch

    torch.save(to_torch(value, {}), path, **kwargs)


OWN_WRITERS = {"zip": write_zip, "pickles": write_pickles, "tar": write_tar}
WRITERS = OWN_WRITERS.copy()
if importlib.util.find_spec("torch"):
    WRITERS["torch.save"] = torch_save
    WRITERS["torch.save, old"] = lambda path, value: torch_save(
        path, value, _use_new_zipfile_serialization=False
    )
