"""What a workdir says its run is, and what going on with it may change."""

import dataclasses
import json

import numpy as np
import pytest

from configs import quickstart, rows
from ega_jax.config import store
from ega_jax.config.check import check
from ega_jax.config.fields import RENAMED, get_config
from ega_jax.data.source import Source
from ega_jax.methods import METHODS
from ega_jax.runtime.errors import ConfigError
from ega_jax.runtime.nested import flatten

FACTS = {"train_images": 2, "train_digest": "0"}
NAMES = ("ant", "Bär", "012.Yellow_headed_Blackbird")


def changed(fields, row="ega"):
    config = quickstart.get_config(row)
    with config.ignore_type():
        config.update_from_flattened_dict(fields)
    return config


@pytest.mark.parametrize("row", rows.ROWS)
def test_round_trip_through_a_file(tmp_path, row):
    config = quickstart.get_config(row)
    store.save(tmp_path, config, NAMES, FACTS)
    loaded = store.load(tmp_path)
    assert loaded.to_dict() == config.to_dict()
    assert isinstance(loaded.optimizer.decay_epochs, tuple)  # again: JSON has lists only
    assert loaded.ega.num_steps is None
    loaded.steps = 7  # fields without a value know their type
    check(loaded, num_devices=4)
    assert store.load_class_names(tmp_path) == list(NAMES)
    assert store.settle(loaded, config, tmp_path).to_dict() == config.to_dict()


@pytest.mark.parametrize("load", [store.load, store.load_class_names])
@pytest.mark.parametrize("content", [None, "", "{", "\x00"])
def test_unreadable_files(tmp_path, load, content):
    for name in ("config.json", "classes.json"):
        if content is not None:
            (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=r"(config|classes)\.json.*workdir of a trained model"):
        load(tmp_path)


def test_fields_that_a_file_lacks_have_their_defaults(tmp_path):
    values = get_config().to_dict()
    del values["predict"]["boxes"], values["reader"]
    values["cam"] = {"reader": "layer_cam", "layer": "head"}  # as it was called
    (tmp_path / "config.json").write_text(json.dumps(values))
    loaded = store.load(tmp_path)
    assert loaded.predict.boxes == "largest"
    assert (loaded.reader.name, loaded.reader.layer) == ("layer_cam", "head")


def test_fields_of_a_later_version_are_named(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"ega": {"telepathy": 1}}))
    with pytest.raises(ConfigError, match=r"does not know: ega\.telepathy"):
        store.load(tmp_path)


def test_names_of_free_and_renamed_fields_exist():
    known = flatten(get_config().to_dict(), ".")
    for name in (*store.FREE, *RENAMED.values()):
        assert any(field == name or field.startswith(f"{name}.") for field in known), name
    assert not RENAMED.keys() & known.keys()


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"seed": 5}, "config.seed: the run has 0, asked for is 5"),
        ({"optimizer.learning_rate": 0.5}, "learning_rate: the run has 0.1, asked for is 0.5"),
        ({"batch_size": 32}, "config.batch_size: the run has 64, asked for is 32"),
        ({"method": "has", "ega.enabled": False}, "config.method: the run has 'cam', .* 'has'"),
        ({"model.input_scaling": "signed"}, "the run has 'imagenet', asked for is 'signed'"),
        ({"data.seed": 1}, "config.data.seed"),
        ({"accumulate": 2}, "config.accumulate"),
        ({"ega.epsilon": 2.0}, "config.ega.epsilon"),
        ({"model.pretrained": "other.pth"}, "config.model.pretrained"),
    ],
)
def test_what_the_run_is_cannot_change(fields, says):
    run = quickstart.get_config()
    with pytest.raises(ConfigError, match=says) as refused:
        store.settle(run, changed(fields), "runs/x")
    for name in fields:
        assert f"config.{name}" in str(refused.value)
    assert "another --workdir" in str(refused.value)


def test_free_fields_change_and_are_listed():
    fields = {
        "steps": 900,
        "log_every_steps": 1,
        "checkpoint.keep": 9,
        "eval.threshold": 0.3,
        "reader.name": "grad_cam",
        "predict.top_k": 5,
        "data.root": "/elsewhere",
        "data.cache": "memory",
        "remat": "stages",
    }
    run = quickstart.get_config()
    settled = store.settle(run, changed(fields), "runs/x")
    assert {name: flatten(settled.to_dict(), ".")[name] for name in fields} == fields
    assert "steps: 360 -> 900" in store.changes(run, settled)
    assert len(store.changes(run, settled)) == len(fields)


