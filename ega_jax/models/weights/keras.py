"""Brings Keras's VGG16 into torchvision's names and layouts."""

from collections.abc import Mapping

import numpy as np

from ega_jax.models.vgg import STAGES, VGG16

_LEAVES = {"kernel": "weight"}


def from_keras(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Names and lays out Keras's VGG16 as torchvision does; unknown tensors keep their names.

    Args:
      tensors: of `files.read`, as `<layer>.kernel` and `<layer>.bias`.
    """
    network = VGG16(num_classes=2, batch_norm=False)
    convs = {
        f"block{stage}_conv{i}": network.file_name((f"conv{stage}_{i}", "conv"))
        for stage, (_, count) in enumerate(STAGES, start=1)
        for i in range(1, count + 1)
    }
    dense = {"fc1": "classifier.0", "fc2": "classifier.3", "predictions": "classifier.6"}
    result = {}
    for name, tensor in tensors.items():
        layer, _, leaf = name.rpartition(".")
        if layer == "block1_conv1" and leaf == "kernel":
            tensor = tensor[:, :, ::-1]  # BGR to RGB
        if leaf == "kernel" and tensor.ndim == 4:
            tensor = tensor.transpose(3, 2, 0, 1)
        result[f"{(convs | dense).get(layer, layer)}.{_LEAVES.get(leaf, leaf)}"] = tensor
    return result
