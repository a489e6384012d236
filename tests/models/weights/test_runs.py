"""Another run's weights as a beginning: what is read, what is drawn, what is refused."""

import json
import shutil

import jax
import numpy as np
import pytest

from ega_jax.config import build
from ega_jax.models.norm import AUX, MAIN
from ega_jax.models.weights import load
from ega_jax.models.weights.files import WeightFileError
from ega_jax.runtime import checkpoints
from ega_jax.runtime.checkpoints import CheckpointError
from tests.helpers import tiny
from tests.helpers.runs import tiny as config_of


def network(num_classes=7, row="ega", **fields):
    """The network of the tiny run, of other classes."""
    return build.model(config_of(row, **fields), num_classes)


def fresh(model):
    return tiny.variables(model, shape=(1, 32, 32, 3))


@pytest.fixture(scope="module")
def learned(tiny_run):
    """The arrays of the tiny run's last checkpoint, by their places, and their checksums."""
    workdir, _ = tiny_run
    return checkpoints.read_manifest(checkpoints.find(workdir, "last"))["arrays"]


def checksum(array):
    return checkpoints._checksum(np.asarray(array))


@pytest.mark.parametrize("which", ["workdir", "checkpoint"])
def test_other_classes(tiny_run, learned, caplog, which):
    workdir, _ = tiny_run
    path = workdir if which == "workdir" else checkpoints.find(workdir, "last")
    model = network()
    before = fresh(model)
    with caplog.at_level("INFO"):
        after = load.load(path, model, before)
    assert jax.tree.structure(after) == jax.tree.structure(before)
    kernel = after["params"]["conv3_3"]["conv"]["kernel"]
    assert checksum(kernel) == learned["params/conv3_3/conv/kernel"]["crc32"]
    hidden = after["params"]["head"]["conv6_2"]["conv"]["kernel"]
    assert checksum(hidden) == learned["params/head/conv6_2/conv/kernel"]["crc32"]
    for collection, branch in ((MAIN, "main"), (AUX, "aux")):  # each keeps its own
        place = f"model_state/{collection}/conv1_2/bn/{branch}/mean"
        mean = after[collection]["conv1_2"]["bn"][branch]["mean"]
        assert checksum(mean) == learned[place]["crc32"]
    tiny.assert_trees_equal(
        after["params"]["head"]["classifier"], before["params"]["head"]["classifier"]
    )
    assert "drawn at random: head/classifier." in caplog.text
    assert "copy" not in caplog.text


def test_the_same_classes(tiny_run, learned):
    workdir, _ = tiny_run
    model = network(10)
    after = load.load(workdir, model, fresh(model))
    kernel = after["params"]["head"]["classifier"]["kernel"]
    assert checksum(kernel) == learned["params/head/classifier/kernel"]["crc32"]


def test_without_an_auxiliary_branch(tiny_run):
    workdir, _ = tiny_run
    model = network(row="cam")
    after = load.load(workdir, model, fresh(model))
    assert AUX not in after and "aux" not in after["params"]["conv1_2"]["bn"]


def test_another_head(tiny_run, caplog):
    workdir, _ = tiny_run
    model = network(**{"model.head_convs": 0})
    before = fresh(model)
    with caplog.at_level("INFO"):
        after = load.load(workdir, model, before)
    tiny.assert_trees_equal(after["params"]["head"], before["params"]["head"])
    assert "drawn at random: head/classifier." in caplog.text


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model.width": 0.06}, "trained with model.width=0.03, not 0.06; set --config.model.wi"),
        ({"model.input_scaling": "signed"}, "model.input_scaling='imagenet', not 'signed'"),
        ({"model.name": "resnet50"}, "trained with model.name='small_vgg', not 'resnet50'; set"),
    ],
)
def test_refuses_another_network(tiny_run, fields, message):
    workdir, _ = tiny_run
    model = network(**fields)
    variables = jax.eval_shape(
        lambda key: model.init(key, np.zeros((1, 32, 32, 3), np.float32), train=False),
        jax.random.key(0),
    )
    with pytest.raises(WeightFileError, match=message):
        load.load(workdir, model, variables)


@pytest.fixture
def copy(tiny_run, tmp_path):
    """Copies the last checkpoint, its manifest changed, to a place of its own."""
    workdir, _ = tiny_run
    place = tmp_path / "elsewhere" / "last" / "6"
    shutil.copytree(checkpoints.find(workdir, "last"), place)

    def copy(change):
        path = place / "manifest" / "metadata"
        manifest = json.loads(path.read_text())
        change(manifest)
        path.write_text(json.dumps(manifest))
        return place

    return copy


def test_a_checkpoint_says_what_it_is_wherever_it_lies(copy, learned):
    model = network(10)
    after = load.load(copy(lambda manifest: None), model, fresh(model))
    kernel = after["params"]["head"]["classifier"]["kernel"]
    assert checksum(kernel) == learned["params/head/classifier/kernel"]["crc32"]


def test_refuses_another_trunk(copy):
    """Were the config changed by hand, shapes would tell."""
    model = network(**{"model.width": 0.06})
    place = copy(lambda manifest: manifest["run"]["config"]["model"].update(width=0.06))
    with pytest.raises(
        WeightFileError, match=r"does not fit SmallVGG: .*: \[31\] there, \[61\] here"
    ):
        load.load(place, model, fresh(model))


def test_refuses_what_does_not_say_what_it_is(copy):
    """A checkpoint of an earlier version, without its workdir and with it."""
    model = network()
    place = copy(lambda manifest: manifest.pop("run"))
    with pytest.raises(WeightFileError, match="does not say what network it is of .*config.json"):
        load.load(place, model, fresh(model))
    config = {"model": {"name": "small_vgg", "width": 0.03, "batch_norm": True}}
    (place.parents[2] / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightFileError, match="KeyError: 'input_scaling'"):
        load.load(place, model, fresh(model))
    config["model"]["input_scaling"] = "imagenet"
    (place.parents[2] / "config.json").write_text(json.dumps(config))
    load.load(place, model, fresh(model))


def test_refuses_a_folder_without_a_run(tmp_path):
    model = network()
    with pytest.raises(CheckpointError, match="no checkpoint 'last'"):
        load.load(tmp_path, model, fresh(model))
