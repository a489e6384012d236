"""The plain networks themselves: by hand, by their sizes and, where installed, by torch."""

import math

import numpy as np
import pytest

from tests.helpers import plain_networks as plain
from tests.helpers import plain_states

NORMALISATION = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
CAFFE = {"std": (1 / 255,) * 3}  # response normalisation does next to nothing on smaller inputs
CLASSES = 7
# Network, state, options, input size, side of the maps, channels of the last tap.
NETWORKS = [
    (plain.vgg16, "vgg16", {"batch_norm": False, "feature_stride": 16}, 224, 14, 512),
    (plain.vgg16, "vgg16", {"batch_norm": False, "feature_stride": 8}, 224, 28, 512),
    (plain.vgg16, "vgg16_bn", {"batch_norm": True, "feature_stride": 16}, 224, 14, 512),
    (plain.googlenet, "googlenet", {"feature_stride": 16}, 224, 14, 832),
    (plain.googlenet, "googlenet", {"feature_stride": 8}, 224, 28, 832),
    (plain.googlenet, "googlenet_plain", {"batch_norm": False, **CAFFE}, 224, 14, 832),
    (plain.inception_v3, "inception_v3", {"feature_stride": 16}, 224, 14, 768),
    (plain.inception_v3, "inception_v3", {"feature_stride": 8}, 224, 28, 768),
    (plain.resnet50, "resnet50", {"feature_stride": 32}, 224, 7, 2048),
    (plain.resnet50, "resnet50", {"feature_stride": 16}, 224, 14, 2048),
    (plain.resnet50, "resnet50", {"feature_stride": 8}, 224, 28, 2048),
    (plain.alexnet, "alexnet", CAFFE, 227, 11, 512),
    (plain.efficientnet_lite0, "efficientnet_lite0", {"feature_stride": 32}, 224, 7, 1280),
    (plain.efficientnet_lite0, "efficientnet_lite0", {"feature_stride": 16}, 224, 14, 1280),
    (plain.efficientnet_lite0, "efficientnet_lite0", {"feature_stride": 8}, 224, 28, 1280),
]
ELSEWHERE = ("googlenet_plain", "alexnet", "efficientnet_lite0")  # not of torchvision


def name_of(case):
    return f"{case[1]}-{case[2].get('feature_stride', '')}".rstrip("-")


def trunk(name):
    unused = ("classifier.", "fc.", "_fc.", "aux", "inception5", "AuxLogits.", "Mixed_7")
    return {k: v for k, v in plain_states.STATE[name]().items() if not k.startswith(unused)}


def image(size, batch=1):
    return np.random.default_rng(1).random((batch, 3, size, size), np.float32)


def square(n):
    return np.arange(n * n, dtype=np.float32).reshape(1, 1, n, n) - 100


# --- By hand --------------------------------------------------------------------------------------


def test_conv2d_groups_stride_and_padding():
    x = np.arange(1, 5, dtype=np.float32)[None, :, None, None] * np.ones((1, 4, 3, 3), np.float32)
    weight = np.array([[1, 10], [100, 1000]], np.float32)[:, :, None, None]
    y = plain.conv2d(x, weight, np.array([0.5, 0], np.float32), stride=2, groups=2)
    np.testing.assert_array_equal(y, np.broadcast_to([[[[21.5]], [[4300.0]]]], (1, 2, 2, 2)))
    weight = np.array([[[[0, 0, 1]]]], np.float32)  # reads the neighbour on the right
    y = plain.conv2d(square(3), weight, padding=(0, 1))
    np.testing.assert_array_equal(y[0, 0], [[-99, -98, 0], [-96, -95, 0], [-93, -92, 0]])


@pytest.mark.parametrize(
    ("n", "arguments", "ends"),
    [
        (6, (3, 2), [2, 4]),
        (6, (3, 2, 0, True), [2, 4, 5]),  # the third window is cut off
        (7, (3, 2, 0, True), [2, 4, 6]),
        (4, (1, 2, 0, True), [0, 2]),  # a third one would start behind the input,
        (3, (2, 2, 1, True), [0, 2]),  # and here within the padding on the right
        (4, (2, 2, 1, True), [0, 2, 3]),
        (5, (3, 2, 1), [1, 3, 4]),
    ],
)
def test_max_pool2d_windows(n, arguments, ends):
    y = plain.max_pool2d(square(n), *arguments)
    np.testing.assert_array_equal(y, square(n)[:, :, ends][..., ends])


def test_avg_pool2d_counts_the_padding():
    y = plain.avg_pool2d(np.ones((1, 1, 3, 3), np.float32))
    np.testing.assert_allclose(y[0, 0] * 9, [[4, 6, 4], [6, 9, 6], [4, 6, 4]], rtol=1e-6)


