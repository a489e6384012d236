"""The examples of the pages are run as they stand, from the first block to the last."""

import re
import shutil
import sys
import types

import numpy as np
import pytest
from PIL import Image

from configs import quickstart
from ega_jax.config import build
from ega_jax.config.build import SOURCES
from ega_jax.config.check import check
from ega_jax.methods import METHODS
from ega_jax.models import NETWORKS
from tests.helpers.paths import ROOT
from tests.helpers.runs import TINY


@pytest.fixture
def page(request, monkeypatch, tmp_path, tiny_run):
    """Runs the Python of a page; returns the names that it leaves.

    In a folder with a finished run and a picture. What it registers is forgotten afterwards, and
    of the quickstart that it trains one step is made, of the tiny one.
    """
    whole = quickstart.get_config

    def tiny(row="ega"):
        config = whole(row)
        config.update_from_flattened_dict(TINY | {"steps": 1})
        return config

    for registry in (METHODS, NETWORKS, SOURCES):
        before = dict(registry)
        request.addfinalizer(lambda r=registry, b=before: (r.clear(), r.update(b)))
    for name in ("quickstart", "photos"):
        shutil.copytree(tiny_run[0], tmp_path / "runs" / name)
    picture = tmp_path / "PICTURES" / "a.jpg"
    picture.parent.mkdir()
    Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(picture)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(quickstart, "get_config", tiny)

    def run(path):
        module = types.ModuleType("example")  # dataclasses look for the module of a class
        monkeypatch.setitem(sys.modules, "example", module)
        for line, code in blocks(path):
            exec(compile("\n" * line + code, str(ROOT / path), "exec"), module.__dict__)
        return module

    return run


def blocks(path):
    """Returns the Python blocks of a page, each with the number of lines before it."""
    text = (ROOT / path).read_text(encoding="utf-8")
    found = re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(text.count("\n", 0, block.start(1)), block[1]) for block in found]


@pytest.mark.slow
def test_add_a_method(page):
    names = page("docs/add_method.md")
    assert names.results["step"] == 1
    over = names.quickstart.get_config("ega")
    over.method = "label_smoothing"
    check(over)  # EGA can be switched on over it
    assert build.objective(over).method == METHODS["label_smoothing"]() == names.LabelSmoothing()


@pytest.mark.slow
def test_add_a_network(page):
    names = page("docs/add_network.md")
    assert names.results["step"] == 1
    assert NETWORKS["three_layers"] is names.ThreeLayers


@pytest.mark.slow
def test_add_a_data_set(page):
    names = page("docs/add_dataset.md")
    assert names.results["step"] == 1
    assert names.results["test"]["images"] == names.config.data.test_images
    assert "corloc_err" in names.results["test"]["fixed"] and "pxap" not in names.results["test"]
    (x0, y0, x1, y1), *_ = names.source.boxes[0]
    image = names.source.load_image(0).numpy()
    assert image[y0 : y1 + 1, x0 : x1 + 1, 0].min() == 255  # the first is red
    assert (image[..., 0] == 255).sum() == 16 * 16


@pytest.mark.slow
def test_python_api(page):
    names = page("docs/python_api.md")
    first, second, third = names.found_in_pictures
    np.testing.assert_array_equal(first.boxes, second.boxes)  # the same picture, twice
    assert first.boxes.shape == (1, 4) and first.boxes[0, 2] < 60 and first.boxes[0, 3] < 40
    assert third.score_map.min() >= 0 and third.score_map.max() <= 1


def test_readme(page):
    names = page("README.md")
    assert names.found.class_name in names.localizer.class_names
