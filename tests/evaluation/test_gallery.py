"""Images kept small: which, what of them, and that nothing of a map is lost."""

import io

import numpy as np
import pytest
from PIL import Image

from ega_jax import localization
from ega_jax.evaluation import gallery
from ega_jax.runtime.errors import ConfigError
from tests.helpers.reported import THRESHOLDS, evaluated
from tests.helpers.scored_splits import SIZE


@pytest.mark.parametrize("side", [1, 7, 256])
def test_packed_levels_are_the_same_again(side):
    levels = np.random.default_rng(side).integers(0, 256, (side, side), np.uint8)
    packed = gallery.pack_levels(levels)
    np.testing.assert_array_equal(gallery.unpack_levels(packed.tobytes()), levels)


def test_smooth_maps_are_small_and_wide_ones_shrunk():
    cam = np.random.default_rng(0).random((14, 14))
    smooth = localization.quantize(localization.score_map(cam, 224))
    assert len(gallery.pack_levels(smooth)) < 16_000 < smooth.size
    wide = np.zeros((500, 500), np.uint8)
    assert gallery.unpack_levels(gallery.pack_levels(wide).tobytes()).shape == (256, 256)


@pytest.mark.parametrize(("size", "expected"), [((64, 32), (64, 32)), ((500, 1000), (32, 64))])
def test_thumbnails_have_the_proportions_of_the_original(size, expected):
    image = np.full((64, 64, 3), 200, np.uint8)
    picture = Image.open(io.BytesIO(gallery.thumbnail(image, size).tobytes()))
    assert (picture.size, picture.format) == (expected, "JPEG")
    assert gallery.thumbnail(image, size, longest=16).size < 2000


@pytest.mark.parametrize("boxes", [True, False])
def test_boxes_at_all_thresholds_are_kept(tmp_path, boxes):
    """Also of a split without true boxes, where nothing scored them."""
    source, maps = evaluated(tmp_path, boxes=boxes)
    kept = gallery.load(tmp_path)
    assert len(kept["image_ids"]) == 25 and kept["image_ids"][[0, -1]].tolist() == ["0", "39"]
    outcomes = localization.BoxOutcomes.of_rows(kept | {"correct": None}, THRESHOLDS)
    shown = [maps[int(name)] for name in kept["image_ids"]]
    for threshold in THRESHOLDS[::9]:
        expected = [localization.boxes_at(one, threshold, False)[0] for one in shown]
        np.testing.assert_array_equal(outcomes.largest_at(threshold), expected)
    for one, packed in zip(shown, gallery.split_ragged(kept, "maps"), strict=True):
        np.testing.assert_array_equal(
            gallery.unpack_levels(packed.tobytes()), localization.quantize(one)
        )
    assert ("truths" in kept) == boxes
    if boxes:
        for name, truths in zip(
            kept["image_ids"], gallery.split_ragged(kept, "truths"), strict=True
        ):
            np.testing.assert_array_equal(truths, source.boxes[int(name)])
    assert kept["map_size"] == SIZE


def test_no_images_and_more_than_there_are(tmp_path):
    evaluated(tmp_path, number=0)
    kept = gallery.load(tmp_path)
    assert not len(kept["image_ids"]) and kept["counts/boxes/images"] == 40
    evaluated(tmp_path, number=1000, classify=False)
    kept = gallery.load(tmp_path)
    assert len(kept["image_ids"]) == 40 and "predictions" not in kept


def test_of_which_split(tmp_path):
    source, _ = evaluated(tmp_path)
    splits = {"train": source, "val": source, "test": source}
    for expected in ("test", "val"):
        assert gallery.of_sources(splits, 5, THRESHOLDS).split == expected
        splits.pop(expected)
    assert gallery.of_sources(splits, 5, THRESHOLDS) is None


def test_a_damaged_file_is_named(tmp_path):
    assert gallery.load(tmp_path) is None
    evaluated(tmp_path)
    whole = (tmp_path / gallery.FILE).read_bytes()
    for data in (b"", whole[:100], whole[:-200]):
        (tmp_path / gallery.FILE).write_bytes(data)
        with pytest.raises(ConfigError, match=r"report.npz is damaged .*--mode=eval"):
            gallery.load(tmp_path)
