"""Starts a network from published weights or those of a run, and converts weight files.

    python -m ega_jax.models.weights --model=vgg16_bn vgg16_bn-6c64b313.pth vgg16_bn.safetensors

A file holds torchvision's names and layouts; Keras's VGG16 is brought into them. The trunk is read;
what lies behind the cut is left, and a head that the file does not have stays as it was drawn. The
CAM models of the field's evaluation code have heads that fit ours: VGG16's with `head_convs=1`,
Inception v3's with 2 and `head_batch_norm=False`, ResNet-50's with 0. What PyTorch and Keras do
differently:

* convolutions are `[out, in, h, w]` in PyTorch and `[h, w, in, out]` here, and in Keras;
* momentum 0.1 of a batch norm is 0.9 here; epsilon is each network's own;
* PyTorch's running variance is unbiased, ours biased. As read it gives the same features; training
  on moves it towards a value smaller by a factor of 1 - 1 / (pixels in the batch);
* Keras's VGG16 takes BGR: its first kernel is turned round, so that images stay RGB.
"""

import hashlib
import logging
import os
import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from etils import epath
from flax import traverse_util

from ega_jax.models import NETWORKS
from ega_jax.models.network import Network
from ega_jax.models.norm import AUX, MAIN
from ega_jax.models.weights.fetch import AUTO, official_file
from ega_jax.models.weights.files import WeightFileError, read, read_metadata, write_safetensors
from ega_jax.models.weights.keras import from_keras
from ega_jax.models.weights.official import MODELS, published_as
from ega_jax.models.weights.runs import read_run

logger = logging.getLogger(__name__)

_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
_LISTED = 6  # names in a message; the rest is counted

Place = tuple[str, ...]  # of an array among a network's variables, collection first


def locate(pretrained: str, network: str, *, batch_norm: bool, width: float) -> epath.Path:
    """Returns the file or folder that a config's `model.pretrained` names.

    Args:
      pretrained: a path, or `auto` for the official file, which is fetched if it is not here yet.
      network: a key of `NETWORKS`.
      batch_norm: with batch norm in the trunk.
      width: factor on the published numbers of channels.

    Raises:
      WeightFileError: there is nothing, or the official file cannot be had.
    """
    if pretrained == AUTO:
        return epath.Path(official_file(published_as(network, batch_norm, width)))
    path = epath.Path(pretrained).expanduser()
    if not path.exists():
        raise WeightFileError(
            f"config.model.pretrained={pretrained!r}: there is no such file or workdir; "
            f"{AUTO} stands for the official file"
        )
    return path


def load(path: str | os.PathLike, network: Network, variables: Mapping) -> dict:
    """Replaces drawn parameters and statistics by those of a file or of a run.

    Args:
      path: `.pth`, `.safetensors` or `.h5`, local or in a bucket, see `files.read`; or a folder,
        see `runs.read_run`.
      network: the network they are for.
      variables: its collections: `params`, `batch_stats`, `batch_stats_aux`.

    Returns:
      The same tree with NumPy arrays in the place of what was read. The auxiliary batch norm is a
      copy of the main one.

    Raises:
      WeightFileError: the file is damaged, wants its images scaled otherwise, or does not fit the
        network: lists what is missing, unknown, of another shape or not finite.
      CheckpointError: the run has no checkpoint, or a damaged one.
    """
    flat = traverse_util.flatten_dict(dict(variables))
    if epath.Path(path).is_dir():
        read_places = read_run(path, network, flat)
    else:
        read_places = _read_file(path, network, flat)
    drawn = {"/".join(place[1:-1]) for place in flat if "aux" not in place} - {
        "/".join(place[1:-1]) for place in read_places
    }
    copied = 0
    for place in flat:
        if place in read_places:
            flat[place] = read_places[place]
        elif "aux" in place:
            collection = MAIN if place[0] == AUX else place[0]
            main = tuple("main" if part == "aux" else part for part in place[1:])
            flat[place] = np.array(read_places.get((collection, *main), flat[collection, *main]))
            copied += 1
    logger.info(
        "Read %d tensors of %s; drawn at random: %s.%s",
        len(read_places),
        path,
        ", ".join(sorted(drawn)) or "nothing",
        " The auxiliary batch norm is a copy of the main one." if copied else "",
    )
    return traverse_util.unflatten_dict(flat)


