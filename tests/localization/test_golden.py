"""The figures of the reference evaluator (clovaai/wsolevaluation) on 40 maps, recorded once."""

import numpy as np
import pytest

from ega_jax import localization
from tests.helpers.paths import GOLDEN

SIZE = 224


@pytest.fixture(scope="module")
def golden():
    return dict(np.load(GOLDEN))


@pytest.fixture(scope="module")
def score_maps(golden):
    return [localization.score_map(cam, SIZE) for cam in golden["cams"]]


@pytest.fixture(scope="module")
def counts(golden, score_maps):
    counts = localization.BoxCounts(localization.thresholds(0.001))
    for index, score_map in enumerate(score_maps):
        boxes = golden["gt_boxes"][golden["gt_box_image"] == index]
        counts.add(score_map, localization.scale_boxes(boxes, golden["image_sizes"][index], SIZE))
    return counts


@pytest.mark.parametrize("row, delta", list(enumerate(("30", "50", "70"))))
def test_numbers_of_correct_images(golden, counts, row, delta):
    np.testing.assert_array_equal(counts.single[row], golden[f"v1_num_correct_{delta}"])
    np.testing.assert_array_equal(counts.multi[row], golden[f"v2_num_correct_{delta}"])


def test_max_box_acc(golden, counts):
    oracle = counts.oracle()
    assert list(oracle["max_box_acc"].values()) == golden["v1_max_box_acc"].tolist()
    assert oracle["max_box_acc_v2"] == golden["v2_max_box_acc"].mean()
    assert counts.max_box_acc_v2() == oracle["max_box_acc_v2"]


def test_largest_contour_boxes(golden, score_maps):
    thresholds = golden["largest_contour_thresholds"]
    for score_map, expected in zip(score_maps, golden["largest_contour_boxes"], strict=True):
        found = localization.boxes_at_thresholds(score_map, thresholds)
        np.testing.assert_array_equal(found.largest[found.level_of], expected)


def test_pxap(golden, score_maps):
    shape = golden["mask_shape"]
    masks, ignores = (
        np.unpackbits(golden[name])[: shape.prod()].reshape(shape) for name in ("masks", "ignores")
    )
    pixels = localization.PixelCounts(localization.thresholds(0.001))
    for score_map, mask, ignore in zip(score_maps, masks, ignores, strict=True):
        pixels.add(score_map, mask, ignore)
    assert pixels.pxap() == pytest.approx(float(golden["pxap"]), abs=1e-9)
