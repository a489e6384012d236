"""The classification networks once more: plain NumPy, float32, NCHW, inference only.

A reference to test the package's networks and its reading of pretrained weights against; it shares
no code with them. Weights come as `dict[str, np.ndarray]` under torchvision's names and in its
layouts (convolutions [out, in / groups, height, width]); `STATE` tells names and shapes.

Every network takes images [B, 3, H, W] in [0, 1] and returns a dict of its taps, in the order of
computation, followed by the head's `cams` [B, classes, h, w] and `logits` [B, classes]. Each takes,
besides its own options, `mean` and `std`, by which it normalises the images, and the head's
`head_convs` and `head_batch_norm`.
"""

import functools
import math
import re

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

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


# --- Names and shapes -----------------------------------------------------------------------------

VGG16 = (2, 64), (2, 128), (3, 256), (3, 512), (3, 512)  # convolutions and their width, by stage
RESNET50 = 3, 4, 6, 3  # blocks by layer
GOOGLENET = {  # 1x1; 3x3: reduction, out; "5x5": reduction, out; projection of the pool
    "inception3a": (64, 96, 128, 16, 32, 32),
    "inception3b": (128, 128, 192, 32, 96, 64),
    "inception4a": (192, 96, 208, 16, 48, 64),
    "inception4b": (160, 112, 224, 24, 64, 64),
    "inception4c": (128, 128, 256, 24, 64, 64),
    "inception4d": (112, 144, 288, 32, 64, 64),
    "inception4e": (256, 160, 320, 32, 128, 128),
    "inception5a": (256, 160, 320, 32, 128, 128),
    "inception5b": (384, 192, 384, 48, 128, 128),
}
INCEPTION_STEM = {  # out, in, kernel, padding, stride (the padding of 1a is the WSOL variant's)
    "Conv2d_1a_3x3": (32, 3, 3, 1, 2),
    "Conv2d_2a_3x3": (32, 32, 3, 0, 1),
    "Conv2d_2b_3x3": (64, 32, 3, 1, 1),
    "Conv2d_3b_1x1": (80, 64, 1, 0, 1),
    "Conv2d_4a_3x3": (192, 80, 3, 0, 1),
}
# Convolutions of the blocks: what follows "branch" in the name, out channels, kernel.
_A = """1x1:64:1x1 5x5_1:48:1x1 5x5_2:64:5x5
        3x3dbl_1:64:1x1 3x3dbl_2:96:3x3 3x3dbl_3:96:3x3 _pool:{0}:1x1"""
_B = "3x3:384:3x3 3x3dbl_1:64:1x1 3x3dbl_2:96:3x3 3x3dbl_3:96:3x3"
_C = """1x1:192:1x1 7x7_1:{0}:1x1 7x7_2:{0}:1x7 7x7_3:192:7x1
        7x7dbl_1:{0}:1x1 7x7dbl_2:{0}:7x1 7x7dbl_3:{0}:1x7 7x7dbl_4:{0}:7x1 7x7dbl_5:192:1x7
        _pool:192:1x1"""
_D = """3x3_1:192:1x1 3x3_2:320:3x3
        7x7x3_1:192:1x1 7x7x3_2:192:1x7 7x7x3_3:192:7x1 7x7x3_4:192:3x3"""
_E = """1x1:320:1x1 3x3_1:384:1x1 3x3_2a:384:1x3 3x3_2b:384:3x1
        3x3dbl_1:448:1x1 3x3dbl_2:384:3x3 3x3dbl_3a:384:1x3 3x3dbl_3b:384:3x1 _pool:192:1x1"""
