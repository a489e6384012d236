"""Folder data: images with the field's metadata, and one folder per class."""

import numpy as np
import pytest
from PIL import Image

from ega_jax.data.files.class_folders import tree_source
from ega_jax.data.files.folder import folder_source
from ega_jax.data.source import DataError

IDS = ["a/1.png", "a/2.png", "b/3.png"]
METADATA = {
    "image_ids": IDS,
    "class_labels": ["a/1.png,0", "a/2.png,0", "b/3.png,1"],
    "image_sizes": [f"{image_id},40,30" for image_id in IDS],
    "localization": ["b/3.png,5,6,40,30", "a/1.png,0,0,9,9", "b/3.png,1,2,3,4", "a/2.png,7,7,7,7"],
}
MASKS = ["a/1.png,1_0.png,1_ignore.png", "a/1.png,1_1.png,", "a/2.png,2.png,", "b/3.png,3.png,"]


@pytest.fixture
def split(tmp_path):
    """A function that writes a split of three images, with changes, and gives its folders."""

    def write(**changes):
        metadata = tmp_path / "metadata"
        metadata.mkdir(exist_ok=True)
        for file, lines in (METADATA | changes).items():
            if lines is not None:
                (metadata / f"{file}.txt").write_text("\n".join(lines))
        for number, image_id in enumerate(IDS):
            path = tmp_path / "images" / image_id
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels(40, 30, seed=number)).save(path)
        return {"images": tmp_path / "images", "metadata": metadata}

    return write


