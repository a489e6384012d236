"""Names and shapes of what published weight files hold, and random states of such shapes."""

import functools
import math
import re

import numpy as np

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
# Of every block: out, in, side of the depthwise kernel, its stride, factor of the channels inside.
LITE0 = """16:32:3:1:1 24:16:3:2:6 24:24:3:1:6 40:24:5:2:6 40:40:5:1:6
           80:40:3:2:6 80:80:3:1:6 80:80:3:1:6 112:80:5:1:6 112:112:5:1:6 112:112:5:1:6
           192:112:5:2:6 192:192:5:1:6 192:192:5:1:6 192:192:5:1:6 320:192:3:1:6"""
LITE0 = tuple(tuple(map(int, block.split(":"))) for block in LITE0.split())


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


def inception_branches(block):
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
        for branch, continues, out, *kernel in inception_branches(block):
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


def _efficientnet_lite0_state(classes=1000):
    state = _layer("_conv_stem", 32, 3, 3, 3, bias=False) | _norm("_bn0", 32)
    for i, (out, inputs, kernel, _, expansion) in enumerate(LITE0):
        block, hidden = f"_blocks.{i}.", expansion * inputs
        if expansion > 1:
            state |= _layer(f"{block}_expand_conv", hidden, inputs, 1, 1, bias=False)
            state |= _norm(f"{block}_bn0", hidden)
        state |= _layer(f"{block}_depthwise_conv", hidden, 1, kernel, kernel, bias=False)
        state |= _norm(f"{block}_bn1", hidden)
        state |= _layer(f"{block}_project_conv", out, hidden, 1, 1, bias=False)
        state |= _norm(f"{block}_bn2", out)
    state |= _layer("_conv_head", 1280, 320, 1, 1, bias=False) | _norm("_bn1", 1280)
    return state | _layer("_fc", classes, 1280)


STATE = {  # functions of the number of classes, 1000 unless told (but for the trunks)
    "vgg16": functools.partial(_vgg16_state, False),
    "vgg16_bn": functools.partial(_vgg16_state, True),
    "googlenet": _googlenet_state,
    "googlenet_plain": functools.partial(_googlenet_trunk, "inception4e", batch_norm=False),
    "inception_v3": _inception_v3_state,
    "resnet50": _resnet50_state,
    "alexnet": _alexnet_state,
    "efficientnet_lite0": _efficientnet_lite0_state,
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