INCEPTION_V3 = {  # input channels and convolutions
    "Mixed_5b": (192, _A.format(32)),
    "Mixed_5c": (256, _A.format(64)),
    "Mixed_5d": (288, _A.format(64)),
    "Mixed_6a": (288, _B),
    "Mixed_6b": (768, _C.format(128)),
    "Mixed_6c": (768, _C.format(160)),
    "Mixed_6d": (768, _C.format(160)),
    "Mixed_6e": (768, _C.format(192)),
    "Mixed_7a": (768, _D),
    "Mixed_7b": (1280, _E),
    "Mixed_7c": (2048, _E),
}
ALEXNET = {  # out, in / groups, kernel, padding, groups
    "conv1": (96, 3, 11, 0, 1),
    "conv2": (256, 48, 5, 2, 2),
    "conv3": (384, 256, 3, 1, 1),
    "conv4": (384, 192, 3, 1, 2),
    "conv5": (384, 192, 3, 1, 2),
    "conv6": (512, 192, 3, 1, 2),
    "conv7": (512, 256, 3, 1, 2),
}


def _layer(name, *shape, bias=True):
    return {f"{name}.weight": shape} | ({f"{name}.bias": shape[:1]} if bias else {})


def _norm(name, channels):
    names = "weight", "bias", "running_mean", "running_var"
    return {f"{name}.{n}": (channels,) for n in names} | {f"{name}.num_batches_tracked": ()}


def _unit(name, out, inputs, height, width=None, *, batch_norm=True):
    state = _layer(f"{name}.conv", out, inputs, height, width or height, bias=not batch_norm)
    return state | (_norm(f"{name}.bn", out) if batch_norm else {})


def vgg16_layers(batch_norm):
    """Yields (tap, index in `features`, out, in) of every convolution."""
    index, inputs = 0, 3
    for stage, (count, out) in enumerate(VGG16, 1):
        for i in range(1, count + 1):
            yield f"conv{stage}_{i}", index, out, inputs
            index, inputs = index + 2 + batch_norm, out
        index += 1


def _vgg16_state(batch_norm, classes=1000):
    state = {}
    for _, i, out, inputs in vgg16_layers(batch_norm):
        state |= _layer(f"features.{i}", out, inputs, 3, 3)
        state |= _norm(f"features.{i + 1}", out) if batch_norm else {}
    for i, out, inputs in (0, 4096, 512 * 7 * 7), (3, 4096, 4096), (6, classes, 4096):
        state |= _layer(f"classifier.{i}", out, inputs)
    return state


def _googlenet_trunk(last, *, batch_norm=True):
    unit = functools.partial(_unit, batch_norm=batch_norm)
    state = unit("conv1", 64, 3, 7) | unit("conv2", 64, 64, 1) | unit("conv3", 192, 64, 3)
    inputs = 192
    for name, (one, reduce3, three, reduce5, five, pool) in GOOGLENET.items():
        branch = f"{name}.branch"
        state |= unit(f"{branch}1", one, inputs, 1)
        state |= unit(f"{branch}2.0", reduce3, inputs, 1) | unit(f"{branch}2.1", three, reduce3, 3)
        state |= unit(f"{branch}3.0", reduce5, inputs, 1)
        state |= unit(f"{branch}3.1", five, reduce5, 3 if batch_norm else 5)
        state |= unit(f"{branch}4.1", pool, inputs, 1)
        inputs = one + three + five + pool
        if name == last:
            return state


def _googlenet_state(classes=1000):
    state = _googlenet_trunk("inception5b")
    for name, inputs in ("aux1", 512), ("aux2", 528):
        state |= _unit(f"{name}.conv", 128, inputs, 1)
        state |= _layer(f"{name}.fc1", 1024, 2048) | _layer(f"{name}.fc2", classes, 1024)
    return state | _layer("fc", classes, 1024)


def _inception_branches(block):
    """Yields (branch, whether it reads the convolution before it, out, kernel height, width)."""
    for branch, *numbers in re.findall(r"(\S+):(\d+):(\d)x(\d)", INCEPTION_V3[block][1]):
        yield branch, re.search("_[2-9]", branch), *map(int, numbers)