def test_local_response_norm():
    x = np.array([1, 2, 3], np.float32).reshape(1, 3, 1, 1)
    y = plain.local_response_norm(x, size=3, alpha=3, beta=1)
    np.testing.assert_allclose(y.ravel(), [1 / 6, 2 / 15, 3 / 14], rtol=1e-6)
    x = np.zeros((1, 7, 1, 1), np.float32)
    x[0, 3] = 100  # 1 + 1e-4 / 5 * 100**2 = 1.2
    y = plain.local_response_norm(x + np.eye(7, dtype=np.float32)[1][:, None, None])
    np.testing.assert_allclose(y[0, [1, 3], 0, 0], np.array([1, 100]) / 1.2**0.75, rtol=1e-4)


def test_batch_norm_and_linear():
    state = {"n.weight": 2, "n.bias": 1, "n.running_mean": 3, "n.running_var": 4}
    state = {name: np.array([value], np.float32) for name, value in state.items()}
    y = plain.batch_norm(np.full((1, 1, 1, 1), 7, np.float32), state, "n", eps=0.0)
    assert y.item() == 2 * (7 - 3) / 2 + 1
    y = plain.linear(np.array([[1, 2]]), np.array([[1, 10], [0, 1], [1, 0]]), np.array([0, 0, 5]))
    np.testing.assert_array_equal(y, [[21, 2, 6]])


# --- Sizes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "parameters", "tensors"),
    [
        ("vgg16", 138_357_544, 32),
        ("vgg16_bn", 138_365_992, 97),
        ("googlenet", 13_004_888, 364),
        ("inception_v3", 27_161_264, 580),
        ("resnet50", 25_557_032, 320),
        ("efficientnet_lite0", 4_652_008, 296),
    ],
)
def test_parameter_counts(name, parameters, tensors):
    def count(shapes):
        buffers = ("running_mean", "running_var", "num_batches_tracked")
        return sum(math.prod(s) for k, s in shapes.items() if not k.endswith(buffers))

    shapes = plain_states.STATE[name]()
    assert (count(shapes), len(shapes)) == (parameters, tensors)
    if name == "googlenet":
        assert count({k: s for k, s in shapes.items() if not k.startswith("aux")}) == 6_624_904


@pytest.mark.slow
@pytest.mark.parametrize("case", NETWORKS, ids=name_of)
def test_maps(case):
    network, name, options, size, side, channels = case
    state = plain_states.draw(trunk(name) | plain_states.head_state(channels, CLASSES, 0))
    outputs = network(state, image(size), **NORMALISATION | options)
    assert outputs["cams"].shape == (1, CLASSES, side, side)
    np.testing.assert_allclose(outputs["logits"], outputs["cams"].mean((2, 3)), rtol=1e-6)
    for tap, x in outputs.items():
        assert x.dtype == np.float32, tap
        assert 0.5 < np.std(x) < (100 if "std" in options else 12), tap


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("convs", [0, 1, 2])
def test_heads(convs, norm):
    state = plain_states.draw(plain_states.head_state(8, CLASSES, convs, norm, features=6))
    assert len(state) == 2 + convs * (6 if norm else 2)
    x = np.random.default_rng(0).random((2, 8, 5, 5), np.float32)
    for i in range(1, convs + 1):
        assert state[f"head.conv6_{i}.weight"].shape == (6, 8 if i == 1 else 6, 3, 3)
    outputs = plain.head(state, x, convs, norm)
    assert outputs["cams"].shape == (2, CLASSES, 5, 5)
    x = x[:1, :, :1, :1]
    actual = plain.head(state, x, convs, norm)["logits"][0]
    for i in range(1, convs + 1):  # on a single pixel only the centres of the kernels count
        name = f"head.conv6_{i}"
        x = state[f"{name}.weight"][:, :, 1, 1] @ x.ravel() + state[f"{name}.bias"]
        x = x[None, :, None, None]
        x = plain.relu(plain.batch_norm(x, state, f"{name}.bn") if norm else x)
    expected = state["head.classifier.weight"][:, :, 0, 0] @ x.ravel()
    np.testing.assert_allclose(actual, expected + state["head.classifier.bias"], rtol=1e-4)


def test_draw_is_complete_and_reproducible():
    shapes = trunk("googlenet")
    state, again, other = (
        plain_states.draw(shapes, 3),
        plain_states.draw(shapes, 3),
        plain_states.draw(shapes, 4),
    )
    assert {name: x.shape for name, x in state.items()} == shapes
    for name, x in state.items():
        np.testing.assert_array_equal(x, again[name])
        counter = name.endswith("num_batches_tracked")
        assert x.dtype == (np.int64 if counter else np.float32)
        assert counter or not np.array_equal(x, other[name])


# --- Torch ----------------------------------------------------------------------------------------


def close(actual, expected, tolerance=1e-4):
    expected = expected.detach().numpy()
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


