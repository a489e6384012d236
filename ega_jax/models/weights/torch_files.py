"""Reads files of `torch.save` without PyTorch, and without running what their pickles ask for.

Three containers, by age: a tar (until early 2017; torchvision's first AlexNet and ResNets are such
files), pickles one after another (before 1.6), a zip. In each a pickle describes tensors as views
into storages, whose bytes lie beside it. Here the pickle may build descriptions of tensors and
nothing else, and a description is followed only after it was checked against the bytes there are.
"""

import functools
import io
import pickle
import pickletools
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_DTYPES = {
    "Double": np.float64,
    "Float": np.float32,
    "Half": np.float16,
    "BFloat16": ml_dtypes.bfloat16,
    "Long": np.int64,
    "Int": np.int32,
    "Short": np.int16,
    "Char": np.int8,
    "Byte": np.uint8,
    "Bool": np.bool_,
}


class Refused(ValueError):
    """What is wrong with a file's content, as the rest of a sentence that its name begins."""


class _Storage(NamedTuple):
    """A stretch of a storage, in elements."""

    kind: str  # key of _DTYPES
    key: Any
    start: int
    numel: int


# The classes that a pickle gets hold of define __setstate__: without it BUILD would set attributes,
# of the instances and of these very classes. Called on a class it lacks an argument, and fails.
class _Dict(dict):
    """An `OrderedDict`; the attributes of one (a state dict's `_metadata`) are dropped."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        pass


class _Tensor:
    """What a tensor or parameter is to be made of; nothing of it is checked yet.

    `parts` begins with a storage, offset, size and stride, or with the `_Tensor` of a parameter.
    The oldest files hold empty ones, which get their parts as a state.
    """

    __slots__ = ("parts",)
    parts: tuple[Any, ...]

    def __new__(cls, *parts: Any) -> "_Tensor":
        self = super().__new__(cls)
        self.parts = parts
        return self

    def __setstate__(self, state: Any) -> None:
        self.parts = self.parts or state


_GLOBALS = {
    "collections.OrderedDict": _Dict,
    "torch._utils._rebuild_tensor": _Tensor,
    "torch._utils._rebuild_tensor_v2": _Tensor,
    "torch._utils._rebuild_parameter": _Tensor,
    "torch.nn.parameter.Parameter": _Tensor,
    **{f"torch.{kind}Tensor": _Tensor for kind in _DTYPES},
    **{f"torch.{kind}Storage": kind for kind in _DTYPES},
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: BinaryIO, resolve: Callable[[Any], Any]):
        super().__init__(stream, encoding="utf-8")  # of strings that Python 2 wrote
        self._resolve = resolve

    def find_class(self, module: str, name: str) -> Any:
        if (asked := f"{module}.{name}") in _GLOBALS:
            return _GLOBALS[asked]
        raise Refused(
            f"asks for {asked[:100]!a}: refused; a weights file may hold tensors only "
            "(save model.state_dict(), not the model)"
        )

    def persistent_load(self, saved_id: Any) -> Any:
        return self._resolve(saved_id)


def read_zip(data: bytes) -> Iterator[tuple[str, np.ndarray]]:
    """Reads a file of PyTorch 1.6 or later, which is a zip archive.

    Args:
      data: content of the file.

    Yields:
      Name and value of every tensor of a state dict, or of one below `state_dict` or `model`, in
      its order. A `module.` with which all names begin is dropped. Values are read-only views.

    Raises:
      Refused: the file asks for other things than tensors, or reaches beyond what it holds.
      Exception: of any type: it is truncated or damaged.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if not pickles:
            raise Refused("is a zip archive, but not one of torch.save")
        prefix = pickles[0].removesuffix("data.pkl")

        @functools.lru_cache(maxsize=1)  # neighbours share storages; all at once may be too much
        def load(key: str) -> bytes:
            if archive.getinfo(prefix + key).compress_type != zipfile.ZIP_STORED:
                raise Refused(f"compresses {key}, which torch.save never does: refused")
            return archive.read(prefix + key)

        value = _unpickle(io.BytesIO(load("data.pkl")), _storage)
        order = load("byteorder") if prefix + "byteorder" in archive.namelist() else b"little"
        if order not in (b"little", b"big"):
            raise Refused(f"has an unknown byte order: {order[:20]!r}")
        yield from _tensors(value, lambda key: load(f"data/{key}"), swap=order == b"big")


def read_pickles(data: bytes) -> Iterator[tuple[str, np.ndarray]]:
    """Reads a file of PyTorch before 1.6, a row of pickles and storages; see `read_zip`."""
    kinds: dict[str, Any] = {}

    def resolve(saved_id: Any) -> _Storage:
        storage = _storage(saved_id)
        kinds.setdefault(storage.key, storage.kind)
        return storage

    stream = io.BytesIO(data)
    if _unpickle(stream) != _MAGIC_NUMBER:
        raise Refused("is a pickle, but not one of torch.save")
    _unpickle(stream)  # protocol version, always 1001
    _unpickle(stream)  # the writer's type sizes and byte order; storages are little endian anyway
    value = _unpickle(stream, resolve)
    buffers = {key: _read_storage(data, stream, kinds[key]) for key in _unpickle(stream)}
    yield from _tensors(value, buffers.__getitem__)


