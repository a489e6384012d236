"""Files of named tensors: PyTorch's `.pth`, `.safetensors` and Keras's `.h5`, read as NumPy arrays.

What a file is, its content says, not its name. Such files come from the internet, so none is
believed: nothing in it is run, nothing outside it is read, and sizes are compared with the bytes
there are before memory is taken.
"""

import contextlib
import io
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ml_dtypes
import numpy as np
import safetensors.numpy
from etils import epath

from ega_jax.models.weights import torch_files
from ega_jax.models.weights.torch_files import Refused
from ega_jax.runtime.errors import UserError

_HEAD = 512  # bytes that tell what a file is: one block of a tar archive
_MAX_HEADER = 100_000_000  # bytes, the limit of the safetensors library
# Shared storages, expanded tensors and compressed arrays make tensors larger than their file. Those
# of real files hardly do; what a forged one asks for may fill the memory.
_MAX_GROWTH = 8
_SAFETENSORS_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
_KERAS_1_NAMES = {"W": "kernel", "b": "bias"}

_Reader = Callable[[bytes], Iterator[tuple[str, Any]]]


class WeightFileError(UserError, ValueError):
    """A weights file is missing, damaged, of an unknown format or asks for more than tensors."""


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads all tensors of a file.

    Args:
      path: local or in a bucket. The file is one of `torch.save` of any version, with a state dict
        or a checkpoint that holds one as `state_dict` or `model`; a safetensors file; or a `.h5` of
        Keras's `save_weights` or `save`.

    Returns:
      Name to array, of the file's shape, C-contiguous; floating types as float32, others as they
      are. Names of a PyTorch file without a `module.` that all begin with; those of a Keras file as
      `<layer>.kernel`, `<layer>.bias`.

    Raises:
      WeightFileError: the file cannot be read or was refused; names it and says why.
    """
    path = epath.Path(path)
    data = _bytes(path)
    with _errors_name(path):
        tensors, size = {}, 0
        for name, tensor in _reader_of(data[:_HEAD])(data):
            if name in tensors:
                raise Refused(f"holds two tensors named {name!r}")
            size += tensor.nbytes
            if size > _MAX_GROWTH * len(data):
                raise Refused(f"asks for {size} bytes of tensors and has {len(data)}: refused")
            tensors[name] = _plain(tensor)
        if not tensors:
            raise Refused("holds no tensors")
    return tensors


def read_metadata(path: str | os.PathLike) -> dict[str, str]:
    """Reads the metadata of a safetensors file; of a file of another format, which has none, {}.

    Raises:
      WeightFileError: the file cannot be read or is of no known format.
    """
    path = epath.Path(path)
    head = _bytes(path, _HEAD)
    with _errors_name(path):
        if _reader_of(head) is not _read_safetensors:
            return {}
        header = json.loads(_bytes(path, 8 + int.from_bytes(head[:8], "little"))[8:])
        return dict(header.get("__metadata__", {}))


def write_safetensors(
    path: str | os.PathLike, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> None:
    """Writes tensors aside, reads them back, and renames: a killed run leaves no half file.

    Args:
      path: local, or in a bucket; its folder is created.
      tensors: name to array.
      metadata: kept in the file's header; see `read_metadata`.

    Raises:
      WeightFileError: it cannot be written, or does not read back; `path` is left as it was.
    """
    path = epath.Path(path)
    aside = path.with_name(f".{path.name}.tmp")
    # The library takes the bytes as they lie in memory: a transposed array would come out wrong.
    tensors = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_bytes(safetensors.numpy.save(tensors, dict(metadata)))
        written = read(aside)
        if (
            written.keys() != tensors.keys()
            or not all(_same(written[name], _plain(tensors[name])) for name in tensors)
            or read_metadata(aside) != dict(metadata)
        ):
            raise WeightFileError(f"{aside} does not read back as it was written; {path} was left")
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise WeightFileError(f"cannot write {path}: {error.strerror or error}") from error


def _bytes(path: epath.Path, size: int = -1) -> bytes:
    """Reads the first bytes of a file, by default all."""
    try:
        with path.open("rb") as file:
            return file.read(size)
    except Exception as error:  # of any type where the file is in a bucket
        raise WeightFileError(
            f"cannot read {path}: {getattr(error, 'strerror', None) or error}"
        ) from error


@contextlib.contextmanager
def _errors_name(path: epath.Path) -> Iterator[None]:
    try:
        yield
    except Refused as error:
        raise WeightFileError(f"{path} {error}") from error
    except WeightFileError:
        raise
    # Readers fail in every way on a file that is truncated, damaged or forged.
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"[:300]  # may quote the file
        raise WeightFileError(f"{path} is truncated or damaged: {reason}") from error


def _reader_of(head: bytes) -> _Reader:
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _MAX_HEADER:
        return _read_safetensors
    for magic, start, reader in [
        (b"PK\x03\x04", 0, torch_files.read_zip),
        (b"\x80", 0, torch_files.read_pickles),
        (b"ustar", 257, torch_files.read_tar),
        (b"\x89HDF\r\n\x1a\n", 0, _read_keras),
    ]:
        if head.startswith(magic, start):
            return reader
    raise Refused("is no .pth, .safetensors or .h5 file" if head else "is empty")


def _plain(tensor: Any) -> np.ndarray:
    """Copies to a contiguous array, of float32 if floating (bfloat16 is of kind V)."""
    dtype = np.float32 if tensor.dtype.kind in "fV" else tensor.dtype.newbyteorder("=")
    return np.array(tensor, dtype, order="C")


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


def _read_safetensors(data: bytes) -> Iterator[tuple[str, np.ndarray]]:
    for name, entry in safetensors.deserialize(data):
        if entry["dtype"] not in _SAFETENSORS_DTYPES:
            raise Refused(f"holds {name!r} as {entry['dtype']}, which is not supported")
        elements = np.frombuffer(entry["data"], _SAFETENSORS_DTYPES[entry["dtype"]])
        yield name, elements.reshape(entry["shape"])


def _read_keras(data: bytes) -> Iterator[tuple[str, Any]]:
    """Reads what `save_weights` or `save` of Keras 1 or 2 wrote; arrays stay in the file."""
    import h5py  # only here: few need it

    def member(group: Any, path: str) -> Any:
        for name in path.split("/"):
            # Other links lead out of the file.
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise Refused(f"does not itself hold {path!r}")
            group = group[name]
        return group

    def names(group: Any, attribute: str) -> list[str]:
        return [n.decode() if isinstance(n, bytes) else n for n in group.attrs[attribute]]

    with h5py.File(io.BytesIO(data), "r") as root:
        if "model_weights" in list(root):  # `in root` would follow a link
            root = member(root, "model_weights")
        if "layer_names" not in root.attrs:
            raise Refused("is an HDF5 file, but not one of Keras's save_weights or save")
        for layer in names(root, "layer_names"):
            group = member(root, layer)
            for weight in names(group, "weight_names"):
                array = member(group, weight)
                if not isinstance(array, h5py.Dataset) or array.dtype.kind not in "fiu":
                    raise Refused(f"holds no numbers in {weight!r}")
                if array.external or array.is_virtual:
                    raise Refused(f"does not itself hold {weight!r}")
                yield f"{layer}.{_keras_name(layer, weight)}", array


def _keras_name(layer: str, weight: str) -> str:
    """Gives `kernel` for `block1_conv1_W_1:0` as for `block1_conv1/kernel:0`."""
    name = re.sub(r"(_\d+)?(:\d+)?$", "", weight.split("/")[-1]).removeprefix(f"{layer}_")
    return _KERAS_1_NAMES.get(name, name)
