"""Weights from files: into the right place and layout, or refused with a list of what is wrong."""

import functools
import hashlib
import pickle
import subprocess
import sys

import h5py
import jax
import numpy as np
import pytest

from ega_jax.models import NETWORKS
from ega_jax.models.norm import AUX, MAIN
from ega_jax.models.vgg import STAGES
from ega_jax.models.weights import load
from ega_jax.models.weights.files import WeightFileError, read, read_metadata, write_safetensors
from tests.helpers import plain_networks as plain
from tests.helpers import plain_states, tiny
from tests.helpers.pth_writers import write_pickles, write_tar, write_zip
from tests.helpers.weight_files import variables_of


def googlenet(**changes):
    return NETWORKS["googlenet"](**({"num_classes": 7, "input_scaling": "signed"} | changes))


@pytest.fixture(scope="module")
def state():
    """All that torchvision's file holds."""
    return plain_states.draw(plain_states.STATE["googlenet"](), seed=0)


@pytest.fixture
def write(tmp_path, state):
    """Writes the state with changes (None removes a tensor) and returns the path."""

    def write(**changes):
        tensors = {k: v for k, v in (state | changes).items() if v is not None}
        write_safetensors(tmp_path / "w.safetensors", tensors, {})
        return tmp_path / "w.safetensors"

    return write


@pytest.mark.slow
def test_every_tensor_arrives(state, write):
    network = googlenet()
    before = variables_of(network)
    after = load.load(write(), network, before)
    assert jax.tree.structure(after) == jax.tree.structure(before)
    jax.tree.map(lambda a, b: np.testing.assert_equal((a.shape, a.dtype), (b.shape, b.dtype)),
                 after, before)  # fmt: skip
    block, stats = (after[c]["inception4b"]["branch2_1"] for c in ("params", MAIN))
    prefix = "inception4b.branch2.1"
    np.testing.assert_array_equal(
        block["conv"]["kernel"], state[f"{prefix}.conv.weight"].transpose(2, 3, 1, 0)
    )
    np.testing.assert_array_equal(block["bn"]["main"]["scale"], state[f"{prefix}.bn.weight"])
    np.testing.assert_array_equal(block["bn"]["main"]["bias"], state[f"{prefix}.bn.bias"])
    np.testing.assert_array_equal(stats["bn"]["main"]["mean"], state[f"{prefix}.bn.running_mean"])
    np.testing.assert_array_equal(stats["bn"]["main"]["var"], state[f"{prefix}.bn.running_var"])


@pytest.mark.slow
def test_head_stays_as_drawn(write, caplog):
    network = googlenet()
    before = variables_of(network)
    with caplog.at_level("INFO"):
        after = load.load(write(), network, before)
    tiny.assert_trees_equal(after["params"]["head"], before["params"]["head"])
    assert "drawn at random: head/classifier, head/conv6_1/bn" in caplog.text


@pytest.mark.slow
def test_auxiliary_branch_is_a_copy(write):
    network = googlenet(dual=True)
    after = load.load(write(), network, variables_of(network))
    flat = {jax.tree_util.keystr(p): v for p, v in jax.tree_util.tree_leaves_with_path(after)}
    aux = {name: value for name, value in flat.items() if "['aux']" in name}
    assert len(aux) == 4 * 47  # scale, bias, mean, var of 45 convolutions and the head's two
    for name, value in aux.items():
        main = name.replace("['aux']", "['main']").replace(AUX, MAIN)
        np.testing.assert_array_equal(value, flat[main])
        assert value is not flat[main]


@pytest.mark.slow
@pytest.mark.parametrize("classes", [1000, 5])
def test_classifier_is_kept_for_its_own_classes(tmp_path, caplog, classes):
    shapes = plain_states.STATE["resnet50"]()
    state = plain_states.draw(shapes, seed=0)
    write_safetensors(tmp_path / "resnet50.safetensors", state, {})
    network = NETWORKS["resnet50"](classes, head_convs=0)
    before = variables_of(network)
    with caplog.at_level("INFO"):
        after = load.load(tmp_path / "resnet50.safetensors", network, before)
    classifier = after["params"]["head"]["classifier"]
    if classes == 1000:
        np.testing.assert_array_equal(classifier["kernel"][0, 0], state["fc.weight"].T)
        np.testing.assert_array_equal(classifier["bias"], state["fc.bias"])
        assert "drawn at random: nothing" in caplog.text
    else:
        tiny.assert_trees_equal(classifier, before["params"]["head"]["classifier"])
        assert "drawn at random: head/classifier." in caplog.text
    down = after["params"]["layer2_0"]["downsample"]
    np.testing.assert_array_equal(
        down["conv"]["kernel"], state["layer2.0.downsample.0.weight"].transpose(2, 3, 1, 0)
    )
    np.testing.assert_array_equal(
        down["bn"]["main"]["scale"], state["layer2.0.downsample.1.weight"]
    )