def _read_file(
    path: str | os.PathLike, network: Network, places: Mapping[Place, Any]
) -> dict[Place, np.ndarray]:
    """Reads what a file has of a network's arrays, in our layouts."""
    tensors, scalings = _read(path, network)
    if network.input_scaling not in scalings:
        raise WeightFileError(
            f"{path} is for images scaled as {' or '.join(map(repr, scalings))}, not "
            f"{network.input_scaling!r}; set --config.model.input_scaling={scalings[0]}, or, if "
            "these weights were trained otherwise, save them as .safetensors with the metadata "
            "input_scaling"
        )
    tensors = _fitting(path, network, tensors)
    names = {place: _name(network, place) for place in places}
    return {place: _to_flax(tensors[name]) for place, name in names.items() if name in tensors}


def convert(model: str, source: str | os.PathLike, target: str | os.PathLike) -> None:
    """Writes what a network takes from a weight file, checked, as `.safetensors`.

    Args:
      model: a key of `MODELS`.
      source: any file that `load` takes, or `auto` for the official one. If its name ends as
        torchvision's do, in the first eight digits of its SHA-256, they are compared.
      target: the file to write, with torchvision's names and layouts.

    Raises:
      WeightFileError: the file is damaged, not what its name says, or does not fit.
    """
    name, settings = MODELS[model]
    network = NETWORKS[name](num_classes=1000, **settings)
    if source == AUTO:
        source = official_file(published_as(name, settings.get("batch_norm", True)))
    tensors, scalings = _read(source, network)
    classifier = tensors.get(f"{_file_head(network).get('classifier')}.bias")
    if classifier is not None:
        network = network.clone(num_classes=classifier.size)
    digest = hashlib.sha256(epath.Path(source).read_bytes()).hexdigest()
    promised = re.search(r"-([0-9a-f]{8})\.pth$", os.fspath(source))
    if promised and not digest.startswith(promised[1]):
        raise WeightFileError(
            f"{source} is not what its name says: its SHA-256 begins with {digest[:8]}, not "
            f"{promised[1]}; fetch it again"
        )
    metadata = {"model": model, "source": epath.Path(source).name, "source_sha256": digest}
    if len(scalings) == 1:
        metadata["input_scaling"] = scalings[0]
    taken = _fitting(source, network, tensors)
    write_safetensors(target, taken, metadata)
    print(
        f"{target}: {len(taken)} of {len(tensors)} tensors, for input_scaling="
        f"{' or '.join(scalings)}. SHA-256 of the source: {digest}, "
        f"{'as its name says' if promised else 'its name promises none'}."
    )


def _read(path: str | os.PathLike, network: Network) -> tuple[dict, tuple[str, ...]]:
    """Reads a file: its tensors as torchvision has them, and the input scalings that go with it."""
    tensors = read(path)
    if all(name.startswith("module.") for name in tensors):  # torch.nn.DataParallel
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    classifier = f"{network.file_head.get('classifier')}.weight"
    if classifier in tensors and tensors[classifier].shape[2:] == (1, 1):  # a convolution there
        tensors[classifier] = tensors[classifier][:, :, 0, 0]
    if "block1_conv1.kernel" in tensors:
        return from_keras(tensors), ("caffe",)
    scaling = read_metadata(path).get("input_scaling")
    return tensors, (scaling,) if scaling else network.file_scalings()


