"""The metadata files of a split, and every way in which they can be wrong."""

import numpy as np
import pytest

from ega_jax.data.files.metadata import read_metadata
from ega_jax.data.source import DataError

IDS = ["a/1.png", "a/2.png", "b/3.png"]
LABELS = ["a/1.png,0", "a/2.png,0", "b/3.png,1"]
SIZES = ["a/1.png,40,30", "a/2.png,40,30", "b/3.png,40,30"]
BOXES = ["b/3.png,5,6,40,30", "a/1.png,0,0,39,29", "b/3.png,1,2,3,4", "a/2.png,7,7,7,7"]
MASKS = ["a/1.png,1_0.png,1_ignore.png", "a/1.png,1_1.png,", "a/2.png,2.png,", "b/3.png,3.png,"]


def write(folder, **changes):
    """Write the metadata of a good split, but for `changes` (None: no such file)."""
    files = {"image_ids": IDS, "class_labels": LABELS, "image_sizes": SIZES, "localization": BOXES}
    for file, lines in (files | changes).items():
        if lines is not None:
            (folder / f"{file}.txt").write_text("\n".join(lines))
    return folder


def test_reads_metadata(tmp_path):
    metadata = read_metadata(write(tmp_path))
    assert metadata.image_ids == tuple(IDS)
    assert metadata.labels.tolist() == [0, 0, 1] and metadata.labels.dtype == np.int32
    assert metadata.image_sizes.tolist() == [[40, 30]] * 3
    boxes = [boxes.tolist() for boxes in metadata.boxes_per_image()]
    assert boxes == [[[0, 0, 39, 29]], [[7, 7, 7, 7]], [[5, 6, 40, 30], [1, 2, 3, 4]]]
    assert metadata.masks is None


def test_labels_and_sizes_are_matched_by_id(tmp_path):
    sizes = ["b/3.png,41,31", "a/1.png,40,30", "a/2.png,42,32"]
    metadata = read_metadata(write(tmp_path, class_labels=LABELS[::-1], image_sizes=sizes))
    assert metadata.labels.tolist() == [0, 0, 1]
    assert metadata.image_sizes.tolist() == [[40, 30], [42, 32], [41, 31]]


def test_reads_masks(tmp_path):
    metadata = read_metadata(write(tmp_path, localization=MASKS))
    assert metadata.masks == (("1_0.png", "1_1.png"), ("2.png",), ("3.png",))
    assert metadata.ignore_masks == ("1_ignore.png", "", "")
    assert metadata.boxes is None