def test_a_classifier_of_as_many_classes_but_more_maps_is_drawn():
    """DANet has several maps of each class."""
    network = NETWORKS["resnet50"](10, head_convs=0)
    tensors = {"fc.weight": np.zeros((10, 4)), "fc.bias": np.zeros(10)}
    names = list(tensors)
    several = {"fc.weight": (80, 4), "fc.bias": (80,)}
    assert load._without_head("file", network, tensors, several) == names
    assert load._without_head("file", network, tensors, {n: tensors[n].shape for n in names}) == []


def spoilt(state, name):
    values = state[name].copy()
    values.flat[3] = np.nan
    return values


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {"conv1.conv.weight": None}, "missing: conv1.conv.weight$"),
        (
            lambda s: {"conv1.conv.weight": None, "conv1.conv.wieght": s["conv1.conv.weight"]},
            "missing: conv1.conv.weight; unknown: conv1.conv.wieght$",
        ),
        (
            lambda s: {"conv2.conv.weight": s["conv2.conv.weight"][:, :-1]},
            r"of another shape: conv2.conv.weight \[64, 63, 1, 1\] for \[64, 64, 1, 1\]$",
        ),
        (lambda s: {"conv3.bn.bias": spoilt(s, "conv3.bn.bias")}, "not finite: conv3.bn.bias$"),
        (lambda s: {"layer1.0.conv1.weight": s["conv1.bn.bias"]}, "unknown: layer1.0.conv1.weight"),
    ],
)
def test_refuses_what_does_not_fit(state, write, change, message):
    network = googlenet()
    path = write(**change(state))
    with pytest.raises(WeightFileError, match=message) as error:
        load.load(path, network, variables_of(network))
    assert str(error.value).startswith(f"{path} does not fit GoogLeNet (width 1, with batch norm)")


@pytest.mark.slow
def test_long_lists_are_cut(write):
    network = googlenet(width=0.5)
    with pytest.raises(
        WeightFileError, match=r"\(width 0.5, with batch norm\).* and 219 more; .*width=1$"
    ):
        load.load(write(), network, variables_of(network))


@pytest.mark.slow
def test_refuses_the_wrong_input_scaling(write):
    network = googlenet(input_scaling="imagenet")
    with pytest.raises(WeightFileError, match="set --config.model.input_scaling=signed"):
        load.load(write(), network, variables_of(network))


@pytest.mark.slow
@pytest.mark.parametrize("scaling", ["imagenet", "signed"])
def test_inception_with_and_without_input_transform(tmp_path, scaling):
    """The field's and torchvision's way to use the same file."""
    state = plain_states.draw(plain_states.STATE["inception_v3"](), seed=0)
    write_safetensors(tmp_path / "inception.safetensors", state, {})
    network = NETWORKS["inception_v3"](5, input_scaling=scaling)
    after = load.load(tmp_path / "inception.safetensors", network, variables_of(network))
    kernel = after["params"]["Mixed_6e"]["branch7x7_2"]["conv"]["kernel"]
    np.testing.assert_array_equal(
        kernel, state["Mixed_6e.branch7x7_2.conv.weight"].transpose(2, 3, 1, 0)
    )
    assert kernel.shape[:2] == (1, 7)


@pytest.mark.slow
@pytest.mark.parametrize("writer", [write_zip, write_pickles, write_tar])
def test_pytorch_files(tmp_path, state, writer):
    writer(tmp_path / "googlenet.pth", state)
    network = googlenet()
    after = load.load(tmp_path / "googlenet.pth", network, variables_of(network))
    np.testing.assert_array_equal(
        after["params"]["conv1"]["conv"]["kernel"],
        state["conv1.conv.weight"].transpose(2, 3, 1, 0),
    )


def test_says_which_batch_norm_a_file_wants(write):
    network = googlenet(batch_norm=False, input_scaling="caffe")
    path = write()
    write_safetensors(path, read(path), {"input_scaling": "caffe"})
    with pytest.raises(WeightFileError, match="the file wants --config.model.batch_norm=True$"):
        load.load(path, network, variables_of(network))


