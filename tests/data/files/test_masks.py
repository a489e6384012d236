"""Masks: what counts as object, and what cannot be masks at all."""

import numpy as np
import pytest
from PIL import Image

from ega_jax.data.files.folder import folder_source, split_sources
from ega_jax.data.source import DataError

SIZE = 12
LEFT = np.zeros((SIZE, SIZE), np.uint8)
LEFT[:, :5] = 1
NOTHING, EVERYTHING = np.zeros_like(LEFT), np.ones_like(LEFT)
TRIMAP = np.full_like(LEFT, 2)
TRIMAP[:, :5], TRIMAP[:, 5] = 1, 3


@pytest.fixture
def split(tmp_path):
    """A function that writes masks, arrays or images, one an image, and opens the split."""

    def write(*masks, lines=None, end="png", open_=folder_source, **settings):
        ids = [f"{number}.png" for number in range(len(masks))]
        names = [f"masks/{number}.{end}" for number in range(len(masks))]
        (tmp_path / "masks").mkdir(exist_ok=True)
        for image_id, name, mask in zip(ids, names, masks, strict=True):
            Image.new("RGB", (SIZE, SIZE)).save(tmp_path / image_id)
            image = mask if isinstance(mask, Image.Image) else Image.fromarray(mask)
            image.save(tmp_path / name)
        meta = tmp_path / "meta"
        meta.mkdir(exist_ok=True)
        (meta / "image_ids.txt").write_text("\n".join(ids))
        (meta / "class_labels.txt").write_text("\n".join(f"{i},0" for i in ids))
        lines = lines or [f"{i},{name}," for i, name in zip(ids, names, strict=True)]
        (meta / "localization.txt").write_text("\n".join(lines))
        return open_(images=tmp_path, metadata=meta, **settings)

    return write


def test_the_ignore_column_may_be_left_out(split):
    source = split(LEFT, lines=["0.png,masks/0.png"])
    foreground, ignored = source.load_mask(0, SIZE)
    np.testing.assert_array_equal(foreground, LEFT > 0)
    assert not ignored.any()


def test_a_trimap_taken_for_a_mask_is_refused(split):
    with pytest.raises(DataError, match=r"(?s)every pixel of all 2 images.*\(values 1, 2, 3\).*"
                       "PxAP of 100.*trimaps.*--config.data.mask_values=trimap"):  # fmt: skip
        split(TRIMAP, TRIMAP)
    with pytest.raises(DataError, match=r"\(values 1\).* write 0 where there is no object"):
        split(EVERYTHING, EVERYTHING)


def test_trimaps_on_request(split):
    source = split(TRIMAP, TRIMAP[:, ::-1].copy(), mask_values="trimap")
    foreground, ignored = source.load_mask(0, SIZE)
    np.testing.assert_array_equal(foreground, TRIMAP == 1)
    np.testing.assert_array_equal(ignored, TRIMAP == 3)
    palette = Image.fromarray(TRIMAP).convert("P")
    palette.putdata(TRIMAP.ravel())
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 255, 0])
    foreground, _ = split(palette, mask_values="trimap").load_mask(0, SIZE)
    np.testing.assert_array_equal(foreground, TRIMAP == 1)
    with pytest.raises(DataError, match=r"masks/0.png .*'0.png' has the value 0, but a trimap"):
        split(LEFT, mask_values="trimap")


def test_masks_without_any_object(split):
    with pytest.raises(DataError, match=r"no mask has a pixel of an object, in none of 2 images"):
        split(NOTHING, NOTHING)
    # One among many that are not looked into at first.
    source = split(*[NOTHING] * 70, LEFT, *[NOTHING] * 70)
    assert source.load_mask(70, SIZE)[0].any() and not source.load_mask(69, SIZE)[0].any()


def test_palettes_count_by_their_colours(split):
    """As OpenCV, with which the reference reads masks: what is black is background."""
    image = Image.fromarray(1 - LEFT).convert("P")
    image.putdata((1 - LEFT).ravel())  # index 1 outside
    image.putpalette([255, 255, 255, 0, 0, 0])  # which is black
    np.testing.assert_array_equal(split(image).load_mask(0, SIZE)[0], LEFT > 0)