def test_primitives_equal_torch():
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.standard_normal(shape, np.float32)  # noqa: E731
    tensor = torch.from_numpy

    for kernel, stride, padding, groups in [
        ((1, 1), 1, 0, 1),
        ((3, 3), 2, 1, 2),
        ((5, 5), 1, 2, 4),
        ((1, 7), 1, (0, 3), 1),
        ((7, 1), 1, (3, 0), 2),
        ((11, 11), 4, 0, 1),
    ]:
        x, weight, bias = draw(2, 8, 13, 12), draw(12, 8 // groups, *kernel), draw(12)
        options = {"stride": stride, "padding": padding, "groups": groups}
        expected = functional.conv2d(tensor(x), tensor(weight), tensor(bias), **options)
        close(plain.conv2d(x, weight, bias, **options), expected)

    for n in range(4, 12):
        for k, s, p in [
            (1, 2, 0),
            (2, 2, 0),
            (2, 2, 1),
            (3, 1, 1),
            (3, 2, 0),
            (3, 2, 1),
            (3, 3, 1),
        ]:
            for ceil in (False, True):
                x = draw(1, 2, n, n + 1) - 3
                expected = functional.max_pool2d(tensor(x), k, s, p, ceil_mode=ceil)
                close(plain.max_pool2d(x, k, s, p, ceil), expected)

    x = 20 * draw(2, 9, 6, 5)
    close(plain.avg_pool2d(x), functional.avg_pool2d(tensor(x), 3, 1, 1))
    close(plain.local_response_norm(x), functional.local_response_norm(tensor(x), 5))
    state = plain_states.draw(
        {f"n.{k}": (9,) for k in ("weight", "bias", "running_mean", "running_var")}
    )
    mean, var, weight, bias = (
        tensor(state[f"n.{k}"]) for k in ("running_mean", "running_var", "weight", "bias")
    )
    expected = functional.batch_norm(tensor(x), mean, var, weight, bias, eps=1e-3)
    close(plain.batch_norm(x, state, "n", 1e-3), expected)
    weight, bias = draw(4, 5), draw(4)
    close(plain.linear(x, weight, bias), functional.linear(*map(tensor, (x, weight, bias))))


def reshape_network(torch, model, name, stride):
    """Turns torchvision's network into the one for localisation."""
    nn = torch.nn
    if name.startswith("vgg16"):
        pools = [i for i, m in enumerate(model.features) if isinstance(m, nn.MaxPool2d)]
        for i in pools[{16: 4, 8: 3}[stride] :]:
            model.features[i] = nn.Identity()
    elif name == "googlenet" and stride == 8:
        model.maxpool3 = nn.Identity()
    elif name == "inception_v3":
        model.Conv2d_1a_3x3.conv.padding = 1, 1
        model.maxpool1 = model.maxpool2 = nn.MaxPool2d(3, 2, 1, ceil_mode=True)
        block = model.Mixed_6a
        for conv in (block.branch3x3.conv, block.branch3x3dbl_3.conv):
            conv.stride, conv.padding = (1, 1), (1, 1)

        def branches(x):
            double = block.branch3x3dbl_3(block.branch3x3dbl_2(block.branch3x3dbl_1(x)))
            return [block.branch3x3(x), double, nn.functional.max_pool2d(x, 3, 1, 1)]

        block._forward = branches
        if stride == 16:
            model.Mixed_6a = nn.Sequential(nn.MaxPool2d(3, 2, ceil_mode=True), block)
    elif name == "resnet50":
        for layer in [model.layer4] * (stride < 32) + [model.layer3] * (stride == 8):
            layer[0].conv2.stride = layer[0].downsample[0].stride = 1, 1
    return model.eval()


def module_of(model, name, tap, norm):
    if not name.startswith("vgg16"):
        return model.get_submodule("relu" if (name, tap) == ("resnet50", "conv1") else tap)
    index = next(i for t, i, _, _ in plain_states.vgg16_layers(norm) if t == tap)
    return model.features[index + 1 + norm]


@pytest.mark.slow
@pytest.mark.parametrize("case", [c for c in NETWORKS if c[1] not in ELSEWHERE], ids=name_of)
def test_equals_torchvision(case):
    torch = pytest.importorskip("torch")
    models = pytest.importorskip("torchvision").models
    network, name, options, _, _, channels = case
    inception = name in ("googlenet", "inception_v3")
    model = getattr(models, name)(weights=None, **({"init_weights": False} if inception else {}))
    state = plain_states.draw(plain_states.STATE[name]())
    model.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()}, strict=True)
    reshape_network(torch, model, name, options["feature_stride"])

    images, head = image(96, 2), plain_states.draw(plain_states.head_state(channels, CLASSES, 0))
    outputs = network(state | head, images, **NORMALISATION, **options)
    taps = {tap: x for tap, x in outputs.items() if tap not in ("cams", "logits")}
    expected = {}
    for tap in taps:
        module = module_of(model, name, tap, options.get("batch_norm", False))
        module.register_forward_hook(
            lambda module, inputs, y, tap=tap: expected.update({tap: y.clone()})
        )
    mean, std = (np.float32(NORMALISATION[k])[:, None, None] for k in ("mean", "std"))
    with torch.no_grad():
        model(torch.from_numpy((images - mean) / std))
    assert set(expected) == set(taps)
    for tap, x in taps.items():
        close(x, expected[tap], 1e-3)
