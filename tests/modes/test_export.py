import json

import jax
import numpy as np
import pytest
from jax import export as jax_export

from ega_jax.aot import portable
from ega_jax.config import build
from ega_jax.evaluation.evaluator import restore_variables
from ega_jax.models import NETWORKS
from ega_jax.modes.export import export
from ega_jax.runtime import checkpoints
from ega_jax.runtime.sharding import Placement
from ega_jax.training import steps
from tests.helpers import tiny as network
from tests.helpers.runs import PUBLISHED, tiny


def some_images(number, size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (number, size, size, 3), np.uint8)


def assert_same(exported, config, model, variables, images):
    """Asserts that a program answers, for all classes, as the network does class by class."""
    got = jax.jit(exported.call)(images)
    reader = build.reader(config, model)
    step = jax.jit(lambda batch: steps.maps_step(variables, batch, model=model, reader=reader))
    classes = np.broadcast_to(np.arange(model.num_classes), (len(images), model.num_classes))
    want = step({"image": images, "classes": classes})
    np.testing.assert_allclose(got["probabilities"], want["scores"], atol=1e-4)
    scale = max(1.0, float(abs(want["cams"]).max()))
    np.testing.assert_allclose(got["maps"], want["cams"], atol=1e-4 * scale)


@pytest.mark.slow
def test_a_file_for_any_platform_and_number_of_images(tiny_run, tmp_path):
    workdir, results = tiny_run
    path = checkpoints.find(workdir, "last")
    config = tiny(**{"predict.size": 48})
    facts = export(config, str(tmp_path), checkpoint=str(path))
    written = json.loads((tmp_path / "export" / "network.json").read_text())
    assert written == facts
    assert facts["classes"] == json.loads((workdir / "classes.json").read_text())
    assert facts["threshold"] == results["validation"]["oracle"]["threshold"]
    assert facts["images"] == {"shape": ["batch", 48, 48, 3], "dtype": "uint8"}
    assert facts["maps"]["shape"] == ["batch", 6, 6, 10] and facts["map_size"] == 48
    assert facts["maps_by"] == config.method

    exported = jax_export.deserialize((tmp_path / "export" / "network.jax").read_bytes())
    assert exported.platforms == ("cpu", "cuda", "tpu")
    model = build.model(config, 10)
    variables = restore_variables(path, model, 32, Placement([jax.devices()[0]]))
    for number in (1, 3):
        assert_same(exported, config, model, variables, some_images(number, 48))


def test_each_platform_has_its_own_formulation(tiny_run):
    config = tiny()
    model = build.model(config, 10)
    variables = restore_variables(
        checkpoints.find(tiny_run[0], "last"), model, 32, Placement([jax.devices()[0]])
    )
    text = portable.export(config, model, variables, 32).mlir_module()
    assert text.count("stablehlo.case") > 0
    assert "sharding" not in text.replace('mhlo.sharding = "{replicated}"', "")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_every_network(name):
    config = tiny("cam")
    config.model.name = name
    config.model.width = 0.05
    config.model.batch_norm = True in NETWORKS[name].batch_norms
    config.model.feature_stride = NETWORKS[name].feature_strides[-1]
    # What compiles in seconds is run, too: local response norm, and depthwise convolutions.
    _assert_exported(config, size=64, run=name in ("alexnet", "efficientnet_lite0"))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["acol", "backprop", "ccam"])
def test_ways_to_read_a_map(method):
    config = tiny("cam")
    config.method = method
    _assert_exported(config, size=32)


@pytest.mark.slow
def test_a_reader_that_looks_again():
    config = tiny("cam")
    config.reader.name = "grad_cam_pp"
    _assert_exported(config, size=32)


def _assert_exported(config, size, run=True):
    model = build.model(config, 4)
    variables = network.variables(model, shape=(1, size, size, 3))
    exported = portable.export(config, model, variables, size)
    again = jax_export.deserialize(exported.serialize())
    assert again.platforms == ("cpu", "cuda", "tpu")
    probabilities = jax.tree.unflatten(again.out_tree, again.out_avals)["probabilities"]
    assert [str(side) for side in probabilities.shape] == ["batch", "4"]
    if run:
        assert_same(again, config, model, variables, some_images(2, size))