@pytest.mark.parametrize("grey", [0, 255])
def test_masks_whose_alpha_alone_has_the_shape(split, grey):
    image = Image.merge("LA", [Image.new("L", (SIZE, SIZE), grey), Image.fromarray(LEFT * 255)])
    for one in (image, image.convert("RGBA")):
        np.testing.assert_array_equal(split(one).load_mask(0, SIZE)[0], LEFT > 0)
    shape_in_grey = Image.merge("LA", [Image.fromarray(LEFT * 255), Image.fromarray(TRIMAP)])
    np.testing.assert_array_equal(split(shape_in_grey).load_mask(0, SIZE)[0], LEFT > 0)


def test_lossy_masks_are_warned_about(split, caplog):
    split(Image.fromarray(LEFT * 255), end="jpg")
    assert "some masks are JPEG files" in caplog.text


def test_a_forgotten_mask_folder(split, tmp_path):
    def without_folders(images, **settings):
        return split_sources(**settings)

    with pytest.raises(DataError, match=r"lists masks; say by --masks in which folder 'masks/0"):
        split(LEFT, open_=without_folders)
    with pytest.raises(DataError, match=r"1 of 1 mask files do not exist.*--config.data.masks"):
        split(LEFT, masks=tmp_path / "nowhere")
    sources = split(LEFT, open_=without_folders, masks=tmp_path)
    assert sources["test"].load_mask(0, SIZE)[0].any()


@pytest.mark.parametrize("check_files", [True, False])
def test_masks_that_cannot_be_read_are_named_at_start(split, tmp_path, check_files):
    def damaged(**settings):
        (tmp_path / "masks" / "0.png").write_bytes(b"no picture")
        boxless = {"check_files": check_files}
        return folder_source(**settings, **boxless)

    with pytest.raises(DataError, match=r"mask .*masks/0.png cannot be read .*of image '0.png'"):
        split(LEFT, open_=damaged)


def test_a_damaged_mask_among_many_is_named_at_start(split, tmp_path):
    """One of those that are not looked into."""

    def damaged(path, keep):
        def open_(**settings):
            path.write_bytes(path.read_bytes()[:keep])
            return folder_source(**settings)

        return open_

    masks = [LEFT] * 140
    with pytest.raises(DataError, match=r"mask .*/70.png cannot be read .*of image '70.png'"):
        split(*masks, open_=damaged(tmp_path / "masks" / "70.png", -20))
    trimaps = [TRIMAP] * 140
    trimaps[70] = TRIMAP + 1
    with pytest.raises(DataError, match=r"masks/70.png of image '70.png' has the value 4, but a"):
        split(*trimaps, mask_values="trimap")


def test_a_mask_that_lies_on_its_side(split, tmp_path):
    """Made of the stored pixels of a picture that is turned when it is read."""

    def turned(**settings):
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new("RGB", (SIZE, 2 * SIZE)).save(tmp_path / "0.png", exif=exif)
        return folder_source(**settings)

    mask = np.concatenate([LEFT, NOTHING])
    with pytest.raises(DataError, match=r"masks/0.png is 12 x 24, but its image '0.png' is read as "
                       r"24 x 12.*apply_exif"):  # fmt: skip
        split(mask, open_=turned)
    assert split(mask, open_=turned, apply_exif=False).load_mask(0, SIZE)[0].any()


def test_real_trimaps_as_masks(shared_data, tmp_path):
    """Trimaps made of real masks: refused as such, and the same as the masks on request."""
    root = shared_data / "pets3"
    masked = folder_source(
        images=root / "images", masks=root / "masks", metadata=root / "metadata/masks/val"
    )
    lines = []
    for index, image_id in enumerate(masked.image_ids):
        foreground, ignore = masked.load_mask(index, 64)
        path = tmp_path / f"{index}.png"
        Image.fromarray(np.where(foreground, 1, np.where(ignore, 3, 2)).astype(np.uint8)).save(path)
        lines.append(f"{image_id},{index}.png")
    meta = tmp_path / "meta"
    meta.mkdir()
    for name in ("image_ids.txt", "class_labels.txt"):
        (meta / name).write_bytes((root / "metadata/masks/val" / name).read_bytes())
    (meta / "localization.txt").write_text("\n".join(lines))
    settings = {"images": root / "images", "masks": tmp_path, "metadata": meta}
    with pytest.raises(DataError, match="mask_values=trimap"):
        folder_source(**settings)
    trimaps = folder_source(**settings, mask_values="trimap")
    for index in range(0, len(masked), 5):
        np.testing.assert_array_equal(trimaps.load_mask(index, 64), masked.load_mask(index, 64))
