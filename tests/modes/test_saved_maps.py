"""Score maps that an evaluation leaves are what the scorer of any system reads."""

import shutil

import numpy as np
import pytest

from ega_jax.config import build
from ega_jax.modes import evaluate, score, train
from ega_jax.runtime.nested import flatten
from tests.helpers.runs import tiny


def write_metadata(folder, source):
    """Writes a split in the field's layout."""
    folder.mkdir(parents=True)
    lines = {
        "image_ids": source.image_ids,
        "class_labels": [
            f"{i},{label}" for i, label in zip(source.image_ids, source.labels, strict=True)
        ],
        "image_sizes": [
            f"{i},{w},{h}" for i, (w, h) in zip(source.image_ids, source.image_sizes, strict=True)
        ],
        "localization": [
            f"{i},{','.join(map(str, box))}"
            for i, boxes in zip(source.image_ids, source.boxes, strict=True)
            for box in boxes
        ],
    }
    for name, rows in lines.items():
        (folder / f"{name}.txt").write_text("\n".join(rows))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_own_maps_through_the_scorer_give_the_own_figures(tiny_run, tmp_path, mode):
    original, _ = tiny_run
    workdir = tmp_path / "run"
    shutil.copytree(original, workdir)
    config = tiny(**{"eval.save_maps": True})
    mode_of = {"train": train.train, "eval": evaluate.evaluate}[mode]
    results = mode_of(config, str(workdir))
    for split, source in build.sources(config, ("val", "test")).items():
        write_metadata(tmp_path / "meta" / split, source)
    scored = score.score(
        str(workdir / "maps"),
        str(tmp_path / "meta"),
        workdir=str(tmp_path / "scored"),
        map_size=32,
        resamples=0,
    )
    for split in ("validation", "test"):
        own = flatten(results[split])
        for name, value in flatten(scored[split]).items():
            assert own[name] == value, name
    one = np.load(workdir / "maps" / "test" / "00000.npy")
    assert one.shape == (32, 32) and one.dtype == np.float64
    assert one.min() >= 0 and one.max() <= 1
