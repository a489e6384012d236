"""Each format is read back by the tool it is for, or by this project's reader of it."""

import csv
import functools
import json
import os

import numpy as np
import pytest
from PIL import Image

from ega_jax.data.convert.annotations import pixel_box, read_names
from ega_jax.data.convert.coco import read_coco
from ega_jax.data.convert.regions import fill, run_lengths
from ega_jax.data.convert.voc import read_voc
from ega_jax.data.convert.yolo import read_yolo
from ega_jax.data.export import FORMATS
from ega_jax.data.export.annotated import Annotated, Found
from ega_jax.data.export.regions import polygons_of, run_lengths_of
from ega_jax.data.export.write import check_stems, write
from ega_jax.data.source import DataError
from tests.helpers.pictures import save_pictures

SIZES = {"train/cat/a.jpg": (31, 47), "train/ünï/b.png": (20, 13), "val/cat/c 2.jpg": (9, 9)}
BOXES = {
    "train/cat/a.jpg": [(0, 0, 46, 30), (3, 5, 3, 5), (7, 2, 20, 29)],
    "train/ünï/b.png": [(1, 0, 12, 18)],
    "val/cat/c 2.jpg": [],
}
NAMES = ("cat", "ünï")


def region(box, size):
    """An ellipse in the box, or the box where it is small."""
    height, width = size
    x0, y0, x1, y1 = box
    y, x = np.mgrid[:height, :width]
    inside = (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)
    if min(x1 - x0, y1 - y0) < 4:
        return inside
    middle, half = ((x0 + x1) / 2, (y0 + y1) / 2), ((x1 - x0) / 2, (y1 - y0) / 2)
    return ((x - middle[0]) / half[0]) ** 2 + ((y - middle[1]) / half[1]) ** 2 <= 1


def found(box, size):
    return Found(box, 0.5, run_lengths_of(region(box, size)))


@pytest.fixture
def pictures():
    return [
        Annotated(
            image_id,
            image_id.split("/")[0],
            image_id.split("/")[1],
            SIZES[image_id][::-1],
            0.75,
            0.3,
            tuple(found(box, SIZES[image_id]) for box in boxes),
        )
        for image_id, boxes in BOXES.items()
    ]


@pytest.fixture
def out(tmp_path, pictures):
    root = save_pictures(tmp_path / "pictures", SIZES)
    every = functools.partial(iter, pictures)
    write(tmp_path / "out", every, FORMATS, root=root, names=NAMES)
    return tmp_path / "out"


def boxes_of(pictures, sizes=SIZES):
    """Boxes by picture, as the readers give them."""
    result = {}
    for one in pictures:
        size = sizes[one.file][::-1]
        result[one.file] = [(o.name, pixel_box(o.box, size)) for o in one.objects(size)]
    return result


def expected(split=None):
    return {
        image_id: [(image_id.split("/")[1], box) for box in boxes]
        for image_id, boxes in BOXES.items()
        if split is None or image_id.startswith(split)
    }


def test_coco(out):
    train, val = (read_coco(str(out / f"instances_{split}.json")) for split in ("train", "val"))
    assert train.names == val.names == NAMES
    assert boxes_of(train.pictures) == expected("train")
    assert boxes_of(val.pictures) == expected("val")
    size = SIZES["train/cat/a.jpg"]
    for one, box in zip(train.pictures[0].objects(None), BOXES["train/cat/a.jpg"], strict=True):
        np.testing.assert_array_equal(one.region(size[::-1]), region(box, size))


# Its compiled part warns of what NumPy 2 wants.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("regions", ["polygons", "rle", "none"])
def test_coco_by_its_own_tool(tmp_path, pictures, regions):
    tool = pytest.importorskip("pycocotools.coco")
    every = functools.partial(iter, pictures)
    write(tmp_path, every, ["coco"], root=tmp_path, names=NAMES, regions=regions)
    coco = tool.COCO(str(tmp_path / "instances_train.json"))
    assert [coco.cats[i]["name"] for i in coco.getCatIds()] == list(NAMES)
    for image in coco.loadImgs(coco.getImgIds()):
        size = image["height"], image["width"]
        assert size == SIZES[image["file_name"]]
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
        for one, box in zip(annotations, BOXES[image["file_name"]], strict=True):
            x, y, width, height = one["bbox"]
            assert (x, y, x + width - 1, y + height - 1) == box
            assert one["score"] == 0.5
            if regions == "none":
                continue
            mask = coco.annToMask(one).astype(bool)
            if regions == "rle":
                np.testing.assert_array_equal(mask, region(box, size))
            else:  # its polygons are drawn by rounded lines
                assert (mask != region(box, size)).mean() < 0.02
            assert one["area"] == region(box, size).sum()


