"""CUB: from what its owners distribute to what the recipes read."""

import io
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from ega_jax.data.prepare import cub, prepare, published
from ega_jax.data.prepare.__main__ import main
from ega_jax.data.source import DataError
from tests.helpers.archives import tar_bytes
from tests.helpers.published_files import (
    CUB,
    cub_files,
    cub_metadata,
    cub_source,
    cub_texts,
    cubv2_boxes,
    cubv2_files,
    listing,
    load,
    picture,
    run,
    write,
)


@pytest.mark.parametrize("with_metadata", [True, False])
@pytest.mark.parametrize("extracted", [True, False])
def test_cub(folders, with_metadata, extracted):
    if extracted:
        write(folders["source"], cub_files() | cubv2_files() | {"CUBV2_boxes.txt": cubv2_boxes()})
    else:
        cub_source(folders["source"])
    before = listing(folders["source"])
    if with_metadata:
        cub_metadata(folders["metadata"])
    report = run("cub", folders)
    assert not report.problems
    assert {name: row.found for name, row in report.rows.items()} == {
        "train": 6, "val": 8, "test": 6
    }  # fmt: skip
    sources = load("cub_vgg", folders["out"])
    assert {split: len(source) for split, source in sources.items()} == {
        "train": 6, "val": 8, "test": 6
    }  # fmt: skip
    assert all(source.num_classes == 200 for source in sources.values())
    # In the order of images.txt, which is not sorted.
    assert sources["train"].image_ids[:2] == tuple(row[0] for row in CUB if row[2])[:2]
    assert sources["train"].boxes[0].tolist() == [[3, 1, 26, 16]]
    assert np.bincount(sources["val"].labels).tolist()[::199] == [3, 5]  # a class has 3, not 5
    assert sources["val"].boxes[1].tolist() == [[1, 2, 31, 22]]
    first = sources["train"].image_ids[0]
    np.testing.assert_array_equal(
        sources["train"].load_image(0), Image.open(io.BytesIO(picture((40, 30), seed=0)))
    )
    if extracted:
        original = folders["source"] / "CUB_200_2011" / "images" / first
        assert os.path.samefile(original, folders["out"] / first)
    assert listing(folders["source"]) == before

    made = listing(folders["out"])
    assert not run("cub", folders).problems
    assert listing(folders["out"]) == made  # nothing was left to do


def test_metadata_of_cub_is_the_fields(folders):
    cub_source(folders["source"])
    run("cub", folders)
    cub_metadata(folders["metadata"])
    for split in ("train", "val", "test"):
        for name in published.METADATA_FILES:
            made = (folders["out"] / "metadata" / split / name).read_text()
            assert made == (folders["metadata"] / split / name).read_text()


def test_boxes_of_cub_end_inside_their_images():
    images = {"a.jpg": (0, (10, 5, 30, 25))}
    texts = cub.owners_metadata(images, {"a.jpg": (40, 30)})
    assert texts["localization.txt"] == "a.jpg,10,5,39,29"


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("images.txt", "2 001.", "1 001.", r"images.txt, line 2: .* repeats an earlier line"),
        ("images.txt", "1 001", "1 x 001", r"images.txt, line 1: .* have 2 columns"),
        ("bounding_boxes.txt", "2 1.0 1.0", "99 1.0 1.0", r"image 2 \(001.Alb.*bounding_boxes"),
        ("bounding_boxes.txt", "1 3.0", "1 three", r"image 1 \(001.Albatross.*three"),
        ("image_class_labels.txt", "1 1\n", "", r"image 1 \(001.Albatross"),
    ],
)
def test_bad_tables_of_cub(name, old, new, message):
    texts = cub_texts()
    texts[name] = texts[name].replace(old, new, 1)
    with pytest.raises(DataError, match=message):
        for split in ("train", "test"):
            cub.owners_split(texts, split)


def segmentations(images=CUB):
    """What `segmentations.tgz` holds: one of five annotators saw more of the bird."""
    files = {}
    for row in images:
        levels = np.zeros(row[4][::-1], np.uint8)
        levels[4:9, 4:16], levels[5:8, 5:12] = 51, 255
        buffer = io.BytesIO()
        Image.fromarray(levels).save(buffer, "PNG")
        files[f"segmentations/{row[0].removesuffix('.jpg')}.png"] = buffer.getvalue()
    return files