def _inception_v3_state(classes=1000):
    state = {}
    for name, (out, inputs, kernel, _, _) in INCEPTION_STEM.items():
        state |= _unit(name, out, inputs, kernel)
    for block, (inputs, _) in INCEPTION_V3.items():
        if block == "Mixed_7a":
            state |= _unit("AuxLogits.conv0", 128, 768, 1) | _unit("AuxLogits.conv1", 768, 128, 5)
            state |= _layer("AuxLogits.fc", classes, 768)
        before = None
        for branch, continues, out, *kernel in _inception_branches(block):
            state |= _unit(f"{block}.branch{branch}", out, before if continues else inputs, *kernel)
            before = out
    return state | _layer("fc", classes, 2048)


def _resnet50_state(classes=1000):
    state = _layer("conv1", 64, 3, 7, 7, bias=False) | _norm("bn1", 64)
    inputs = 64
    for layer, blocks in enumerate(RESNET50, 1):
        width = 32 * 2**layer
        for block in (f"layer{layer}.{i}." for i in range(blocks)):
            units = [("conv1", "bn1", width, inputs, 1), ("conv2", "bn2", width, width, 3)]
            units += [("conv3", "bn3", 4 * width, width, 1)]
            if block.endswith(".0."):
                units += [("downsample.0", "downsample.1", 4 * width, inputs, 1)]
            for conv, norm, out, channels, k in units:
                state |= _layer(block + conv, out, channels, k, k, bias=False)
                state |= _norm(block + norm, out)
            inputs = 4 * width
    return state | _layer("fc", classes, inputs)


def _alexnet_state():
    layers = (_layer(name, out, n, k, k) for name, (out, n, k, _, _) in ALEXNET.items())
    return functools.reduce(dict.__or__, layers)


STATE = {  # functions of the number of classes, 1000 unless told (but for the trunks)
    "vgg16": functools.partial(_vgg16_state, False),
    "vgg16_bn": functools.partial(_vgg16_state, True),
    "googlenet": _googlenet_state,
    "googlenet_plain": functools.partial(_googlenet_trunk, "inception4e", batch_norm=False),
    "inception_v3": _inception_v3_state,
    "resnet50": _resnet50_state,
    "alexnet": _alexnet_state,
}


def head_state(in_channels, classes, head_convs, batch_norm=False, features=1024):
    """Tells names and shapes of a head's state."""
    state = {}
    for i in range(1, head_convs + 1):
        state |= _layer(f"head.conv6_{i}", features, in_channels, 3, 3)
        if batch_norm:
            state |= _norm(f"head.conv6_{i}.bn", features)
            del state[f"head.conv6_{i}.bn.num_batches_tracked"]
        in_channels = features
    return state | _layer("head.classifier", classes, in_channels, 1, 1)


def draw(shapes, seed=0):
    """Draws a state, no tensor of it trivial, under which activations keep their magnitude."""
    rng = np.random.default_rng(seed)

    def tensor(name, shape):
        kind = name.rpartition(".")[2]
        if kind == "num_batches_tracked":
            return np.asarray(rng.integers(1, 1000), np.int64)
        if len(shape) > 1:
            scale = np.float32(math.sqrt(2 / math.prod(shape[1:])))
            return rng.standard_normal(shape, np.float32) * scale
        if kind == "weight":  # bn3 closes a residual branch: were it not small, sums would add up
            values = rng.uniform(0.7, 1.4, shape) * (0.25 if ".bn3." in name else 1)
        elif kind == "running_var":
            values = rng.uniform(0.5, 2.0, shape)
        else:
            values = rng.normal(0.0, {"bias": 0.1, "running_mean": 0.3}[kind], shape)
        return values.astype(np.float32)

    return {name: tensor(name, shape) for name, shape in shapes.items()}


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
        for branch, continues, *_ in _inception_branches(block):
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
        taps[f"layer{layer}"] = x
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