def test_voc(out):
    root = str(out / "voc")
    annotations = read_voc(f"{root}/Annotations", f"{root}/JPEGImages")
    assert boxes_of(annotations.pictures) == expected()
    for split in ("train", "val"):
        names = f"{root}/ImageSets/Main/{split}.txt"
        listed = read_voc(f"{root}/Annotations", f"{root}/JPEGImages", names)
        assert boxes_of(listed.pictures) == expected(split)


def test_yolo(out):
    root = str(out / "yolo")
    names = read_names(f"{root}/data.yaml")
    assert names == NAMES
    annotations = read_yolo(f"{root}/labels", f"{root}/images", names)
    assert boxes_of(annotations.pictures) == expected()
    assert (out / "yolo" / "val.txt").read_text() == "./images/val/cat/c 2.jpg\n"
    assert (out / "yolo" / "labels" / "val" / "cat" / "c 2.txt").read_text() == ""


def test_csv_and_masks(out):
    rows = list(csv.DictReader(open(out / "boxes.csv", encoding="utf-8")))
    for image_id, boxes in BOXES.items():
        mine = [row for row in rows if row["image"] == image_id]
        assert [
            tuple(int(row[k]) for k in ("x0", "y0", "x1", "y1")) for row in mine if row["x0"]
        ] == (boxes)
        assert {row["split"] for row in mine} == {image_id.split("/")[0]}
        mask = np.asarray(Image.open(out / "masks" / f"{image_id}.png"))
        assert mask.shape == SIZES[image_id]
        union = np.any([region(box, SIZES[image_id]) for box in boxes] or [mask > 0], axis=0)
        np.testing.assert_array_equal(mask > 0, union)
        if boxes:
            assert mask.max() == len(boxes)


@pytest.mark.parametrize("how", ["link", "copy", "none"])
def test_pictures_are_linked_or_copied(tmp_path, pictures, how):
    root = save_pictures(tmp_path / "pictures", SIZES)
    every = functools.partial(iter, pictures)
    for _ in range(2):  # the same once more
        write(tmp_path / "out", every, ["yolo"], root=root, names=NAMES, images=how)
    place = tmp_path / "out" / "yolo" / "images" / "train" / "cat" / "a.jpg"
    assert place.is_symlink() == (how == "link") and place.exists() == (how != "none")
    if how != "none":
        assert place.read_bytes() == (root / "train/cat/a.jpg").read_bytes()


def test_copies_take_the_place_of_links(tmp_path, pictures):
    root = save_pictures(tmp_path / "pictures", SIZES)
    every = functools.partial(iter, pictures)
    for how in ("link", "copy"):
        write(tmp_path / "out", every, ["yolo"], root=root, names=NAMES, images=how)
    place = tmp_path / "out" / "yolo" / "images" / "train" / "cat" / "a.jpg"
    assert not place.is_symlink()
    assert place.read_bytes() == (root / "train/cat/a.jpg").read_bytes()


@pytest.mark.parametrize("how", ["link", "copy", "none"])
def test_pictures_of_somebody_else_are_not_removed(tmp_path, pictures, how):
    """Neither behind a link in place of our folder, nor files that nobody was to copy."""
    root = save_pictures(tmp_path / "pictures", SIZES)
    out, (first, *rest) = tmp_path / "out", pictures
    every = functools.partial(iter, pictures)
    settings = {"root": root, "names": NAMES, "images": how}
    write(out, every, ["yolo", "voc"], **{**settings, "images": "none"})
    (out / "yolo" / "images").symlink_to(root)
    own = out / "voc" / "JPEGImages" / first.image_id
    own.parent.mkdir(parents=True)
    own.write_bytes(b"put here by hand")
    gone = [first.image_id]
    write(out, functools.partial(iter, rest), ["yolo", "voc"], left_out=gone, **settings)
    assert (root / first.image_id).exists()
    assert own.exists() == (how != "copy")
    for text in ("yolo/labels/train/cat/a.txt", "voc/Annotations/train/cat/a.xml"):
        assert not (out / text).exists()


