"""Whatever lies in a file: it is read, or one error of ours names it."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ega_jax.data.files import masks
from ega_jax.data.files.classes import read_split
from ega_jax.data.files.headers import read_headers
from ega_jax.data.files.image_files import formats
from ega_jax.data.files.masks import check_masks, mask_loader, mask_paths
from ega_jax.data.files.metadata import Metadata
from ega_jax.data.files.pictures import read_picture
from ega_jax.data.files.score_maps import read_map
from ega_jax.data.source import DataError
from tests.helpers.inputs import any_bytes, many

# Pillow warns of what is odd, TensorFlow of nothing.
pytestmark = pytest.mark.filterwarnings("ignore")

IDS = ["a/1.png", "a/2.png", "b/3.png"]
FILES = {
    "image_ids.txt": "\n".join(IDS),
    "class_labels.txt": "\n".join(f"{i},{n}" for n, i in enumerate(IDS)),
    "image_sizes.txt": "\n".join(f"{i},40,30" for i in IDS),
    "localization.txt": "\n".join(f"{i},1,2,30.0,20" for i in IDS),
    "masks.txt": "\n".join(f"{i},{i},\n{i},m/{i}," for i in IDS),
    "class_names.txt": "ant\nbee\ncat",
}


def image(mode="RGB", kind="PNG", **options):
    rng = np.random.default_rng(0)
    channels = Image.fromarray(rng.integers(0, 256, (7, 9, 3), np.uint8)).resize((24, 17))
    buffer = io.BytesIO()
    channels.convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


EXIF = Image.Exif()
EXIF[0x0112] = 6
IMAGES = [
    image(kind="JPEG"),
    image(kind="JPEG", exif=EXIF, progressive=True),
    image("CMYK", "JPEG"),
    image(),
    image("P", exif=EXIF),
    image("LA"),
    image(kind="WEBP", exif=EXIF),
    image("RGBA", "WEBP", lossless=True),
    image(kind="BMP"),
    image("P", "GIF"),
    image(kind="TIFF", exif=EXIF),
    image(kind="TIFF", compression="tiff_lzw"),
    image(kind="JPEG2000"),
    image(kind="PPM"),
    image(kind="AVIF"),
]
TRIMAP = (np.arange(17 * 24).reshape(17, 24) % 3 + 1).astype(np.uint8)


def saved(array, save=np.save, **options):
    buffer = io.BytesIO()
    save(buffer, array, **options)
    return buffer.getvalue()


MAPS = [
    saved(np.linspace(0, 1, 35).reshape(5, 7)),
    saved(np.linspace(0, 1, 35, dtype=np.float16).reshape(7, 5)),
    saved(np.asfortranarray(np.eye(4, dtype=">f4"))),
    saved(np.eye(4), np.savez),
    saved(np.eye(4, dtype=bool), np.savez_compressed),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("any")


def lines():
    """Draws text that looks like metadata."""
    word = st.one_of(
        st.sampled_from(
            [*IDS, "", "0", "1", "-1", "3.0", "1e3", "40", "nan", "٣", "1_0", "\\", "../x"]
        ),
        st.text(max_size=4),
        st.integers().map(str),
        st.floats().map(str),
    )
    line = st.lists(word, max_size=6).map(",".join)
    return st.lists(line, max_size=5).map("\n".join).map(lambda t: t.encode("utf-8", "replace"))


@many
@given(
    file=st.sampled_from(sorted(FILES)),
    content=st.one_of(any_bytes([text.encode() for text in FILES.values()]), lines()),
    num_classes=st.sampled_from([None, 3]),
)
def test_metadata_of_any_input(folder, file, content, num_classes):
    split = folder / "metadata"
    split.mkdir(exist_ok=True)
    for name, text in FILES.items():
        (split / name).write_bytes(content if name == file else text.encode())
    try:
        metadata, names = read_split(split, None, num_classes)
    except DataError as error:
        assert str(split) in str(error)
        return
    assert len(set(metadata.image_ids)) == len(metadata.labels) == len(metadata.image_ids)
    assert 0 <= metadata.labels.min() and metadata.labels.max() < len(names)
    assert metadata.boxes is None or (metadata.boxes[:, :2] <= metadata.boxes[:, 2:]).all()


@many
@given(content=any_bytes(IMAGES), end=st.sampled_from(["jpg", "png", "webp", "tif"]))
def test_image_of_any_input(folder, content, end):
    path = folder / f"picture.{end}"
    path.write_bytes(content)
    (header,) = read_headers([str(path)])
    try:
        picture = read_picture(path)
    except DataError as error:
        assert str(path) in str(error)
        return
    assert not isinstance(header, str) and header.format in (*formats(), "MPO")
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    sides = header[:2] if header.orientation < 5 else header[1::-1]
    assert picture.shape[1::-1] == sides


@many
@given(
    content=any_bytes([*IMAGES, saved(Image.fromarray(TRIMAP), lambda b, i: i.save(b, "PNG"))]),
    values=st.sampled_from(masks.VALUES),
)
def test_mask_of_any_input(folder, content, values):
    (folder / "mask.png").write_bytes(content)
    split = Metadata(
        folder, ("a.jpg",), np.zeros(1, np.int32), masks=(("mask.png",),), ignore_masks=("",)
    )
    for read in (
        lambda: check_masks(split, folder, values),
        lambda: mask_loader(split, mask_paths(split, folder), values)(0, 8),
    ):
        try:
            result = read()
        except DataError as error:
            assert "mask.png" in str(error)
            continue
        if result is not None:
            foreground, ignored = result
            assert foreground.shape == ignored.shape == (8, 8)
            assert not (foreground & ignored).any()


@many
@given(content=any_bytes(MAPS))
def test_map_of_any_input(folder, content):
    path = folder / "a.jpg.npy"
    path.write_bytes(content)
    try:
        score_map = read_map(path)
    except DataError as error:
        assert str(path) in str(error)
        return
    assert score_map.ndim == 2 and score_map.dtype == np.float64
    assert 0 <= score_map.min() and score_map.max() <= 1
