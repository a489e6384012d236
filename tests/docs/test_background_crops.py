"""Pictures without an object, cut out beside the boxes of others."""

import numpy as np
import pytest
from PIL import Image

from benchmarks import background_crops
from ega_jax.data.files.metadata import read_metadata
from ega_jax.data.source import DataError


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ([(60, 10, 89, 69)], (0, 0, 60, 80)),  # on the left, over the whole height
        ([(0, 40, 99, 79)], (0, 0, 100, 40)),  # above
        ([(0, 0, 9, 9), (5, 5, 29, 79)], (30, 0, 100, 80)),  # beside both
    ],
)
def test_the_widest_strip_beside_all_boxes(boxes, expected):
    assert background_crops.empty_crop((100, 80), np.array(boxes)) == expected


@pytest.fixture
def arguments(tmp_path):
    """Two pictures: white where the object is, and one of them all object."""
    for split, box in (("train", (60, 10, 89, 69)), ("test", (0, 0, 99, 79))):
        pixels = np.zeros((80, 100, 3), np.uint8)
        pixels[box[1] : box[3] + 1, box[0] : box[2] + 1] = 255
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{split}.png")
        folder = tmp_path / "meta" / split
        folder.mkdir(parents=True)
        (folder / "image_ids.txt").write_text(f"{split}.png\n")
        (folder / "class_labels.txt").write_text(f"{split}.png,0\n")
        (folder / "localization.txt").write_text(f"{split}.png,{','.join(map(str, box))}\n")
    return [f"--{k}={tmp_path / v}" for k, v in (("images", "images"), ("metadata", "meta"))]


def test_a_set_of_two_classes(arguments, tmp_path, capsys):
    out = tmp_path / "out"
    background_crops.main([*arguments, f"--out={out}", "--smallest=50"])
    assert capsys.readouterr().out.splitlines() == [
        "train: 1 pictures, 1 crops without an object",
        "test: 1 pictures, 0 crops without an object",
    ]
    train = read_metadata(out / "metadata" / "train", 2, boxless=frozenset({1}))
    assert train.image_ids == ("object/train.png", "background/train.png")
    assert train.labels.tolist() == [0, 1]
    assert [len(boxes) for boxes in train.boxes_per_image()] == [1, 0]
    without = read_metadata(out / "metadata_without" / "train", 2)
    assert without.image_ids == train.image_ids and without.boxes is None
    tested = read_metadata(out / "metadata_without" / "test", 2)
    assert tested.image_ids == ("object/test.png",) and len(tested.boxes) == 1
    crop = np.asarray(Image.open(out / "images" / "background" / "train.png"))
    assert crop.shape == (80, 60, 3) and not crop.any()
    assert (out / "images" / "object" / "train.png").exists()
    with pytest.raises(SystemExit, match="is there already; give another --out"):
        background_crops.main([*arguments, f"--out={out}"])


def test_boxes_are_needed(arguments, tmp_path):
    (tmp_path / "meta" / "test" / "localization.txt").unlink()
    with pytest.raises(DataError, match="has no boxes of test"):
        background_crops.main([*arguments, f"--out={tmp_path / 'out'}"])
    assert not (tmp_path / "out").exists()