def keras_file(path, *, suffixes, top=False):
    """Writes VGG16 as Keras does; returns the arrays by layer."""
    rng = np.random.default_rng(0)
    layers, inputs = {}, 3
    for stage, (channels, count) in enumerate(STAGES, start=1):
        for i in range(1, count + 1):
            kernel = rng.normal(0, 0.05, (3, 3, inputs, channels)).astype(np.float32)
            layers[f"block{stage}_conv{i}"] = kernel, rng.normal(size=channels).astype(np.float32)
            inputs = channels
        layers[f"block{stage}_pool"] = ()
    if top:
        layers |= {"predictions": (np.ones((4, 2), np.float32), np.ones(2, np.float32))}
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in layers]
        for name, arrays in layers.items():
            group = file.create_group(name)
            names = [name + suffix for suffix in suffixes[: len(arrays)]]
            group.attrs["weight_names"] = [n.encode() for n in names]
            for weight, array in zip(names, arrays, strict=True):
                group.create_dataset(weight, data=array)
    return layers


@pytest.mark.parametrize("suffixes", [("_W_1:0", "_b_1:0"), ("/kernel:0", "/bias:0")])
def test_keras(tmp_path, suffixes):
    layers = keras_file(tmp_path / "vgg16.h5", suffixes=suffixes, top=True)
    network = NETWORKS["vgg16"](5, batch_norm=False, input_scaling="caffe")
    after = load.load(tmp_path / "vgg16.h5", network, variables_of(network))["params"]
    for name, arrays in layers.items():
        if "conv" in name:
            kernel, bias = arrays
            conv = after[name.replace("block", "conv").replace("_conv", "_")]["conv"]
            expected = kernel[:, :, ::-1] if name == "block1_conv1" else kernel
            np.testing.assert_array_equal(conv["kernel"], expected)
            np.testing.assert_array_equal(conv["bias"], bias)


@pytest.mark.slow
def test_keras_sees_what_it_was_trained_on(tmp_path):
    """Its first convolution, on BGR grey levels minus the mean, against ours on RGB in [0, 1]."""
    layers = keras_file(tmp_path / "vgg16.h5", suffixes=("/kernel:0", "/bias:0"))
    network = NETWORKS["vgg16"](5, batch_norm=False, input_scaling="caffe")
    variables = load.load(tmp_path / "vgg16.h5", network, variables_of(network))
    rgb = np.random.default_rng(1).integers(0, 256, (1, 32, 32, 3)).astype(np.float32)
    bgr = (rgb[..., ::-1] - np.array([103.939, 116.779, 123.68], np.float32)).transpose(0, 3, 1, 2)
    for name in ("block1_conv1", "block1_conv2"):
        kernel, bias = layers[name]
        bgr = plain.relu(plain.conv2d(bgr, kernel.transpose(3, 2, 0, 1), bias, padding=1))
    _, features = jax.jit(functools.partial(network.apply, train=False))(variables, rgb / 255)
    np.testing.assert_allclose(
        features["conv1_2"].transpose(0, 3, 1, 2), bgr, rtol=1e-4, atol=1e-5 * bgr.max()
    )


def test_keras_needs_its_scaling(tmp_path):
    keras_file(tmp_path / "vgg16.h5", suffixes=("/kernel:0", "/bias:0"))
    network = NETWORKS["vgg16"](5, batch_norm=False)
    with pytest.raises(WeightFileError, match="input_scaling=caffe"):
        load.load(tmp_path / "vgg16.h5", network, variables_of(network))


@pytest.mark.slow
def test_running_variance_is_biased():
    """PyTorch's update takes n / (n - 1) of the batch's variance; ours the variance itself."""
    network = googlenet(width=1 / 64)
    variables = variables_of(network)
    images = np.random.default_rng(0).uniform(size=(1, 16, 16, 3)).astype(np.float32)
    apply = functools.partial(network.apply, train=True, mutable=[MAIN])
    _, update = jax.jit(apply)(variables, images)
    conv = variables["params"]["conv1"]["conv"]["kernel"]
    x = plain.conv2d(
        (images * 2 - 1).transpose(0, 3, 1, 2),
        np.asarray(conv).transpose(3, 2, 0, 1),
        stride=2,
        padding=3,
    )
    before = variables[MAIN]["conv1"]["bn"]["main"]["var"]
    after = update[MAIN]["conv1"]["bn"]["main"]["var"]
    np.testing.assert_allclose(after, 0.9 * before + 0.1 * x.var((0, 2, 3)), rtol=1e-4)
    assert np.any(np.abs(after / (0.9 * before + 0.1 * x.var((0, 2, 3), ddof=1)) - 1) > 5e-4)


