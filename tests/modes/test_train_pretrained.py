"""Runs that start from the weights of a file, and those that cannot."""

import numpy as np
import pytest

from ega_jax.models.blocks import scale
from ega_jax.models.weights.files import WeightFileError, write_safetensors
from ega_jax.modes import train
from ega_jax.runtime import checkpoints
from tests.helpers import plain_states
from tests.helpers.runs import TINY, tiny


def narrow_weights(path, width):
    """Writes a VGG16-BN trunk of the tiny run's width under torchvision's names."""
    shapes = {}
    for _, index, outputs, inputs in plain_states.vgg16_layers(batch_norm=True):
        outputs, inputs = scale(outputs, width), 3 if inputs == 3 else scale(inputs, width)
        shapes |= {f"features.{index}.weight": (outputs, inputs, 3, 3)}
        shapes |= {f"features.{index}.bias": (outputs,)}
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            shapes |= {f"features.{index + 1}.{leaf}": (outputs,)}
    state = plain_states.draw(shapes)
    write_safetensors(path, state, {})
    return state


@pytest.mark.slow
def test_starts_from_pretrained_weights(tmp_path):
    weights = tmp_path / "weights.safetensors"
    state = narrow_weights(weights, TINY["model.width"])
    fields = {"model.name": "vgg16", "model.pretrained": str(weights), "eval.every_epochs": 0.0}
    # A schedule that does not depend on the length: both steps are the same program.
    config = tiny(**fields, **{"steps": 2, "optimizer.schedule": "constant"})
    trainer = train.Trainer(config, str(tmp_path / "run"))
    with checkpoints.Checkpoints(tmp_path / "run", keep=2) as saved:
        start = trainer.start(saved)
    first = start.params["conv1_1"]
    np.testing.assert_array_equal(
        first["conv"]["kernel"], state["features.0.weight"].transpose(2, 3, 1, 0)
    )
    np.testing.assert_array_equal(first["bn"]["aux"]["scale"], state["features.1.weight"])
    for collection, branch in (("batch_stats", "main"), ("batch_stats_aux", "aux")):
        statistics = start.model_state[collection]["conv5_3"]["bn"][branch]
        np.testing.assert_array_equal(statistics["mean"], state["features.41.running_mean"])
        np.testing.assert_array_equal(statistics["var"], state["features.41.running_var"])
    results = train.train(config, str(tmp_path / "run"))
    assert results["step"] == 2
    weights.unlink()  # who goes on does not need it any more
    config.steps = 3
    assert train.train(config, str(tmp_path / "run"))["step"] == 3


def test_weights_that_are_not_there(tmp_path):
    missing = {"model.pretrained": str(tmp_path / "vgg.pth"), "model.name": "vgg16"}
    config = tiny(**missing, **{"data.name": "folder"})
    with pytest.raises(WeightFileError, match="model.pretrained=.*vgg.pth'.*no such file"):
        train.Trainer(config, str(tmp_path / "run"))  # before it looks for the data


def test_weights_that_do_not_fit_stop_the_run_at_its_start(tmp_path):
    weights = tmp_path / "weights.safetensors"
    narrow_weights(weights, 2 * TINY["model.width"])
    config = tiny(**{"model.name": "vgg16", "model.pretrained": str(weights)})
    with pytest.raises(WeightFileError, match="does not fit VGG16 .*of another shape: features.1"):
        train.train(config, str(tmp_path / "run"))
    assert not (tmp_path / "run" / "config.json").exists()