@pytest.mark.parametrize("with_metadata", [True, False])
@pytest.mark.parametrize("extracted", [True, False])
def test_segmentations_become_masks_beside_the_boxes(folders, with_metadata, extracted):
    cub_source(folders["source"])
    if with_metadata:
        cub_metadata(folders["metadata"])
    assert load_after(folders)["test"].load_mask is None
    if extracted:
        write(folders["source"] / "CUB_200_2011", segmentations())
    else:
        write(folders["source"], {"segmentations.tgz": tar_bytes(segmentations(), "w:gz")})
    # Somebody's own pictures of the same names are no segmentations.
    own = {k.replace("segmentations", "predicted"): picture((40, 30)) for k in segmentations()}
    write(folders["source"], own)
    report = run("cub", folders)
    assert not report.problems and not report.notes
    assert {name: row.found for name, row in report.rows.items()} == {
        "train": 6, "train masks": 6, "val": 8, "test": 6, "test masks": 6
    }  # fmt: skip
    sources = load("cub_vgg", folders["out"])
    assert sources["val"].load_mask is None and len(sources["val"].boxes) == 8
    assert sources["train"].boxes[0].tolist() == [[3, 1, 26, 16]]
    test = sources["test"]
    assert len(test.boxes) == 6
    bird, ignored = test.load_mask(0, 60)
    assert not ignored.any()
    # Any annotator's pixels: rows 4 to 8 of 30, columns 4 to 15 of 40.
    rows, columns = np.flatnonzero(bird.any(axis=1)), np.flatnonzero(bird.any(axis=0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (8, 17, 6, 23)

    made = listing(folders["out"])
    assert not run("cub", folders).problems
    assert listing(folders["out"]) == made
    shutil.rmtree(folders["source"])
    folders["source"].mkdir()
    write(folders["source"], {"CUBV2_boxes.txt": cubv2_boxes()})
    with_masks = dict(folders, metadata=folders["out"] / "metadata")
    assert not run("cub", with_masks).problems  # from what was laid out
    assert listing(folders["out"]) == made


def load_after(folders):
    assert not run("cub", folders).problems
    return load("cub_vgg", folders["out"])


def test_segmentations_missing_bad_or_gone(folders):
    cub_source(folders["source"])
    files = segmentations()
    names = [f"segmentations/{row[0].removesuffix('.jpg')}.png" for row in CUB if not row[2]]
    files[names[0]] = files[names[0]][:30]
    del files[names[1]]
    write(folders["source"], files)
    report = run("cub", folders)
    row = report.rows["test masks"]
    assert (row.found, row.unreadable, row.missing) == (4, 1, 1)
    assert list(report.problems) == ["test masks"]
    assert f"2 of 6 not found ({names[0]} " in report.problems["test masks"]
    assert "segmentations.tgz from https://data.caltech.edu/" in report.problems["test masks"]
    assert (folders["out"] / "metadata" / "train" / "masks.txt").exists()

    shutil.rmtree(folders["source"] / "segmentations")
    shutil.rmtree(folders["out"] / "segmentations")
    assert not run("cub", folders).problems
    assert not (folders["out"] / "metadata" / "train" / "masks.txt").exists()
    assert load("cub_vgg", folders["out"])["train"].load_mask is None


def test_cub_without_cubv2(folders, capsys):
    write(folders["source"], {"CUB_200_2011.tgz": tar_bytes(cub_files(), "w:gz")})
    cub_metadata(folders["metadata"])
    arguments = [f"--{name}={path}" for name, path in folders.items()]
    assert main(["cub", *arguments, "--subset"]) == 1
    printed = capsys.readouterr()
    assert "val                    0           8           0           0           8" in printed.out
    assert "val: 8 of 8 not found (001.Albatross/107.jpg is missing," in printed.err
    assert "Get CUBV2.tar, see https://github.com/clovaai/wsolevaluation" in printed.err
    assert load("cub_vgg", folders["out"]).keys() == {"train", "test"}
    write(folders["source"], {"CUBV2.tar": tar_bytes(cubv2_files())})
    assert main(["cub", *arguments, "--subset"]) == 0
    assert "--config.data.root=" in capsys.readouterr().out
    assert main(["cub", *arguments]) == 1
    assert "val: 8 images, but 1000 were published" in capsys.readouterr().err


def test_cub_without_any_metadata_for_cubv2(folders):
    write(folders["source"], cub_files() | cubv2_files())
    report = run("cub", folders)
    assert "or CUBV2_boxes.txt" in report.problems["val"] and len(report.problems) == 1
    rows = cubv2_boxes().split("\n")
    write(folders["source"], {"CUBV2_boxes.txt": "\n".join(rows[:-1])})
    with pytest.raises(DataError, match=r"or none for an image"):
        run("cub", folders)
    write(folders["source"], {"CUBV2_boxes.txt": "\n".join([*rows, "11797,1,1,2,2"])})
    with pytest.raises(DataError, match=r"has 9 boxes for 8 images"):
        run("cub", folders)


def test_nothing_at_all(folders):
    report = run("cub", folders, subset=False)
    with pytest.raises(DataError, match=r"(?s)train: no metadata.*images.txt.*CUB_200_2011.tgz"):
        report.require_complete()
    assert report.rows["train"].missing == 5994 and report.rows["val"].missing == 1000
    with pytest.raises(DataError, match="set --source"):
        prepare.prepare("cub", "nowhere", None, folders["out"])
