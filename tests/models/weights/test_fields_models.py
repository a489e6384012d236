"""Trained models of the field's code, whose heads are in their files."""

import numpy as np
import pytest

from ega_jax.models import NETWORKS
from ega_jax.models.weights import load
from ega_jax.models.weights.files import WeightFileError, write_safetensors
from tests.helpers import plain_states, tiny
from tests.helpers.pth_writers import write_zip
from tests.helpers.weight_files import variables_of


def narrow_cam_model(classes):
    """A state of the field's VGG16 CAM model, its channels divided by 16."""
    shapes = {}
    for _, place, out, inputs in plain_states.vgg16_layers(batch_norm=False):
        shapes[f"features.{place}.weight"] = (out // 16, max(3, inputs // 16), 3, 3)
        shapes[f"features.{place}.bias"] = (out // 16,)
    shapes |= {"conv6.weight": (64, 32, 3, 3), "conv6.bias": (64,)}
    return plain_states.draw(shapes | {"fc.weight": (classes, 64), "fc.bias": (classes,)})


def narrow_vgg(classes=7, **changes):
    settings = {"batch_norm": False, "head_convs": 1, "width": 1 / 16} | changes
    return NETWORKS["vgg16"](classes, **settings)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_cam_model_of_the_fields_code(tmp_path, caplog, prefix):
    """Its checkpoints hold the state dict beside the optimizer's; conv6 and fc are the head."""
    state = narrow_cam_model(7)
    write_zip(
        tmp_path / "last.pth.tar", {f"{prefix}{name}": value for name, value in state.items()}
    )
    network = narrow_vgg()
    with caplog.at_level("INFO"):
        after = load.load(tmp_path / "last.pth.tar", network, variables_of(network))["params"]
    head = after["head"]
    np.testing.assert_array_equal(
        head["conv6_1"]["conv"]["kernel"], state["conv6.weight"].transpose(2, 3, 1, 0)
    )
    np.testing.assert_array_equal(head["conv6_1"]["conv"]["bias"], state["conv6.bias"])
    np.testing.assert_array_equal(head["classifier"]["kernel"][0, 0], state["fc.weight"].T)
    np.testing.assert_array_equal(head["classifier"]["bias"], state["fc.bias"])
    assert "drawn at random: nothing." in caplog.text


def test_cam_model_of_other_classes(tmp_path, caplog):
    state = narrow_cam_model(5)
    write_safetensors(tmp_path / "cam.safetensors", state, {})
    network = narrow_vgg()
    before = variables_of(network)
    with caplog.at_level("INFO"):
        after = load.load(tmp_path / "cam.safetensors", network, before)["params"]["head"]
    tiny.assert_trees_equal(after["classifier"], before["params"]["head"]["classifier"])
    np.testing.assert_array_equal(
        after["conv6_1"]["conv"]["kernel"], state["conv6.weight"].transpose(2, 3, 1, 0)
    )
    assert "has 5 outputs, the network's 7" in caplog.text
    assert "drawn at random: head/classifier." in caplog.text


def test_cam_model_under_another_head(tmp_path, caplog):
    """Its trunk is read."""
    state = narrow_cam_model(7)
    write_safetensors(tmp_path / "cam.safetensors", state, {})
    network = narrow_vgg(head_convs=2)
    before = variables_of(network)
    with caplog.at_level("INFO"):
        after = load.load(tmp_path / "cam.safetensors", network, before)["params"]
    tiny.assert_trees_equal(after["head"], before["params"]["head"])
    np.testing.assert_array_equal(after["conv5_3"]["conv"]["bias"], state["features.28.bias"])
    assert "drawn at random: head/classifier, head/conv6_1/conv, head/conv6_2/conv" in caplog.text


def test_half_a_head_is_refused(tmp_path):
    state = narrow_cam_model(7)
    del state["conv6.bias"]
    write_safetensors(tmp_path / "cam.safetensors", state, {})
    network = narrow_vgg()
    with pytest.raises(WeightFileError, match="missing: conv6.bias; "):
        load.load(tmp_path / "cam.safetensors", network, variables_of(network))


@pytest.mark.slow
@pytest.mark.parametrize("head_batch_norm", [False, True])
def test_inception_of_the_fields_code(tmp_path, head_batch_norm):
    """Its classifier is a convolution, and its head has no batch norm."""
    state = plain_states.draw(plain_states.STATE["inception_v3"](), seed=0)
    cut = ("AuxLogits.", "Mixed_7", "fc.")
    head = {"SPG_A3_1b.0": (1024, 768, 3, 3), "SPG_A3_2b.0": (1024, 1024, 3, 3)}
    head |= {"SPG_A4": (7, 1024, 1, 1)}
    shapes = {f"{name}.weight": shape for name, shape in head.items()}
    shapes |= {f"{name}.bias": shape[:1] for name, shape in head.items()}
    head = plain_states.draw(shapes)
    trunk = {name: value for name, value in state.items() if not name.startswith(cut)}
    write_safetensors(tmp_path / "inception.safetensors", trunk | head, {})
    network = NETWORKS["inception_v3"](7, head_batch_norm=head_batch_norm)
    before = variables_of(network)
    after = load.load(tmp_path / "inception.safetensors", network, before)["params"]["head"]
    if head_batch_norm:
        tiny.assert_trees_equal(after, before["params"]["head"])
        return
    np.testing.assert_array_equal(
        after["conv6_2"]["conv"]["kernel"], head["SPG_A3_2b.0.weight"].transpose(2, 3, 1, 0)
    )
    np.testing.assert_array_equal(
        after["classifier"]["kernel"], head["SPG_A4.weight"].transpose(2, 3, 1, 0)
    )
