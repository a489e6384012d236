"""OpenImages: from what its owners distribute to what the recipes read."""

import pytest

from tests.helpers.archives import zip_bytes
from tests.helpers.published_files import load, mask, run, write
from tests.helpers.published_sets import open_images


@pytest.mark.parametrize("extracted", [True, False])
def test_open_images(folders, extracted):
    images, masks = open_images(folders["metadata"])
    if extracted:
        write(folders["source"] / "OpenImages", images | masks)
    else:
        write(folders["source"], {"OpenImages_images.zip": zip_bytes(images)})
        write(folders["source"], {"OpenImages_annotations.zip": zip_bytes(masks)})
    report = run("openimages", folders)
    assert not report.problems and not report.notes
    assert {name: row.found for name, row in report.rows.items()} == {
        "train": 4, "val": 4, "val masks": 10, "test": 4, "test masks": 10
    }  # fmt: skip
    sources = load("openimages_vgg", folders["out"])
    assert sources["train"].load_mask is None and sources["val"].num_classes == 100
    foreground, ignore = sources["test"].load_mask(1, 50)
    assert foreground.any() and not ignore.any()  # it is the same area here


def test_masks_missing_bad_or_of_another_shape(folders):
    images, masks = open_images(folders["metadata"])
    names = [name for name in masks if name.startswith("val")]
    masks[names[0]] = mask((75, 100))  # on its side
    masks[names[1]] = masks[names[1]][:60]
    del masks[names[2]]
    write(folders["source"], images | masks)
    report = run("openimages", folders)
    row = report.rows["val masks"]
    assert (row.found, row.unreadable, row.wrong_size, row.missing) == (8, 1, 1, 1)
    assert list(report.problems) == ["val masks"]
    assert f"2 of 10 not found ({names[1]} is truncated" in report.problems["val masks"]
    assert f"{names[2]} is missing" in report.problems["val masks"]
    assert f"masks of another shape than their images: 1 ({names[0]})" in report.notes[0]
    assert not (folders["out"] / "metadata" / "val").exists()
    assert len(load("openimages_vgg", folders["out"])["test"]) == 4
