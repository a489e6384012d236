"""The page's example runs where `ega_jax` is not, and says what the `Localizer` says."""

import sys

import numpy as np
import pytest
from PIL import Image

from ega_jax import Localizer
from ega_jax.modes.export import export
from ega_jax.runtime import checkpoints
from tests.docs.test_how_to import blocks
from tests.helpers.runs import tiny


@pytest.fixture
def exported(tiny_run, tmp_path, monkeypatch):
    """A folder with an exported network and a picture, where the package cannot be imported."""
    config = tiny()
    path = str(checkpoints.find(tiny_run[0], "last"))
    export(config, str(tmp_path / "runs" / "photos"), checkpoint=path)
    (tmp_path / "PICTURES").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (5, 5, 3), np.uint8)
    picture = Image.fromarray(pixels).resize((32, 32), Image.Resampling.BICUBIC)
    picture.save(tmp_path / "PICTURES" / "a.jpg")
    (found,) = Localizer.load(path, config=config).localize([tmp_path / "PICTURES" / "a.jpg"])
    monkeypatch.chdir(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == "ega_jax"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ega_jax", None)
    return found


@pytest.mark.slow
def test_with_jax_alone(exported, capsys):
    ((_, code),) = blocks("docs/export.md")
    with pytest.raises(ImportError):
        exec("import ega_jax")
    names = {}
    exec(code, names)
    assert names["facts"]["classes"][names["label"]] == exported.class_name
    assert names["facts"]["threshold"] == exported.threshold
    assert float(names["out"]["probabilities"].max()) == pytest.approx(exported.score, abs=1e-2)
    np.testing.assert_allclose(names["box"], exported.boxes[0], atol=1)
    assert exported.class_name in capsys.readouterr().out