def read_tar(data: bytes) -> Iterator[tuple[str, np.ndarray]]:
    """Reads a file of PyTorch 0.1 before February 2017, a tar archive; see `read_zip`."""
    stream = io.BytesIO(data)
    with tarfile.open(fileobj=stream, mode="r:") as archive:
        starts = {member.name: member.offset_data for member in archive if member.isreg()}
    if not starts.keys() >= {"storages", "tensors", "pickle"}:
        raise Refused("is a tar archive, but not one of torch.save")

    storages, buffers, tensors = {}, {}, {}
    stream.seek(starts["storages"])
    for _ in range(_unpickle(stream)):
        key, _, kind = _unpickle(stream)
        buffers[key] = _read_storage(data, stream, kind)
        numel = len(buffers[key]) // np.dtype(_DTYPES[kind]).itemsize
        storages[key] = _Storage(kind, key, 0, numel)
    for key, root, start, numel in _unpickle(stream):
        storages[key] = _Storage(storages[root].kind, root, start, numel)

    stream.seek(starts["tensors"])
    for _ in range(_unpickle(stream)):
        key, storage, _ = _unpickle(stream)
        (ndim,) = struct.unpack("<i4x", stream.read(8))
        layout = struct.unpack(f"<{2 * ndim + 1}q", stream.read(8 * (2 * ndim + 1)))
        tensors[key] = _Tensor(storages[storage], layout[-1], layout[:ndim], layout[ndim:-1])

    stream.seek(starts["pickle"])
    value = _unpickle(stream, lambda saved_id: tensors[int(saved_id)])
    yield from _tensors(value, buffers.__getitem__)


def _no_storage(saved_id: Any) -> _Storage:
    raise Refused("refers to a storage where there can be none")


def _storage(saved_id: Any) -> _Storage:
    match saved_id:
        case ("storage", str(kind), str(key), _, numel, *view):
            start, numel = view[0][1:] if any(view) else (0, numel)
            return _Storage(kind, key, start, numel)
    raise Refused("refers to something other than a storage")


def _unpickle(stream: BinaryIO, resolve: Callable[[Any], Any] = _no_storage) -> Any:
    """Reads one pickle, and leaves the stream behind it.

    It is read twice: the unpickler allocates what lengths and memo indices ask for, so these are
    compared with the bytes there are first.
    """
    start = stream.tell()
    for opcode, argument, position in pickletools.genops(stream):
        if opcode.name.startswith("EXT"):  # may get round find_class
            raise Refused(f"asks for an extension type ({opcode.name}): refused")
        if opcode.name in ("PUT", "LONG_BINPUT") and argument > position:
            raise Refused("is damaged: its pickle numbers more objects than it holds")
    stream.seek(start)
    return _Unpickler(stream, resolve).load()


def _read_storage(data: bytes, stream: BinaryIO, kind: str) -> memoryview:
    """Reads a number of elements and as many elements."""
    numel = int.from_bytes(stream.read(8), "little", signed=True)
    size, start = numel * np.dtype(_DTYPES[kind]).itemsize, stream.tell()
    if not 0 <= size <= len(data) - start:
        raise Refused(f"is truncated: a storage takes {size} bytes, {len(data) - start} are left")
    stream.seek(size, io.SEEK_CUR)
    return memoryview(data)[start : start + size]


def _tensors(
    value: Any, load: Callable[[Any], bytes | memoryview], swap: bool = False
) -> Iterator[tuple[str, np.ndarray]]:
    """Names the tensors of a state dict, or of a checkpoint with one in it; drops all else."""
    for key in ("state_dict", "model"):
        if isinstance(value, dict) and isinstance(value.get(key), dict):
            value = value[key]
            break
    if not isinstance(value, dict):
        raise Refused("holds no state dict; save model.state_dict()")
    tensors = {
        name: tensor
        for name, tensor in value.items()
        if isinstance(name, str) and isinstance(tensor, _Tensor)
    }
    parallel = all(name.startswith("module.") for name in tensors)  # torch.nn.DataParallel
    for name, tensor in tensors.items():
        try:
            view = _view(tensor, load, swap)
        except Refused as error:
            raise Refused(f"{error} (tensor {name[:100]!a})") from error
        yield name.removeprefix("module.") if parallel else name, view


def _view(tensor: _Tensor, load: Callable[[Any], bytes | memoryview], swap: bool) -> np.ndarray:
    parts = tensor.parts
    if parts and isinstance(parts[0], _Tensor):
        parts = parts[0].parts
    match parts:
        case (_Storage() as storage, offset, tuple(size), tuple(stride), *_):
            numbers = (storage.start, storage.numel, offset, *size, *stride)
        case _:
            raise Refused("describes a tensor in an unknown way")
    if len(size) != len(stride) or not all(isinstance(n, int) and n >= 0 for n in numbers):
        raise Refused("describes an impossible tensor")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if 0 not in size and last >= storage.numel:
        raise Refused(f"reads element {last} of a storage of {storage.numel}")
    elements = np.frombuffer(load(storage.key), _DTYPES[storage.kind])
    if storage.start + storage.numel > len(elements):
        raise Refused(f"is truncated: a storage of {storage.numel} elements has {len(elements)}")
    if swap:
        elements = elements.byteswap()
    return np.lib.stride_tricks.as_strided(
        elements[storage.start + offset :],
        size,
        [step * elements.itemsize for step in stride],
        writeable=False,
    )