def test_lists_of_a_split_without_pictures_are_empty(tmp_path, pictures):
    """All of its boxes were rejected since."""
    formats, splits = ["coco", "voc", "yolo"], {"train", "val"}
    for left in (pictures, pictures[:2], []):
        every = functools.partial(iter, left)
        gone = [one.image_id for one in pictures if one not in left]
        write(
            *(tmp_path, every, formats),
            root="",
            names=NAMES,
            images="none",
            left_out=gone,
            splits=splits,
        )
    assert json.loads((tmp_path / "instances_val.json").read_text())["images"] == []
    for name in ("yolo/val.txt", "yolo/train.txt", "voc/ImageSets/Main/val.txt"):
        assert (tmp_path / name).read_text() == ""


def test_without_splits_all_is_for_training(tmp_path, pictures):
    plain = [Annotated(**(vars(picture) | {"split": ""})) for picture in pictures]
    written = write(
        tmp_path, functools.partial(iter, plain), FORMATS, root="", names=NAMES, images="none"
    )
    assert written["coco"] == ["instances.json"]
    assert written["yolo"] == ["yolo/train.txt", "yolo/data.yaml"]
    assert len(json.loads((tmp_path / "instances.json").read_text())["images"]) == 3
    assert "val: train.txt" in (tmp_path / "yolo" / "data.yaml").read_text()


def test_a_picture_without_a_split_is_for_training_beside_those_with_one(tmp_path, pictures):
    some = [Annotated(**(vars(pictures[0]) | {"split": ""})), *pictures[1:]]
    splits = {one.split for one in some}
    assert splits == {"", "train", "val"}
    every = functools.partial(iter, some)
    write(tmp_path, every, ["voc", "yolo"], root="", names=NAMES, images="none")
    listed = (tmp_path / "yolo" / "train.txt").read_text().split()
    assert listed == [f"./images/{one.image_id}" for one in some if one.split != "val"]
    assert len((tmp_path / "voc/ImageSets/Main/train.txt").read_text().split()) == len(listed) == 2


def test_pictures_whose_labels_trainers_would_not_find():
    check_stems(["train/images.jpg", "images_1/a.jpg"], ["yolo"])
    check_stems(["train/images/a.jpg"], ["coco", "voc"])
    with pytest.raises(DataError, match="train/images/a.jpg: trainers on yolo files would not"):
        check_stems(["a.jpg", "train/images/a.jpg"], ["yolo"])


def test_regions_there_and_back():
    rng = np.random.default_rng(0)
    for density in (0, 0.02, 0.3, 0.9, 1):
        mask = rng.random((37, 61)) < density
        np.testing.assert_array_equal(run_lengths(run_lengths_of(mask), (61, 37)), mask)
    mask = region((3, 4, 40, 30), (37, 61)) | region((30, 2, 55, 12), (37, 61))
    points = [np.array(one).reshape(-1, 2) for one in polygons_of(mask)]
    np.testing.assert_array_equal(fill(points, (61, 37)), mask)
    large = np.zeros((700, 900), bool)
    large[10:690, 5:895] = True  # runs that take several characters
    np.testing.assert_array_equal(run_lengths(run_lengths_of(large), (900, 700)), large)


def test_two_pictures_of_one_name():
    ids = ["a/x.jpg", "a/x.png", "b/x.jpg"]
    check_stems(ids, ["coco", "csv"])
    with pytest.raises(DataError, match=r"a/x.jpg and a/x.png would have the same voc file"):
        check_stems(ids, ["coco", "voc"])


def test_nothing_is_left_half_written(tmp_path, pictures):
    def cut():
        yield pictures[0]
        raise KeyboardInterrupt

    write(tmp_path, functools.partial(iter, pictures), ["csv"], root="", names=NAMES)
    before = (tmp_path / "boxes.csv").read_bytes()
    with pytest.raises(KeyboardInterrupt):
        from ega_jax.data.export.tables import write_csv

        write_csv(tmp_path, cut)
    assert (tmp_path / "boxes.csv").read_bytes() == before
    assert os.path.getsize(tmp_path / "boxes.csv") > 100
