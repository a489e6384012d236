"""Prints parameters and operations per image of every network, beside the published figures.

    python -m benchmarks.networks

Operations are multiply-adds of one image, half of what XLA counts for the compiled forward pass.
Published figures are torchvision's, of whole networks (Inception v3 at 299 pixels): VGG16 with its
dense layers, the Inceptions with the blocks behind our cut; for GoogLeNet without batch norm,
parameters of Caffe's, with the classifier. ResNet-50 at stride 32 with its own
head is the published network, and so are its figures; so is EfficientNet-Lite0, whose figures are
its authors'. AlexNet-GAP has none.
"""

import functools
import math
from unittest import mock

import jax
import jax.numpy as jnp

from ega_jax.models import NETWORKS, Network, blocks

CLASSES = 1000
ROWS = [  # label, network, settings, published parameters, published operations in 10^9
    ("VGG16", "vgg16", {"batch_norm": False}, 138_357_544, 15.47),
    ("VGG16-BN", "vgg16", {}, 138_365_992, 15.47),
    ("VGG16-BN", "vgg16", {"feature_stride": 8}, 138_365_992, 15.47),
    ("GoogLeNet", "googlenet", {}, 6_624_904, 1.50),
    ("GoogLeNet without BN", "googlenet", {"batch_norm": False}, 6_998_552, None),
    ("Inception v3", "inception_v3", {}, 27_161_264, 5.71),
    ("Inception v3", "inception_v3", {"feature_stride": 8}, 27_161_264, 5.71),
    ("ResNet-50", "resnet50", {"head_convs": 0, "feature_stride": 32}, 25_557_032, 4.09),
    ("ResNet-50", "resnet50", {"head_convs": 0}, 25_557_032, 4.09),
    ("ResNet-50", "resnet50", {"head_convs": 0, "feature_stride": 8}, 25_557_032, 4.09),
    ("ResNet-50", "resnet50", {}, 25_557_032, 4.09),
    ("AlexNet-GAP", "alexnet", {"batch_norm": False, "head_convs": 0}, None, None),
    (
        "EfficientNet-Lite0",
        "efficientnet_lite0",
        {"head_convs": 0, "feature_stride": 32},
        4_652_008,
        0.41,
    ),
    ("EfficientNet-Lite0", "efficientnet_lite0", {"head_convs": 0}, 4_652_008, 0.41),
    (
        "EfficientNet-Lite0",
        "efficientnet_lite0",
        {"head_convs": 0, "feature_stride": 8},
        4_652_008,
        0.41,
    ),
    ("EfficientNet-Lite0", "efficientnet_lite0", {}, 4_652_008, 0.41),
]


def count(network: Network) -> dict[str, float]:
    """Counts a network's parameters and, per image, its multiply-adds in 10^9.

    Returns:
      `map`, the side of the class maps; `trunk_params` and `params`, `trunk_gmac` and `gmac`,
      without and with the head.
    """
    size = 227 if type(network) is NETWORKS["alexnet"] else 224
    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    init = functools.partial(network.init, train=False)
    variables = jax.eval_shape(init, jax.random.key(0), images)
    trunk = {k: v for k, v in variables["params"].items() if k != "head"}

    def forward(variables, images, *, head):
        logits, features = network.apply(variables, images, train=False)
        names = list(features)
        return logits if head else features[names[names.index("cams") - 1]]  # the head's input

    result = {
        "trunk_params": _elements(trunk),
        "params": _elements(variables["params"]),
    }
    for key, head in (("trunk_gmac", False), ("gmac", True)):
        # What a CPU gets instead of a convolution would count products with padding.
        with mock.patch.object(blocks, "Convolution", None):
            lowered = jax.jit(functools.partial(forward, head=head)).lower(variables, images)
        result[key] = lowered.compile().cost_analysis()["flops"] / 2e9
    _, features = jax.eval_shape(functools.partial(network.apply, train=False), variables, images)
    return result | {"map": features["cams"].shape[1]}


def table() -> str:
    """Returns the Markdown table."""
    lines = [
        "| | 3x3 convs in head | map | trunk, M parameters | with head | published, whole "
        "| trunk, G multiply-adds | with head | published, whole |",
        "| --- " * 9 + "|",
    ]
    for label, name, settings, published_params, published_gmac in ROWS:
        network = NETWORKS[name](CLASSES, **settings)
        counts = count(network)
        lines.append(
            f"| {label} | {network.head_convs} | {counts['map']}x{counts['map']} "
            f"| {counts['trunk_params'] / 1e6:.2f} | {counts['params'] / 1e6:.2f} "
            f"| {_published(published_params and published_params / 1e6)} "
            f"| {counts['trunk_gmac']:.2f} | {counts['gmac']:.2f} | {_published(published_gmac)} |"
        )
    return "\n".join(lines)


def _elements(tree: dict) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def _published(figure: float | None) -> str:
    return "–" if figure is None else f"{figure:.2f}"


if __name__ == "__main__":
    print(table())
