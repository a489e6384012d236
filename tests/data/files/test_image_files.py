"""Image files: every kind decodes as Pillow does, and every broken one is found."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from ega_jax.data.files import headers, image_files
from ega_jax.data.files.class_folders import tree_source
from ega_jax.data.files.image_files import file_loader
from ega_jax.data.source import DataError
from ega_jax.data.tf_on_cpu import tf


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


@pytest.mark.parametrize("name", ["1.webp", "1.jpg"], ids=["named", "misnamed"])
@pytest.mark.parametrize(
    ("mode", "kind", "options"),
    [
        ("RGB", "WEBP", {"lossless": True}),
        ("RGB", "WEBP", {"quality": 80}),
        ("RGBA", "WEBP", {}),
        ("RGB", "BMP", {}),
        ("L", "BMP", {}),
        ("RGB", "TIFF", {}),
        ("RGB", "TIFF", {"compression": "tiff_lzw"}),
        ("CMYK", "TIFF", {}),
        ("P", "GIF", {}),
        ("RGB", "JPEG2000", {}),
        ("RGB", "PPM", {}),
        ("RGB", "AVIF", {}),
    ],
)
def test_other_formats_by_pillow(tmp_path, name, mode, kind, options):
    data = encoded(COLOUR.convert(mode), kind, **options)
    image = load(tmp_path / "c" / name, data)
    np.testing.assert_array_equal(image, Image.open(io.BytesIO(data)).convert("RGB"))


def test_formats_may_be_mixed_in_a_graph(tmp_path):
    """JPEG and PNG go through TensorFlow as ever, beside a WebP and in a pipeline."""
    (tmp_path / "c").mkdir()
    for name in ("1.jpg", "2.png", "3.webp", "4.bmp"):
        COLOUR.save(tmp_path / "c" / name)
    source = tree_source(tmp_path)
    graph = tf.data.Dataset.range(4).map(source.load_image, num_parallel_calls=2)
    for index, image in enumerate(graph.as_numpy_iterator()):
        np.testing.assert_array_equal(image, source.load_image(index))
        with Image.open(tmp_path / "c" / source.image_ids[index].split("/")[1]) as expected:
            np.testing.assert_array_equal(image, expected.convert("RGB"))
    only_plain = file_loader([str(tmp_path / "c" / "1.jpg")])
    np.testing.assert_array_equal(only_plain(0), source.load_image(0))
    # Unchecked, names tell the formats.
    unchecked = tree_source(tmp_path, check_files=False)
    np.testing.assert_array_equal(unchecked.load_image(2), source.load_image(2))


def test_a_set_of_jpeg_and_png_has_no_python_in_its_graph(tmp_path):
    (tmp_path / "c").mkdir()
    for name in ("1.jpg", "2.png"):
        COLOUR.save(tmp_path / "c" / name)
    for check_files in (True, False):
        load_image = tree_source(tmp_path, check_files=check_files).load_image
        graph = tf.function(load_image).get_concrete_function(tf.TensorSpec([], tf.int64))
        operations = {operation.type for operation in graph.graph.get_operations()}
        assert "DecodeJpeg" in operations
        assert not operations & {"PyFunc", "PyFuncStateless", "If", "StatelessIf"}


@pytest.mark.parametrize("kind", ["WEBP", "TIFF", "AVIF"])
def test_exif_orientations_of_other_formats(tmp_path, kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(COLOUR, kind, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    assert expected.shape == (33, 21, 3)
    np.testing.assert_array_equal(load(tmp_path / "c" / "1.png", data), expected)
    assert tree_source(tmp_path).image_sizes.tolist() == [[21, 33]]


def test_16_bit_tiff_keeps_the_high_byte_and_floats_are_refused(tmp_path):
    grey = np.asarray(COLOUR)[..., 0]
    image = load(
        tmp_path / "c" / "1.tif", encoded(Image.fromarray(grey.astype("u2") * 257), "TIFF")
    )
    np.testing.assert_array_equal(image, np.dstack([grey] * 3))
    rows = b"P5 %d %d 65535\n" % grey.shape[::-1] + (grey.astype(">u2") * 257).tobytes()
    np.testing.assert_array_equal(load(tmp_path / "e" / "1.pgm", rows), np.dstack([grey] * 3))
    with pytest.raises(DataError, match="2.tif: has pixels of more than 16 bits"):
        load(tmp_path / "d" / "2.tif", encoded(Image.fromarray(grey.astype("f4")), "TIFF"))


@pytest.mark.parametrize("kind", ["WEBP", "BMP", "TIFF", "GIF", "JPEG2000", "AVIF"])
def test_other_formats_that_are_cut_off(tmp_path, kind):
    data = encoded(COLOUR.resize((330, 210)), kind)
    with pytest.raises(
        DataError, match=r"(?s)1 of 1 image files .*c/1.jpg: (is damaged|cannot|is no)"
    ):
        load(tmp_path / "c" / "1.jpg", data[: len(data) // 2])


def test_heic_with_and_without_its_package(tmp_path, monkeypatch):
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    data = encoded(COLOUR.resize((64, 48)), "HEIF")
    image = load(tmp_path / "c" / "1.heic", data)
    np.testing.assert_array_equal(image, Image.open(io.BytesIO(data)).convert("RGB"))
    monkeypatch.setattr(image_files, "formats", lambda: ("JPEG", "PNG"))
    monkeypatch.setattr(headers, "formats", lambda: ("JPEG", "PNG"))
    with pytest.raises(DataError, match="is a HEIC picture, .*: pip install pillow-heif"):
        load(tmp_path / "d" / "1.heic", data)


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
