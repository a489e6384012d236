"""A run that leaves out training images: the same ones, and the same result, after a restart."""

import json

import numpy as np
import pytest
from PIL import Image

from configs import folder
from ega_jax.modes import train
from ega_jax.runtime.errors import ConfigError
from tests.helpers.runs import final_arrays


@pytest.mark.slow
def test_a_run_that_skips_images_is_the_same_after_a_restart(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(6):
            path = tmp_path / "data" / name / f"{number}.png"
            Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(path)
    bad = tmp_path / "data" / "cat" / "2.png"
    good = bad.read_bytes()
    bad.write_bytes(good[:-40])

    def run(workdir, **fields):
        config = folder.get_config()
        config.update_from_flattened_dict(
            {
                **{"data.root": str(tmp_path / "data"), "data.on_bad_image": "skip"},
                **{"data.resize_size": 36, "data.crop_size": 32, "batch_size": 4},
                **{"model.width": 0.03, "ega.enabled": False, "optimizer.schedule": "constant"},
                **{"optimizer.warmup_epochs": 0.0, "checkpoint.every_steps": 2},
                **fields,
            }
        )
        train.train(config, str(tmp_path / workdir))

    run("whole", steps=4)
    run("parts", steps=2)
    written = json.loads((tmp_path / "parts" / "left_out.json").read_text())
    assert written == {"cat/2.png": "is truncated or damaged"}
    bad.write_bytes(good)  # it has been left out, so it stays out
    run("parts", steps=4)
    assert final_arrays(tmp_path / "parts") == final_arrays(tmp_path / "whole")
    with pytest.raises(ConfigError, match="run has 'skip', asked for is 'refuse'"):
        run("parts", steps=6, **{"data.on_bad_image": "refuse"})
