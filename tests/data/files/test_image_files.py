"""Image files: every kind decodes as Pillow does, and every broken one is found."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from ega_jax.data.files.class_folders import tree_source
from ega_jax.data.files.image_files import file_loader
from ega_jax.data.source import DataError


def pixels(width, height, seed=0):
    """A smooth picture with no symmetry: `[height, width, 3]` uint8."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8))
    return np.asarray(small.resize((width, height), Image.BICUBIC))


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def load(path, data):
    """Write `data` as the only image of a class tree and load it."""
    path.parent.mkdir()
    path.write_bytes(data)
    return tree_source(path.parents[1]).load_image(0).numpy()


COLOUR = Image.fromarray(pixels(33, 21))
RGBA = Image.fromarray(np.dstack([COLOUR, COLOUR.convert("L")]))


@pytest.mark.parametrize(
    ("data", "tolerance"),
    [
        (encoded(COLOUR, "JPEG"), 0),
        (encoded(COLOUR, "JPEG", progressive=True), 0),
        (encoded(COLOUR.convert("L"), "JPEG"), 0),
        (encoded(COLOUR.convert("CMYK"), "JPEG"), 2),
        (encoded(COLOUR, "MPO"), 0),
        (encoded(COLOUR, "PNG"), 0),
        (encoded(COLOUR.convert("L"), "PNG"), 0),
        (encoded(COLOUR.convert("1"), "PNG"), 0),
        (encoded(COLOUR.convert("LA"), "PNG"), 0),
        (encoded(COLOUR.convert("P", palette=Image.Palette.ADAPTIVE), "PNG"), 0),
        (encoded(COLOUR.convert("P"), "PNG", transparency=3), 0),
        (encoded(RGBA, "PNG"), 0),  # alpha is dropped
        (encoded(COLOUR, "JPEG") + b"\0" * 100, 0),  # some cameras append data
        (encoded(COLOUR, "PNG") + b"\0" * 100, 0),
    ],
    ids="jpeg progressive grey cmyk mpo png png-grey 1-bit grey-alpha palette transparent rgba "
    "jpeg-trailer png-trailer".split(),
)
def test_decodes_as_pillow(tmp_path, data, tolerance):
    image = load(tmp_path / "c" / "1.jpg", data)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert image.dtype == np.uint8
    np.testing.assert_allclose(image.astype(int), expected, atol=tolerance)


def test_16_bit_png_keeps_the_high_byte(tmp_path):
    grey = np.asarray(COLOUR)[..., 0]
    deep = Image.fromarray(grey.astype(np.uint16) * 256 + 255 - grey)
    image = load(tmp_path / "c" / "1.png", encoded(deep, "PNG"))
    np.testing.assert_array_equal(image, np.dstack([grey] * 3))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_exif_orientations(tmp_path, kind):
    for orientation in range(10):  # 0 and 9 are undefined
        exif = Image.Exif()
        exif[0x0112] = orientation
        (tmp_path / "c").mkdir(exist_ok=True)
        COLOUR.save(tmp_path / "c" / f"{orientation}.jpg", kind, exif=exif)
    source = tree_source(tmp_path)
    stored = tree_source(tmp_path, apply_exif=False)
    for orientation in range(10):
        with Image.open(tmp_path / "c" / f"{orientation}.jpg") as image:
            upright = np.asarray(ImageOps.exif_transpose(image))
            np.testing.assert_array_equal(source.load_image(orientation), upright)
            np.testing.assert_array_equal(stored.load_image(orientation), image)
        assert tuple(source.image_sizes[orientation]) == upright.shape[1::-1]
        assert tuple(stored.image_sizes[orientation]) == COLOUR.size


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow says so, and that is enough
@pytest.mark.parametrize("exif", [b"Exif\0\0nonsense", b"Exif\0\0MM\0*\0\0\0\x08\0"])
def test_garbled_exif_is_no_exif(tmp_path, exif):
    image = load(tmp_path / "c" / "1.png", encoded(COLOUR, "PNG", exif=exif))
    np.testing.assert_array_equal(image, COLOUR)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("kept", [0.5, 0.99])
def test_truncated_files_are_found_at_start(tmp_path, kind, kept):
    data = encoded(COLOUR.resize((330, 210)), kind)
    with pytest.raises(DataError, match=r"(?s)1 of 1 image files .*c/1.jpg: is truncated"):
        load(tmp_path / "c" / "1.jpg", data[: int(len(data) * kept)])
    with pytest.raises(Exception, match="Invalid"):  # nor does decoding make grey pixels of them
        file_loader([str(tmp_path / "c" / "1.jpg")])(0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"<html>404</html>", r"is no picture of a format that can be read \(JPEG, PNG, WEBP"),
        (encoded(COLOUR, "PCX"), "is no picture of a format"),
    ],
)
def test_files_that_are_no_images(tmp_path, data, message):
    with pytest.raises(DataError, match=rf"c/1.jpg: {message}"):
        load(tmp_path / "c" / "1.jpg", data)


def test_many_bad_files_are_counted_and_a_few_named(tmp_path):
    (tmp_path / "c").mkdir()
    for number in range(9):
        (tmp_path / "c" / f"{number}.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"9 of 9 image files") as error:
        tree_source(tmp_path)
    assert str(error.value).count("is empty") == 5 and "..." in str(error.value)