def pixels(width, height, seed=0):
    """A smooth picture with no symmetry: `[height, width, 3]` uint8."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8))
    return np.asarray(small.resize((width, height), Image.BICUBIC))


def test_folder_source(split):
    source = folder_source(**split(), class_names=["ant", "bee"])
    assert source.name == "metadata" and len(source) == 3
    assert source.class_names == ("ant", "bee")
    assert source.boxes[2].tolist() == [[5, 6, 40, 30], [1, 2, 3, 4]]
    for index in range(3):
        np.testing.assert_array_equal(source.load_image(index), pixels(40, 30, seed=index))


def test_class_counts(split):
    folders = split()
    assert folder_source(**folders).class_names == ("0", "1")
    assert folder_source(**folders, num_classes=3).num_classes == 3
    with pytest.raises(DataError, match=r"class_labels.txt, line 3: label 1 .* expected 0 to 0"):
        folder_source(**folders, num_classes=1)
    with pytest.raises(DataError, match=r"line 3: label 1"):
        folder_source(**folders, class_names=["ant"])
    with pytest.raises(ValueError, match="num_classes=3 but 2 class names"):
        folder_source(**folders, class_names=["ant", "bee"], num_classes=3)


@pytest.mark.parametrize("lines", [None, []], ids=["missing", "empty"])
def test_sizes_and_localization_are_optional(split, lines):
    source = folder_source(**split(image_sizes=lines, localization=lines))
    assert source.boxes is None and source.load_mask is None
    assert source.image_sizes.tolist() == [[40, 30]] * 3


def test_boxes_are_checked_against_the_files_without_a_sizes_file(split):
    folders = split(image_sizes=[], localization=[f"{i},0,0,40,31" for i in IDS])
    with pytest.raises(DataError, match=r"line 1: box 0,0,40,31 of 'a/1.png' .* of 40 x 30 pixels"):
        folder_source(**folders)


def test_masks_are_united_and_ignore_excludes_them(split, tmp_path):
    folders = split(localization=MASKS)
    blank = np.zeros((30, 40), np.uint8)
    left, top, ignore = blank.copy(), blank.copy(), blank.copy()
    left[:, :10], top[:6], ignore[:12] = 1, 255, 9  # anything above 0.5 counts
    for name, mask in {
        "1_0": left, "1_1": top, "1_ignore": ignore, "2": blank, "3": np.dstack([left] * 3)
    }.items():  # fmt: skip
        Image.fromarray(mask).save(tmp_path / f"{name}.png")
    source = folder_source(**folders, masks=tmp_path)
    foreground, ignored = source.load_mask(0, 8)
    assert foreground.dtype == ignored.dtype == bool
    # Nearest pixel: row i of 8 is row floor(i * 30 / 8) of 30, so 2 rows on top, 4 to ignore.
    expected = np.zeros((8, 8), bool)
    expected[:, :2] = expected[:2] = True
    np.testing.assert_array_equal(foreground, expected)
    np.testing.assert_array_equal(ignored, (np.arange(8) < 4)[:, None] & ~expected)
    assert not source.load_mask(1, 8)[0].any()
    np.testing.assert_array_equal(source.load_mask(2, 8)[0], np.tile(np.arange(8) < 2, (8, 1)))

    (tmp_path / "2.png").write_bytes((tmp_path / "1_0.png").read_bytes()[:45])
    with pytest.raises(DataError, match=r"mask .*2.png cannot be read"):
        source.load_mask(1, 8)
    (tmp_path / "2.png").unlink()
    with pytest.raises(DataError, match=r"1 of 5 mask files .* the first is .*2.png .*'a/2.png'"):
        folder_source(**folders, masks=tmp_path)


def test_missing_images_are_named_and_counted(split):
    folders = split()
    (folders["images"] / "a" / "2.png").unlink()
    (folders["images"] / "b" / "3.png").unlink()
    with pytest.raises(DataError, match=r"(?s)2 of 3 image .*a/2.png: does not exist.*b/3.png"):
        folder_source(**folders)


def test_unchecked_files_fail_when_their_turn_comes(split):
    folders = split()
    (folders["images"] / "a" / "2.png").unlink()
    source = folder_source(**folders, check_files=False)
    np.testing.assert_array_equal(source.load_image(0), pixels(40, 30))
    with pytest.raises(Exception, match="a/2.png"):
        source.load_image(1)
    with pytest.raises(DataError, match=r"image_sizes.txt is missing or empty, and boxes need"):
        folder_source(**split(image_sizes=[]), check_files=False)


def test_annotation_for_the_stored_pixels_of_a_turned_image(split):
    folders = split()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels(40, 30)).save(folders["images"] / IDS[1], exif=exif)
    with pytest.raises(DataError, match=r"40 x 30 for 'a/2.png', .* is 30 x 40.*apply_exif=False"):
        folder_source(**folders)
    assert folder_source(**folders, apply_exif=False).load_image(1).shape == (30, 40, 3)


def test_tree_source(tmp_path):
    for name in (
        "dog/b.JPG",
        "dog/a.jpeg",
        "cat/z.PNG",
        "cat/notes.txt",
        "cat/._z.png",
        ".x/x.png",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels(9, 7)).save(tmp_path / name, "PNG")
    source = tree_source(tmp_path)
    assert source.image_ids == ("cat/z.PNG", "dog/a.jpeg", "dog/b.JPG")
    assert source.class_names == ("cat", "dog") and source.labels.tolist() == [0, 1, 1]
    assert source.image_sizes.tolist() == [[9, 7]] * 3 and source.boxes is None
    assert source.name == tmp_path.name

    given = tree_source(tmp_path, class_names=["dog", "owl", "cat"], check_files=False)
    assert given.labels.tolist() == [2, 0, 0] and given.num_classes == 3
    assert given.image_sizes is None
    with pytest.raises(DataError, match="dog: no such class; the classes are cat, owl"):
        tree_source(tmp_path, class_names=["cat", "owl"])


def test_bad_tree(tmp_path):
    with pytest.raises(DataError, match="nowhere is not a folder"):
        tree_source(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no class folders"):
        tree_source(tmp_path)
    (tmp_path / "cat").mkdir()
    with pytest.raises(DataError, match=r"cat holds no .jpg, .*add images or remove it"):
        tree_source(tmp_path)


@pytest.mark.parametrize("split_name", ["train", "val", "test"])
def test_real_photographs(shared_data, split_name):
    root = shared_data / "pets3"
    boxed = folder_source(images=root / "images", metadata=root / "metadata/boxes" / split_name)
    masked = folder_source(
        images=root / "images", masks=root / "masks", metadata=root / "metadata/masks" / split_name
    )
    assert boxed.image_ids == masked.image_ids and boxed.num_classes == 3
    for index, (width, height) in enumerate(boxed.image_sizes):
        assert boxed.load_image(index).shape == (height, width, 3)
    for index in range(0, len(boxed), 10):
        foreground, ignore = masked.load_mask(index, 64)
        ys, xs = np.nonzero(foreground | ignore)
        scale = np.tile(64 / boxed.image_sizes[index], 2)
        tight = [xs.min(), ys.min(), xs.max(), ys.max()]
        np.testing.assert_allclose(tight, boxed.boxes[index][0] * scale, atol=2)
