"""Contact sheets and figures of a data set, checked on squares and on the embedded one."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from ega_jax.data.creatures.source import creatures
from ega_jax.data.source import Source, array_loader
from ega_jax.evaluation import drawing
from ega_jax.modes import inspect
from tests.helpers.runs import tiny

SIZE = 32


def squares(corners, side=16):
    """Images of one white square each, at the given x and y."""
    masks = np.zeros((len(corners), SIZE, SIZE), bool)
    for mask, (x, y) in zip(masks, corners, strict=True):
        mask[y : y + side, x : x + side] = True
    return Source(
        name="squares/all",
        image_ids=tuple(map(str, range(len(corners)))),
        labels=np.arange(len(corners), dtype=np.int32) % 2,
        class_names=("odd", "even"),
        load_image=array_loader(np.repeat(masks[..., None], 3, axis=-1).astype(np.uint8) * 255),
        image_sizes=np.full((len(corners), 2), SIZE),
        boxes=tuple(np.array([[x, y, x + side - 1, y + side - 1]]) for x, y in corners),
        load_mask=lambda i, size: (
            masks[i].repeat(size // SIZE, 0).repeat(size // SIZE, 1),
            np.zeros((size, size), bool),
        ),
    )


def test_centred_box_finds_the_squares_in_the_middle():
    source = squares([(8, 8), (8, 8), (8, 8), (0, 0)])
    figures = inspect.best_centred_box(source, map_size=SIZE)
    assert figures["corloc"] == 75.0
    assert 0.4 <= figures["width"] * figures["height"] / 50**2 <= 2  # as drawn a pixel larger


def test_mask_as_map_of_squares_on_the_grid_is_right():
    figures = inspect.score_masks(squares([(8, 8), (16, 0)]), grid=8, map_size=SIZE)
    assert figures["corloc_fixed"] == figures["corloc_oracle"] == 100.0


def test_mask_as_map_is_wrong_on_a_grid_too_coarse():
    figures = inspect.score_masks(squares([(14, 14)], side=4), grid=2, map_size=SIZE)
    assert figures["corloc_fixed"] == 0.0


def test_box_areas():
    areas = inspect.box_area_quantiles(squares([(0, 0), (3, 4)]))
    assert set(areas.values()) == {25.0}
    assert list(areas) == ["0", "5", "25", "50", "75", "95", "100"]


def test_contact_sheet_has_a_column_for_each_class():
    source = creatures("val", num_images=30)
    gap, caption = 4, 18
    for tiles, rows in ((20, 2), (24, 3), (99, 3)):
        sheet = inspect.contact_sheet(source, tiles)
        height = rows * (inspect.TILE + caption + gap) + gap
        assert sheet.shape == (height, 10 * (inspect.TILE + gap) + gap, 3)


def test_contact_sheet_draws_box_and_outline():
    sheet = inspect.contact_sheet(squares([(8, 8), (8, 8)]), 1)
    assert (sheet == drawing.RED).all(-1).sum() > 300
    bare = dataclasses.replace(squares([(8, 8), (8, 8)]), boxes=None, load_mask=None)
    assert not (inspect.contact_sheet(bare, 1) == drawing.RED).all(-1).any()


def test_inspect_leaves_a_picture_and_figures(tmp_path):
    source = creatures("test", num_images=20)
    figures = inspect.inspect(source, grid=8, map_size=64, output_dir=tmp_path, num_tiles=10)
    assert json.loads((tmp_path / "creatures_test.json").read_text()) == figures
    with Image.open(tmp_path / "creatures_test.png") as image:
        assert image.size == (10 * 196 + 4, 218)
    text = inspect.table(figures)
    assert "creatures/test: 20 images of 10 classes, 2 to 2 of each" in text
    assert "centred box" in text and "mask as map" in text


def test_figures_that_the_split_cannot_give_are_absent(tmp_path):
    source = dataclasses.replace(squares([(8, 8)] * 4), boxes=None, load_mask=None)
    figures = inspect.inspect(source, grid=8, map_size=SIZE, output_dir=tmp_path)
    assert set(figures) == {"name", "images", "images_per_class"}
    assert len(inspect.table(figures).splitlines()) == 1


def test_images_of_classes_without_an_object_have_no_figures(tmp_path):
    source = squares([(8, 8), (0, 0)] * 3)
    boxes = tuple(x if i % 2 == 0 else x[:0] for i, x in enumerate(source.boxes))
    source = dataclasses.replace(source, boxes=boxes, background=frozenset([1]))
    figures = inspect.inspect(source, grid=8, map_size=SIZE, output_dir=tmp_path)
    assert figures["images"] == 6 and figures["centred_box"]["corloc"] == 100.0
    assert set(figures["box_area"].values()) == {25.0}
    alone = dataclasses.replace(source, background=frozenset([0, 1]))
    figures = inspect.inspect(alone, grid=8, map_size=SIZE, output_dir=tmp_path)
    assert set(figures) == {"name", "images", "images_per_class"}


@pytest.mark.parametrize("split", ["val", "test"])
def test_creatures_are_a_fair_task(split):
    """A map that knows the mask is right, a box that knows nothing is wrong."""
    source = creatures(split, num_images=300)
    assert inspect.score_masks(source, grid=8, map_size=64)["corloc_fixed"] >= 95
    assert inspect.best_centred_box(source, map_size=64)["corloc"] <= 30


@pytest.mark.parametrize(
    ("model", "size", "stride", "side"),
    [("alexnet", 227, 16, 11), ("vgg16", 224, 16, 14), ("resnet50", 200, 16, 13)],
)
def test_masks_are_drawn_on_the_grid_of_the_network(model, size, stride, side):
    config = tiny("cam")
    config.model.name, config.model.feature_stride, config.model.width = model, stride, 1 / 64
    config.data.crop_size = size
    assert inspect._map_side(config, squares([(8, 8)])) == side
