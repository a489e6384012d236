"""The classification networks once more: plain NumPy, float32, NCHW, inference only.

A reference to test the package's networks and its reading of pretrained weights against; it shares
no code with them. Weights come as `dict[str, np.ndarray]` under torchvision's names and in its
layouts (convolutions [out, in / groups, height, width]), EfficientNet-Lite0's under its port's
names; `plain_states.py` has names and shapes.

Every network takes images [B, 3, H, W] in [0, 1] and returns a dict of its taps, in the order of
computation, followed by the head's `cams` [B, classes, h, w] and `logits` [B, classes]. Each takes,
besides its own options, `mean` and `std`, by which it normalises the images, and the head's
`head_convs` and `head_batch_norm`.
"""

import functools

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tests.helpers.plain_states import (
    ALEXNET,
    GOOGLENET,
    INCEPTION_STEM,
    INCEPTION_V3,
    LITE0,
    RESNET50,
    inception_branches,
    vgg16_layers,
)

# --- Primitives -----------------------------------------------------------------------------------


def conv2d(x, weight, bias=None, *, stride=1, padding=0, groups=1):
    """Convolves (im2col, one image at a time); `padding` is one number or (height, width)."""
    ph, pw = (padding, padding) if isinstance(padding, int) else padding
    x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    windows = sliding_window_view(x, weight.shape[2:], axis=(2, 3))[:, :, ::stride, ::stride]
    out, (h, w) = len(weight), windows.shape[2:4]
    matrix = weight.reshape(groups, out // groups, -1)
    y = np.empty((len(x), out, h, w), x.dtype)
    for image, result in zip(windows, y, strict=True):
        columns = image.transpose(0, 3, 4, 1, 2).reshape(groups, -1, h * w)
        result[:] = (matrix @ columns).reshape(out, h, w)
    return y if bias is None else y + bias[:, None, None]


def linear(x, weight, bias):
    """Applies weights [out, in] to the last axis."""
    return x @ weight.T + bias


def batch_norm(x, state, prefix, eps=1e-5):
    """Normalises channels with the running statistics."""
    weight, bias, mean, var = (
        state[f"{prefix}.{name}"][:, None, None]
        for name in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) / np.sqrt(var + np.float32(eps)) * weight + bias


def relu(x):
    """Replaces negative values by zero."""
    return np.maximum(x, 0)


def max_pool2d(x, k, s, padding=0, ceil_mode=False):
    """Takes the maxima of k x k windows, with PyTorch's rule for the number of windows."""
    counts = []
    for n in x.shape[2:]:
        count = (n + 2 * padding - k + (s - 1 if ceil_mode else 0)) // s + 1
        if ceil_mode and (count - 1) * s >= n + padding:
            count -= 1  # the last window would start in the padding on the right
        counts.append(count)
    ends = [max(0, (m - 1) * s + k - n - padding) for m, n in zip(counts, x.shape[2:], strict=True)]
    pads = [(0, 0), (0, 0), *((padding, end) for end in ends)]
    x = np.pad(x, pads, constant_values=-np.inf)
    h, w = ((m - 1) * s + 1 for m in counts)
    shifted = (x[:, :, i : i + h : s, j : j + w : s] for i in range(k) for j in range(k))
    return functools.reduce(np.maximum, shifted)


def avg_pool2d(x):
    """Averages 3 x 3 windows at stride 1, counting one pixel of zero padding."""
    h, w = x.shape[2:]
    x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    return sum(x[:, :, i : i + h, j : j + w] for i in range(3) for j in range(3)) / np.float32(9)


def local_response_norm(x, size=5, alpha=1e-4, beta=0.75, k=1.0):
    """Divides by (k + alpha * m) ** beta, m the mean square of `size` neighbouring channels.

    By default that is hardly a change unless values are in the tens, as from Caffe's 0..255 inputs.
    """
    half, channels = size // 2, x.shape[1]
    squares = np.pad(x**2, ((0, 0), (half, size - 1 - half), (0, 0), (0, 0)))
    total = sum(squares[:, i : i + channels] for i in range(size))
    return x / (k + alpha / size * total) ** beta


# --- Networks -------------------------------------------------------------------------------------


def _conv_relu(state, x, conv, norm=None, *, eps=1e-5, **options):
    x = conv2d(x, state[f"{conv}.weight"], state.get(f"{conv}.bias"), **options)
    return relu(batch_norm(x, state, norm, eps) if norm else x)


def _basic(state, x, name, *, norm=True, padding=None, stride=1):
    """The Inceptions' unit; without `padding` it keeps the size, but for the stride."""
    conv, norm = f"{name}.conv", f"{name}.bn" if norm else None
    if padding is None:
        padding = tuple(k // 2 for k in state[f"{conv}.weight"].shape[2:])
    return _conv_relu(state, x, conv, norm, eps=1e-3, padding=padding, stride=stride)


def head(state, x, head_convs, head_batch_norm=False):
    """Applies the hidden 3 x 3 convolutions and the 1 x 1 classifier."""
    for i in range(1, head_convs + 1):
        name = f"head.conv6_{i}"
        x = _conv_relu(state, x, name, f"{name}.bn" if head_batch_norm else None, padding=1)
    cams = conv2d(x, state["head.classifier.weight"], state["head.classifier.bias"])
    return {"cams": cams, "logits": cams.mean((2, 3))}


def _network(trunk):
    """Makes a network of a trunk: normalised input before, the head behind its last tap."""

    @functools.wraps(trunk)
    def network(state, images, *, mean, std, head_convs=0, head_batch_norm=False, **options):
        mean, std = (np.asarray(v, np.float32).reshape(-1, 1, 1) for v in (mean, std))
        taps = trunk(state, (images - mean) / std, **options)
        return taps | head(state, list(taps.values())[-1], head_convs, head_batch_norm)

    return network


@_network
def vgg16(state, x, *, batch_norm, feature_stride=16):
    """VGG16 without pool5 and, at stride 8, without pool4."""
    pools, taps = {16: 4, 8: 3}[feature_stride], {}
    for tap, i, _, _ in vgg16_layers(batch_norm):
        if tap.endswith("_1") and 1 < int(tap[4]) <= pools + 1:
            x = max_pool2d(x, 2, 2)
        norm = f"features.{i + 1}" if batch_norm else None
        x = taps[tap] = _conv_relu(state, x, f"features.{i}", norm, padding=1)
    return {tap: taps[tap] for tap in ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3")}


@_network
def googlenet(state, x, *, batch_norm=True, feature_stride=16):
    """GoogLeNet up to inception4e: torchvision's or (plain) the original; stride 8: no third pool.

    The plain one has biases, 5 x 5 kernels in the third branch and response normalisation.
    """
    unit = functools.partial(_basic, state, norm=batch_norm)
    respond = (lambda x: x) if batch_norm else local_response_norm
    x = conv1 = unit(x, "conv1", stride=2)
    x = conv2 = unit(respond(max_pool2d(x, 3, 2, ceil_mode=True)), "conv2")
    x = conv3 = unit(x, "conv3")
    x = max_pool2d(respond(x), 3, 2, ceil_mode=True)
    taps = {"conv1": conv1, "conv2": conv2, "conv3": conv3}
    for name in list(GOOGLENET)[:7]:
        if name == "inception4a" and {16: True, 8: False}[feature_stride]:
            x = max_pool2d(x, 3, 2, ceil_mode=True)
        branches = (
            unit(x, f"{name}.branch1"),
            unit(unit(x, f"{name}.branch2.0"), f"{name}.branch2.1"),
            unit(unit(x, f"{name}.branch3.0"), f"{name}.branch3.1"),
            unit(max_pool2d(x, 3, 1, 1), f"{name}.branch4.1"),
        )
        x = taps[name] = np.concatenate(branches, 1)
    return taps


@_network
def inception_v3(state, x, *, feature_stride=16):
    """InceptionV3 up to Mixed_6e as SPG changes it: padded stem, no stride in Mixed_6a.

    Stride 16 comes from a pool of its own after Mixed_5d, which stride 8 omits.
    """
    taps = {}
    for name, (*_, padding, stride) in INCEPTION_STEM.items():
        x = taps[name] = _basic(state, x, name, padding=padding, stride=stride)
        if name in ("Conv2d_2b_3x3", "Conv2d_4a_3x3"):
            x = max_pool2d(x, 3, 2, 1, ceil_mode=True)
    for block in list(INCEPTION_V3)[:8]:
        if block == "Mixed_6a" and {16: True, 8: False}[feature_stride]:
            x = max_pool2d(x, 3, 2, ceil_mode=True)
        outputs = []
        for branch, continues, *_ in inception_branches(block):
            y = outputs.pop() if continues else avg_pool2d(x) if branch == "_pool" else x
            outputs.append(_basic(state, y, f"{block}.branch{branch}"))
        if block == "Mixed_6a":
            outputs.append(max_pool2d(x, 3, 1, 1))
        x = taps[block] = np.concatenate(outputs, 1)
    return {tap: y for tap, y in taps.items() if tap not in ("Conv2d_2a_3x3", "Conv2d_3b_1x1")}


@_network
def resnet50(state, x, *, feature_stride=32):
    """ResNet50 with the stride in the 3 x 3 kernels; only stride 32 is torchvision's."""
    strides = 1, 2, *{8: (1, 1), 16: (2, 1), 32: (2, 2)}[feature_stride]
    x = _conv_relu(state, x, "conv1", "bn1", stride=2, padding=3)
    taps, x = {"conv1": x}, max_pool2d(x, 3, 2, 1)
    for layer, (blocks, stride) in enumerate(zip(RESNET50, strides, strict=True), 1):
        for i in range(blocks):
            name = f"layer{layer}.{i}"
            y = _conv_relu(state, x, f"{name}.conv1", f"{name}.bn1")
            step = stride if i == 0 else 1
            y = _conv_relu(state, y, f"{name}.conv2", f"{name}.bn2", stride=step, padding=1)
            y = batch_norm(conv2d(y, state[f"{name}.conv3.weight"]), state, f"{name}.bn3")
            if i == 0:
                x = conv2d(x, state[f"{name}.downsample.0.weight"], stride=step)
                x = batch_norm(x, state, f"{name}.downsample.1")
            x = relu(x + y)
        taps[f"layer{layer}_{blocks - 1}"] = x
    return taps


@_network
def alexnet(state, x):
    """AlexNet+ of the CAM release, meant for 227 x 227 pixels: pool5 has stride 1."""
    taps = {}
    for name, (_, _, _, padding, groups) in ALEXNET.items():
        stride = 4 if name == "conv1" else 1
        x = taps[name] = _conv_relu(state, x, name, stride=stride, padding=padding, groups=groups)
        if name in ("conv1", "conv2"):
            x = local_response_norm(max_pool2d(x, 3, 2, ceil_mode=True))
        elif name == "conv5":
            x = max_pool2d(x, 3, 1)
    return taps


def _same(x, kernel, stride):
    """Pads with zeros as TensorFlow does: the map has as many cells as strides begin in the image.

    What is needed is halved, and the odd pixel goes to the end.
    """
    pads = [(0, 0), (0, 0)]
    for size in x.shape[2:]:
        cells = -(-size // stride)
        needed = max((cells - 1) * stride + kernel - size, 0)
        pads.append((needed // 2, needed - needed // 2))
    return np.pad(x, pads)


def _relu6(x):
    return np.minimum(relu(x), 6)


@_network
def efficientnet_lite0(state, x, *, feature_stride=32):
    """EfficientNet-Lite0; at strides 16 and 8 the last strides are left out."""

    def unit(x, conv, norm, kernel=1, stride=1, groups=1):
        y = _same(x, kernel, stride)
        y = conv2d(y, state[f"{conv}.weight"], stride=stride, groups=groups)
        return batch_norm(y, state, norm, eps=1e-3)

    taps = {"stem": _relu6(unit(x, "_conv_stem", "_bn0", 3, 2))}
    x = taps["stem"]
    kept = {8: 3, 16: 4, 32: 5}[feature_stride] - 1  # of the strides behind the stem's
    for i, (out, inputs, kernel, stride, expansion) in enumerate(LITE0):
        block = f"_blocks.{i}."
        if stride == 2:
            stride, kept = (2 if kept > 0 else 1), kept - 1
        y = x
        if expansion > 1:
            y = _relu6(unit(y, f"{block}_expand_conv", f"{block}_bn0"))
        y = unit(y, f"{block}_depthwise_conv", f"{block}_bn1", kernel, stride, expansion * inputs)
        y = unit(_relu6(y), f"{block}_project_conv", f"{block}_bn2")
        x = taps[f"block{i}"] = x + y if out == inputs else y
    return taps | {"top": _relu6(unit(x, "_conv_head", "_bn1"))}