def test_reads_masks_beside_boxes(tmp_path):
    metadata = read_metadata(write(tmp_path, masks=MASKS))
    assert metadata.masks == (("1_0.png", "1_1.png"), ("2.png",), ("3.png",))
    assert metadata.ignore_masks == ("1_ignore.png", "", "")
    assert len(metadata.boxes) == 4
    assert read_metadata(write(tmp_path, localization=[], masks=MASKS)).boxes is None
    assert read_metadata(write(tmp_path, masks=[])).masks is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"localization": MASKS, "masks": MASKS}, r"localization.txt and .*masks.txt both list"),
        ({"masks": MASKS[:-1]}, r"masks.txt has no line for 'b/3.png'"),
        ({"masks": BOXES}, r"masks.txt, line 1: .* has 5 columns, expected 3"),
        ({"masks": ["a/1.png,,", *MASKS[2:]]}, r"masks.txt, line 1: no mask path for 'a/1.png'"),
    ],
)
def test_bad_masks_beside_boxes(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        read_metadata(write(tmp_path, **changes))


@pytest.mark.parametrize("lines", [None, []], ids=["missing", "empty"])
def test_sizes_and_localization_are_optional(tmp_path, lines):
    metadata = read_metadata(write(tmp_path, image_sizes=lines, localization=lines))
    assert metadata.image_sizes is metadata.boxes is metadata.masks is None
    assert metadata.boxes_per_image() is None


def test_accepts_windows_line_ends_byte_order_mark_and_final_newlines(tmp_path):
    write(tmp_path)
    for file in tmp_path.iterdir():
        text = file.read_text().replace("\n", "\r\n") + "\r\n\r\n"
        file.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_metadata(tmp_path).image_ids == tuple(IDS)


@pytest.mark.parametrize(
    ("file", "lines", "message"),
    [
        ("image_ids", None, r"image_ids.txt does not exist"),
        ("image_ids", [], r"image_ids.txt is empty"),
        ("image_ids", [*IDS, "a/1.png"], r"image_ids.txt, line 4: 'a/1.png' again"),
        ("image_ids", ["a/1.png", "x,y.png"], r"line 2: 'x,y.png' has 2 columns.*commas"),
        ("image_ids", ["a/1.png", "", "b/3.png"], r"image_ids.txt, line 2: '' has"),
        ("image_ids", ["a/1.png", "/a/2.png"], r"line 2: '/a/2.png' has an absolute path; ids are"),
        ("image_ids", ["a/1.png", "C:\\2.png"], r"line 2: 'C:/2.png' has an absolute path"),
        ("image_ids", ["a/../../1.png"], r"line 1: 'a/../../1.png' leads out of its folder"),
        ("image_ids", IDS[:2], r"class_labels.txt, line 3: image 'b/3.png' is not in image_ids"),
        ("image_ids", [*IDS, "c", "d"], r"class_labels.txt has no line for 'c' \(and 1 more"),
        ("class_labels", None, r"class_labels.txt does not exist"),
        ("class_labels", [*LABELS, "a/2.png,1"], r"line 4: image 'a/2.png' again"),
        ("class_labels", [*LABELS[:2], "b/3.png,cat"], r"line 3: 'cat' is not an integer"),
        (
            "class_labels",
            [*LABELS[:2], "b/3.png,1.5"],
            r"line 3: '1.5' is not an integer; round it",
        ),
        ("class_labels", [*LABELS[:2], "b/3.png,-1"], r"line 3: label -1 of 'b/3.png'"),
        ("class_labels", [*LABELS[:2], "b/3.png,7"], r"line 3: label 7 .* expected 0 to 4"),
        ("class_labels", [*LABELS[:2], "b/3.png,99999999999999999999"], r"line 3: 9+ is out of"),
        ("class_labels", [*LABELS[:2], "b/3.png"], r"class_labels.txt, line 3: .* 1 columns"),
        ("image_sizes", SIZES[:2], r"image_sizes.txt has no line for 'b/3.png'"),
        ("image_sizes", [*SIZES[:2], "b/3.png,0,9"], r"image_sizes.txt, line 3: size 0 x 9"),
        ("image_sizes", [*SIZES, SIZES[0]], r"line 4: image 'a/1.png' again"),
        ("localization", ["a/1.png,1,2,3"], r"line 1: .* 4 columns, expected 5 or 3"),
        ("localization", [*BOXES, "a/1.png,m.png,"], r"line 5: .* 3 columns"),
        ("localization", BOXES[:3], r"localization.txt has no line for 'a/2.png'"),
        ("localization", [*BOXES, "zoo,1,2,3,4"], r"line 5: image 'zoo' is not in image_ids"),
        ("localization", [*BOXES, "a/2.png,1,2,41,4"], r"line 5: box 1,2,41,4 .* 40 x 30"),
        ("localization", [*BOXES, "a/2.png,1,2,3,31"], r"line 5: box 1,2,3,31 .* 40 x 30"),
        ("localization", [*BOXES, "a/2.png,-1,2,3,4"], r"line 5: box -1,2,3,4 of"),
        ("localization", [*BOXES, "a/2.png,1,-2,3,4"], r"line 5: box 1,-2,3,4 of"),
        ("localization", [*BOXES, "a/2.png,9,2,3,4"], r"line 5: box 9,2,3,4 of"),
        ("localization", [*BOXES, "a/2.png,1,9,3,4"], r"line 5: box 1,9,3,4 of"),
        ("localization", [*MASKS, "a/1.png,5.png,i.png"], r"line 5: ignore mask 'i.png' on a"),
        ("localization", ["a/1.png,,i.png", *MASKS[2:]], r"line 1: no mask path for 'a/1.png'"),
    ],
)
def test_bad_metadata(tmp_path, file, lines, message):
    write(tmp_path, **{file: lines})
    with pytest.raises(DataError, match=message):
        read_metadata(tmp_path, num_classes=5)


def test_metadata_that_is_not_text(tmp_path):
    write(tmp_path)
    (tmp_path / "image_ids.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="image_ids.txt is not a UTF-8 text file"):
        read_metadata(tmp_path)


@pytest.mark.parametrize(
    ("split_name", "images", "classes", "boxes", "masks"),
    [
        ("CUB/train", 5994, 200, 5994, None),
        ("CUB/val", 1000, 200, 1000, None),
        ("CUB/test", 5794, 200, 5794, None),
        ("ILSVRC/val", 10_000, 1000, 18_532, None),
        ("ILSVRC/test", 50_000, 1000, 80_477, None),
        ("OpenImages/train", 29_819, 100, None, None),
        ("OpenImages/val", 2500, 100, None, 3854),
        ("OpenImages/test", 5000, 100, None, 7632),
    ],
)
def test_published_metadata(shared_data, split_name, images, classes, boxes, masks):
    metadata = read_metadata(shared_data / "wsol_metadata" / split_name, num_classes=classes)
    assert len(metadata.image_ids) == len(metadata.labels) == images
    assert len(np.unique(metadata.labels)) == classes
    assert (metadata.boxes is None) == (boxes is None)
    assert (metadata.masks is None) == (masks is None)
    if boxes:
        assert sum(map(len, metadata.boxes_per_image())) == boxes
        last_pixel = metadata.image_sizes[metadata.box_images] - 1
        assert (metadata.boxes[:, 2:] <= last_pixel).all()
    if masks:
        assert sum(map(len, metadata.masks)) == masks and all(metadata.ignore_masks)