def test_auto_stands_for_the_batch_size_of_the_run():
    assert store.settle(changed({"batch_size": 12}), changed({"batch_size": "auto"}), "x") == (
        changed({"batch_size": 12})
    )


@pytest.mark.parametrize("trained", METHODS)
def test_a_run_is_that_of_every_system_trained_alike(trained):
    """CAM's run is also Backprop's and CCAM's, which read other maps off the same network."""
    alike = {"cam", "backprop", "ccam"}
    run = quickstart.get_config(trained)
    for row in METHODS:
        config = quickstart.get_config(row)
        if row == trained or {row, trained} <= alike:
            assert store.settle(run, config, "x").method == row
        else:
            with pytest.raises(ConfigError, match=f"method: the run has '{trained}', .* '{row}'"):
                store.settle(run, config, "x")


def test_settings_of_other_systems_do_not_matter():
    run = quickstart.get_config("cam")
    assert store.settle(run, changed({"has.drop_rate": 0.1, "ega.epsilon": 3.0}, "cam"), "x")
    with pytest.raises(ConfigError, match=r"config\.ega\.enabled"):
        store.settle(run, changed({"ega.enabled": True}, "cam"), "x")
    has = quickstart.get_config("has")
    with pytest.raises(ConfigError, match=r"config\.has\.drop_rate"):
        store.settle(has, changed({"has.drop_rate": 0.1}, "has"), "x")


def source(ids=("a", "b"), labels=(0, 1), names=("cat", "dog")):
    return Source(
        name="made",
        image_ids=tuple(ids),
        labels=np.array(labels, np.int32),
        class_names=names,
        load_image=lambda index: None,
    )


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (source(names=("dog", "cat")), "other classes: class 0 was 'cat' and is 'dog'"),
        (source(names=("cat", "dog", "emu")), "other classes: 2 then"),
        (source(ids=("a", "c")), "other images: 2 then, 2 now"),
        (source(labels=(1, 0)), "other images"),
        (source(ids=("a", "b", "c"), labels=(0, 1, 1)), "other images: 2 then, 3 now"),
    ],
)
def test_other_data_are_refused(tmp_path, other, says):
    config = quickstart.get_config("cam")
    same = source()
    store.save(tmp_path, config, same.class_names, store.data_facts(config, same))
    store.check_data(tmp_path, tmp_path, same.class_names, store.data_facts(config, source()))
    with pytest.raises(ConfigError, match=says):
        store.check_data(tmp_path, tmp_path, other.class_names, store.data_facts(config, other))


def test_another_hierarchy_is_refused(tmp_path):
    config = quickstart.get_config("danet")
    store.save(tmp_path, config, ("cat", "dog"), store.data_facts(config, source()))
    moved = tmp_path / "moved.csv"
    with open(config.danet.hierarchy) as file:
        moved.write_text(file.read())
    config.danet.hierarchy = str(moved)
    store.check_data(tmp_path, tmp_path, ("cat", "dog"), store.data_facts(config, source()))
    moved.write_text(moved.read_text() + "\n")
    with pytest.raises(ConfigError, match=r"danet\.hierarchy: .*another hierarchy"):
        store.check_data(tmp_path, tmp_path, ("cat", "dog"), store.data_facts(config, source()))


def test_runs_of_a_version_without_facts_go_on(tmp_path):
    config = quickstart.get_config("cam")
    store.save(tmp_path, config, ("cat", "dog"), FACTS)
    (tmp_path / "data.json").unlink()
    store.check_data(tmp_path, tmp_path, ("cat", "dog"), store.data_facts(config, source()))


def test_defaults_have_one_home():
    """What a dataclass has by default is what the config has, or there is no default there."""
    from ega_jax.training.objective import Entropy, Objective

    config = get_config()
    homes = {Objective: config.ega, Entropy: config.ega}
    homes |= {cls: config[name] for name, cls in METHODS.items() if name in config}
    for cls, section in homes.items():
        for field in dataclasses.fields(cls):
            if field.name in section and field.name != "attack":
                assert field.default in (dataclasses.MISSING, section[field.name]), field.name
