import json

import numpy as np
import pytest
from PIL import Image

from ega_jax.data.source import DataError
from ega_jax.modes import predict
from ega_jax.runtime import checkpoints
from ega_jax.runtime.errors import ConfigError
from tests.helpers.runs import tiny


@pytest.fixture
def pictures(tmp_path):
    """Three readable pictures of odd sizes, one in a folder, and two that cannot be read."""
    root = tmp_path / "pictures"
    rng = np.random.default_rng(0)
    for name, size in {"a.jpg": (50, 30), "b.png": (20, 70), "deep/c.JPG": (64, 64)}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(path)
    (root / "cut.jpg").write_bytes((root / "a.jpg").read_bytes()[:300])
    (root / "text.png").write_text("not a picture")
    return root


def test_predictions_and_overlays_for_what_can_be_read(tiny_run, pictures):
    workdir, results = tiny_run
    skipped = predict.predict(tiny(), str(workdir), str(pictures))
    assert [entry["image_id"] for entry in skipped] == ["cut.jpg", "text.png"]
    written = json.loads((workdir / "predictions.json").read_text())
    assert written["skipped"] == skipped
    assert [p["image_id"] for p in written["predictions"]] == ["a.jpg", "b.png", "deep/c.JPG"]
    classes = json.loads((workdir / "classes.json").read_text())
    for prediction, (height, width) in zip(
        written["predictions"], [(50, 30), (20, 70), (64, 64)], strict=True
    ):
        x0, y0, x1, y1 = prediction["box"]
        assert 0 <= x0 <= x1 < width and 0 <= y0 <= y1 < height
        assert classes[prediction["class"]] == prediction["class_name"]
        assert 1 / len(classes) <= prediction["score"] <= 1
        assert prediction["threshold"] == results["validation"]["oracle"]["threshold"]
        with Image.open(workdir / "predictions" / f"{prediction['image_id']}.png") as overlay:
            assert overlay.width == width and overlay.height > height


@pytest.mark.slow
def test_maps_and_masks_as_pictures(tiny_run, pictures, tmp_path):
    workdir, _ = tiny_run
    path = str(checkpoints.find(workdir, "last"))
    fields = {"predict.save_maps": True, "predict.save_masks": True, "predict.threshold": 0.5}
    predict.predict(tiny(**fields), str(tmp_path / "out"), str(pictures), checkpoint=path)
    for name, (height, width) in {"a.jpg": (50, 30), "deep/c.JPG": (64, 64)}.items():
        grey, mask = (
            np.asarray(Image.open(tmp_path / "out" / folder / f"{name}.png"))
            for folder in ("maps", "masks")
        )
        assert grey.shape == mask.shape == (height, width)
        assert set(np.unique(mask)) <= {0, 255}
        sure = abs(grey.astype(int) - 127.5) > 1  # rounding aside
        np.testing.assert_array_equal((grey > 127)[sure], (mask == 255)[sure])


@pytest.mark.slow
def test_top_k_gives_a_box_for_each_class_best_first(tiny_run, pictures):
    workdir, _ = tiny_run
    config = tiny(**{"predict.top_k": 3, "predict.threshold": 0.5})
    predict.predict(config, str(workdir), str(pictures))
    predictions = json.loads((workdir / "predictions.json").read_text())["predictions"]
    assert len(predictions) == 9
    for i in range(0, 9, 3):
        three = predictions[i : i + 3]
        assert len({p["class"] for p in three}) == 3
        assert three == sorted(three, key=lambda p: -p["score"])
        assert {p["threshold"] for p in three} == {0.5}


def test_a_picture_does_not_depend_on_its_batch(tiny_run, pictures):
    workdir, _ = tiny_run
    predict.predict(tiny(), str(workdir), str(pictures))
    together = json.loads((workdir / "predictions.json").read_text())["predictions"]
    predict.predict(tiny(), str(workdir), str(pictures / "deep"))
    (alone,) = json.loads((workdir / "predictions.json").read_text())["predictions"]
    assert alone["box"] == together[2]["box"] and alone["class"] == together[2]["class"]


def test_checkpoint_by_path_serves_from_elsewhere(tiny_run, pictures, tmp_path):
    workdir, results = tiny_run
    path = checkpoints.find(workdir, "best")
    predict.predict(tiny(), str(tmp_path / "out"), str(pictures), checkpoint=str(path))
    written = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert written["checkpoint"] == str(path)
    threshold = results["validation"]["oracle"]["threshold"]  # of the run that it lies in
    assert {p["threshold"] for p in written["predictions"]} == {threshold}


@pytest.mark.parametrize(
    ("fields", "images", "error", "message"),
    [
        ({"predict.top_k": 11}, "pictures", ConfigError, "top_k=11: the model has 10"),
        ({}, "nowhere", DataError, "no folder .*nowhere.*--images"),
        ({}, "empty", DataError, "holds no .jpg"),
    ],
)
def test_what_cannot_work_is_said_at_start(tiny_run, pictures, fields, images, error, message):
    workdir, _ = tiny_run
    (pictures.parent / "empty").mkdir()
    with pytest.raises(error, match=message):
        predict.predict(tiny(**fields), str(workdir), str(pictures.parent / images))