@pytest.mark.slow
def test_converts_what_the_network_takes(tmp_path, state, write):
    source, target = write(), tmp_path / "converted.safetensors"
    load.convert("googlenet", source, target)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    assert read_metadata(target) == {
        "model": "googlenet",
        "source": "w.safetensors",
        "source_sha256": digest,
        "input_scaling": "signed",
    }
    converted = read(target)
    behind = ("aux1.", "aux2.", "inception5a.", "inception5b.", "fc.")
    assert set(converted) == {
        name
        for name in state
        if not name.startswith(behind) and not name.endswith("num_batches_tracked")
    }
    network = googlenet()
    before = variables_of(network)
    tiny.assert_trees_equal(load.load(target, network, before), load.load(source, network, before))


@pytest.mark.slow
def test_converts_a_classifier_of_any_size(tmp_path, capsys):
    state = plain_states.draw(plain_states.STATE["resnet50"](200), seed=0)
    write_safetensors(tmp_path / "birds.safetensors", state, {})
    load.convert("resnet50", tmp_path / "birds.safetensors", tmp_path / "out.safetensors")
    assert read(tmp_path / "out.safetensors")["fc.weight"].shape == (200, 2048)
    said = capsys.readouterr().out
    assert "267 of 320 tensors, for input_scaling=imagenet" in said
    assert "its name promises none" in said


def test_converted_keras_remembers_its_scaling(tmp_path):
    keras_file(tmp_path / "vgg16.h5", suffixes=("/kernel:0", "/bias:0"))
    load.convert("vgg16", tmp_path / "vgg16.h5", tmp_path / "vgg16.safetensors")
    assert read_metadata(tmp_path / "vgg16.safetensors")["input_scaling"] == "caffe"
    network = NETWORKS["vgg16"](5, batch_norm=False)
    with pytest.raises(WeightFileError, match="input_scaling=caffe"):
        load.load(tmp_path / "vgg16.safetensors", network, variables_of(network))


def test_a_name_that_promises_another_file(tmp_path, write):
    path = tmp_path / "googlenet-0badf00d.pth"
    write().rename(path)
    with pytest.raises(WeightFileError, match="not 0badf00d; fetch it again"):
        load.convert("googlenet", path, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.slow
def test_command(tmp_path, write):
    def run(source):
        command = [sys.executable, "-m", "ega_jax.models.weights", "--model=googlenet"]
        return subprocess.run(
            [*command, source, tmp_path / "out.safetensors"], capture_output=True, text=True
        )

    assert run(write()).returncode == 0
    assert (tmp_path / "out.safetensors").exists()

    class Attack:
        def __reduce__(self):
            return print, ("executed",)

    (tmp_path / "bad.pth").write_bytes(pickle.dumps(Attack()))
    result = run(tmp_path / "bad.pth")
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith(f"error: {tmp_path / 'bad.pth'}")
    assert "executed" not in result.stdout + result.stderr.splitlines()[0]


@pytest.mark.slow
@pytest.mark.parametrize("writer", [write_zip, write_tar])
def test_efficientnet(tmp_path, caplog, writer):
    shapes = plain_states.STATE["efficientnet_lite0"]()
    state = plain_states.draw(shapes, seed=0)
    writer(tmp_path / "lite.pth", state)
    network = NETWORKS["efficientnet_lite0"](1000, head_convs=0, input_scaling="lite", dual=True)
    with caplog.at_level("INFO"):
        after = load.load(tmp_path / "lite.pth", network, variables_of(network))
    block = after["params"]["block3"]
    np.testing.assert_array_equal(
        block["depthwise"]["conv"]["kernel"],
        state["_blocks.3._depthwise_conv.weight"].transpose(2, 3, 1, 0),
    )
    np.testing.assert_array_equal(
        after[AUX]["block3"]["project"]["bn"]["aux"]["var"], state["_blocks.3._bn2.running_var"]
    )
    assert "expand" not in after["params"]["block0"]
    np.testing.assert_array_equal(
        after["params"]["head"]["classifier"]["kernel"][0, 0], state["_fc.weight"].T
    )
    assert "Read 247 tensors" in caplog.text and "drawn at random: nothing" in caplog.text


def test_locate(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"x")
    settings = {"batch_norm": True, "width": 1.0}
    assert load.locate(str(tmp_path / "w.pth"), "vgg16", **settings) == tmp_path / "w.pth"
    with pytest.raises(WeightFileError, match="no such file or workdir; auto stands for"):
        load.locate(str(tmp_path / "other.pth"), "vgg16", **settings)
