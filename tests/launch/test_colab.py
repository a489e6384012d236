"""The notebook: as it is kept, and run from the first cell to the last."""

import nbclient
import nbformat
import numpy as np
import pytest
from PIL import Image

from tests.helpers.paths import ROOT
from tests.helpers.runs import DRAWN, TINY

NOTEBOOK = ROOT / "launch" / "colab.ipynb"


@pytest.fixture
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def run(notebook, folder, **parameters):
    """Runs the notebook with other parameters; returns what each code cell printed and showed."""
    (place,) = [
        i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ())
    ]
    lines = [f"{name} = {value!r}" for name, value in parameters.items()]
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell("\n".join(lines)))
    nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(folder)}}
    ).execute()
    text, pictures = "", 0
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            text += output.get("text", "")
            pictures += "image/png" in output.get("data", {})
    return text, pictures


def test_kept_without_outputs_and_without_an_address(notebook):
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) >= 6
    for cell in code:
        assert cell.outputs == [] and cell.execution_count is None
    assert notebook.metadata.accelerator == "TPU"
    first = code[0].source
    assert 'REPOSITORY = ""' in first and "CHANGE THIS" in first
    assert 'DATA = ""' in first


@pytest.mark.slow
def test_runs_to_the_end_with_pictures(notebook, tmp_path):
    data = tmp_path / "data"
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (data / name).mkdir(parents=True)
        for n in range(5):
            image = Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8))
            image.save(data / name / f"{n}.png")
    # The program knows no network of the tests; without the attack it compiles in half the time.
    tiny = TINY | {"model.name": "vgg16", "ega.adversarial": False}
    small = {name: value for name, value in tiny.items() if name not in DRAWN}
    text, pictures = run(
        notebook,
        ROOT / "launch",
        QUICKSTART=tiny | {"steps": 2},
        DATA=str(data),
        FOLDER=small | {"steps": 2},
        RUNS=str(tmp_path / "runs"),
    )
    assert "This is a checkout already" in text
    assert "cpu" in text
    assert (tmp_path / "runs" / "quickstart" / "results.json").exists()
    assert (tmp_path / "runs" / "folder" / "results.json").exists()
    assert pictures == 1 + 5  # every other one of ten


@pytest.mark.slow
def test_without_pictures_of_ones_own_it_says_so(notebook):
    notebook.cells = [
        cell
        for cell in notebook.cells
        if "parameters" in cell.metadata.get("tags", ()) or "if not DATA" in cell.source
    ]
    assert len(notebook.cells) == 3
    text, pictures = run(notebook, ROOT)
    assert "DATA is empty: no second run." in text
    assert "DATA is empty: no pictures of it" in text
    assert pictures == 0


def test_outside_a_checkout_it_asks_for_the_address(notebook, tmp_path):
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="Set REPOSITORY"):
        run(notebook, tmp_path)