def _fitting(
    path: str | os.PathLike, network: Network, tensors: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Picks what the network reads; refuses a file that does not fit it."""
    example = jax.ShapeDtypeStruct(
        (1, network.smallest_image, network.smallest_image, 3), "float32"
    )
    shapes = jax.eval_shape(
        lambda key, images: network.init(key, images, train=False), jax.random.key(0), example
    )
    wanted = {
        _name(network, place): _torch_shape(leaf.shape, place)
        for place, leaf in traverse_util.flatten_dict(dict(shapes)).items()
    }
    wanted.pop(None, None)
    for name in _without_head(path, network, tensors, wanted):
        del wanted[name]
    faults = {
        "missing": [name for name in wanted if name not in tensors],
        "unknown": [
            name
            for name in sorted(tensors)
            if name not in wanted
            and not name.startswith(network.cut)
            and not name.endswith(".num_batches_tracked")
        ],
        "of another shape": [
            f"{name} {list(tensors[name].shape)} for {list(shape)}"
            for name, shape in wanted.items()
            if name in tensors and tensors[name].shape != shape
        ],
        "not finite": [
            name for name in wanted if name in tensors and not np.isfinite(tensors[name]).all()
        ],
    }
    if any(faults.values()):
        lists = "; ".join(f"{kind}: {_some(names)}" for kind, names in faults.items() if names)
        has_norm = any(name.endswith(".running_mean") for name in tensors)
        if has_norm != network.batch_norm:
            remedy = f"; the file wants --config.model.batch_norm={has_norm}"
        elif network.width != 1:
            remedy = "; published weights want --config.model.width=1"
        else:
            remedy = ""
        raise WeightFileError(
            f"{path} does not fit {type(network).__name__} (width {network.width:g}, "
            f"{'with' if network.batch_norm else 'without'} batch norm): {lists}{remedy}"
        )
    return {name: tensors[name] for name in wanted}


def _without_head(
    path: str | os.PathLike,
    network: Network,
    tensors: Mapping[str, np.ndarray],
    wanted: Mapping[str, tuple[int, ...]],
) -> list[str]:
    """Names what is not read of the head: all if the file has another, or its classifier alone."""
    head = _file_head(network)
    names = [f"{module}.{leaf}" for module in head.values() for leaf in ("weight", "bias")]
    if not any(name in tensors for name in names):
        return names
    name = f"{head['classifier']}.bias"
    if name not in tensors or tensors[name].shape == wanted[name]:
        return []
    logger.info(
        "The classifier of %s has %d outputs, the network's %d: it is drawn at random.",
        path,
        tensors[name].size,
        *wanted[name],
    )
    return names[-2:]  # the classifier is the last module


def _file_head(network: Network) -> Mapping[str, str]:
    """Returns how files name the modules of the head; nothing if they have none like it."""
    convs = len(network.file_head) - 1
    plain = convs == 0 or not (network.batch_norm and network.head_batch_norm)
    return network.file_head if network.head_convs == convs and plain else {}


def _name(network: Network, place: Place) -> str | None:
    """Returns the name in the file of an array, None if files do not have it."""
    _, *module, leaf = (part for part in place if part != "main")
    if "aux" in module or module[0].startswith("insert_"):
        return None
    if not module[0].startswith("head"):
        prefix = network.file_name(tuple(module))
    elif module[0] != "head" or module[1] not in _file_head(network):
        return None
    else:
        prefix = _file_head(network)[module[1]]
    return f"{prefix}.{_LEAVES[leaf]}"


def _torch_shape(shape: tuple[int, ...], place: Place) -> tuple[int, ...]:
    """Returns a parameter's shape in PyTorch's layout; the classifier is a dense layer there."""
    if place[-1] != "kernel":
        return shape
    height, width, inputs, outputs = shape
    return (outputs, inputs) if "classifier" in place else (outputs, inputs, height, width)


def _to_flax(tensor: np.ndarray) -> np.ndarray:
    """Turns PyTorch's layout into ours, in float32."""
    if tensor.ndim == 2:
        tensor = tensor[..., np.newaxis, np.newaxis]
    if tensor.ndim == 4:
        tensor = tensor.transpose(2, 3, 1, 0)
    return np.ascontiguousarray(tensor, np.float32)


def _some(names: list[str]) -> str:
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")
