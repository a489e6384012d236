"""The threshold that validation found, and when it is not used."""

import json

import pytest
from etils import epath

from ega_jax.evaluation.threshold import validated_threshold
from ega_jax.runtime.errors import ConfigError
from tests.helpers.runs import tiny


@pytest.fixture
def workdir(tmp_path):
    """A folder with the figures of a run."""

    def write(validation, **fields):
        results = {"config": tiny("cam", **fields).to_dict(), "validation": validation}
        (tmp_path / "results.json").write_text(json.dumps(results))
        return epath.Path(tmp_path)

    return write


FOUND = {"oracle": {"threshold": 0.37}}


def test_that_of_the_validation_split_unless_another_is_asked_for(workdir, caplog):
    folder = workdir(FOUND)
    assert validated_threshold(tiny(), folder) == 0.37
    assert validated_threshold(tiny(**{"predict.threshold": 0.2}), folder) == 0.2
    assert not caplog.text


def test_none_where_nothing_was_found(workdir, tmp_path):
    assert validated_threshold(tiny(), None) is None
    assert validated_threshold(tiny(), epath.Path(tmp_path)) is None  # no results yet
    assert validated_threshold(tiny(), workdir({})) is None  # no boxes


def test_not_that_of_maps_that_were_read_otherwise(workdir, caplog):
    folder, layer_cam = workdir(FOUND), {"reader.name": "layer_cam"}
    assert validated_threshold(tiny(**layer_cam), folder) is None
    assert "(reader.name '' there, 'layer_cam' here) and is not used" in caplog.text
    assert f"--mode=eval --workdir={folder} --config.reader.name=layer_cam" in caplog.text
    caplog.clear()
    assert validated_threshold(tiny(**layer_cam, **{"predict.threshold": 0.4}), folder) == 0.4
    assert validated_threshold(tiny(**layer_cam), workdir(FOUND, **layer_cam)) == 0.37
    assert not caplog.text


def test_not_that_of_another_method(workdir, caplog):
    """Backprop and CCAM read networks that were trained as CAM."""
    assert validated_threshold(tiny("cam"), workdir(FOUND, method="backprop")) is None
    assert "(method 'backprop' there, 'cam' here) and is not used" in caplog.text


def test_that_of_other_views_is_told_of(workdir, caplog):
    """A guess that is nearer than none."""
    folder = workdir(FOUND, **{"predict.scales": (1.0, 2.0), "predict.flip": True})
    assert validated_threshold(tiny(**{"predict.scales": (1.0, 2.0)}), folder) == 0.37
    assert "was found in other views (predict.flip True there, False here) and is u" in caplog.text
    assert validated_threshold(tiny(), folder) == 0.37
    assert "--config.predict.flip=False '--config.predict.scales=(1.0,)'` finds" in caplog.text
    both = tiny(**{"reader.name": "layer_cam", "predict.flip": True})
    assert validated_threshold(both, folder) is None
    caplog.clear()
    same = tiny(**{"predict.scales": (1.0, 2.0), "predict.flip": True})
    assert validated_threshold(same, folder) == 0.37
    assert not caplog.text
    assert validated_threshold(tiny(**{"eval.map_size": 20}), workdir(FOUND)) == 0.37
    assert "--config.eval.map_size=20` finds another" in caplog.text
    caplog.clear()
    assert validated_threshold(tiny(**{"predict.size": 32, "eval.map_size": 32}), workdir(FOUND))
    assert not caplog.text  # 32 pixels are what it has by itself


def test_damaged_results_are_named(workdir):
    folder = workdir(FOUND)
    (folder / "results.json").write_text("{")
    with pytest.raises(ConfigError, match="results.json"):
        validated_threshold(tiny(), folder)


def test_a_run_of_before_these_fields_is_believed(workdir, caplog):
    folder = workdir(FOUND)
    results = json.loads((folder / "results.json").read_text())
    del results["config"]["reader"]
    (folder / "results.json").write_text(json.dumps(results))
    assert validated_threshold(tiny(), folder) == 0.37
    assert not caplog.text
