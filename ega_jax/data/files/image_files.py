"""Decodes image files as graph code: JPEG and PNG by TensorFlow, what else there is by Pillow.

HEIC and HEIF are read where the package pillow-heif is installed. Of several pictures in a file the
first is taken, alpha is dropped, 16 bits become 8.
"""

import functools
import io
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from ega_jax.data.tf_on_cpu import tf

if TYPE_CHECKING:
    from ega_jax.data.files.headers import Headers

PLAIN = ("JPEG", "MPO", "PNG")  # formats that TensorFlow decodes
UPRIGHT = 1
_OTHERS = ("WEBP", "BMP", "TIFF", "GIF", "JPEG2000", "PPM", "AVIF")
_OTHER_NAMES = tuple(".webp .bmp .tif .tiff .gif .jp2 .ppm .pgm .avif .heic .heif".split())
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


@functools.cache
def formats() -> tuple[str, ...]:
    """Returns the names that Pillow gives to the formats that can be read here."""
    try:
        import pillow_heif
    except ImportError:
        return "JPEG", "PNG", *_OTHERS
    pillow_heif.register_heif_opener()
    return "JPEG", "PNG", *_OTHERS, "HEIF"


def unknown_format(head: bytes) -> str:
    """Says of a file that is of none of these formats what is wrong with it.

    Args:
      head: its first bytes.
    """
    if not head:
        return "is empty"
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS and "HEIF" not in formats():
        return "is a HEIC picture, which needs a package: pip install pillow-heif"
    return f"is no picture of a format that can be read ({', '.join(formats())}), or is damaged"


def named_plain(name: str) -> bool:
    """Says by its name whether a file is taken for a JPEG or PNG where nobody looked."""
    return not name.lower().endswith(_OTHER_NAMES)


def file_loader(paths: Sequence[str], headers: "Headers | None" = None) -> Callable[[Any], Any]:
    """Makes the `load_image` of a `Source` whose images are files.

    Args:
      paths: the N files.
      headers: of the files; None: nobody looked, names tell the formats and no image is turned.

    Returns:
      What `image_loader` does; running it raises `tf.errors.OpError` too where a file is missing.
    """
    plain = np.array([named_plain(path) for path in paths]) if headers is None else headers.plain
    orientations = None if headers is None else headers.orientations
    # Eager tensors are captured by reference; arrays would become constants of every graph.
    paths = tf.constant(list(paths))
    return image_loader(lambda index: tf.io.read_file(paths[index]), orientations, plain)


def image_loader(
    read: Callable[[Any], Any],
    orientations: np.ndarray | None = None,
    plain: np.ndarray | None = None,
) -> Callable[[Any], Any]:
    """Makes the `load_image` of a `Source` whose images are the contents of files.

    Args:
      read: TensorFlow graph code, scalar int64 index -> the file's bytes: colour, grey, palette,
        CMYK, with alpha (dropped), 8 or 16 bits.
      orientations: `[N]`, EXIF orientations to undo; None: the pixels as they are stored.
      plain: `[N]` bool, which are JPEG or PNG; None: all are.

    Returns:
      TensorFlow graph code, scalar int64 index -> `[H, W, 3]` uint8 RGB. Running it raises
      `tf.errors.OpError` where the file cannot be decoded.
    """
    if plain is None or plain.all():
        decode = lambda index: _decode(read(index))  # noqa: E731  no choice, at no cost
    else:
        kinds = tf.constant(plain)

        def decode(index: Any) -> Any:
            data = read(index)
            return tf.cond(kinds[index], lambda: _decode(data), lambda: _decode_other(data))

    if orientations is None or (orientations == UPRIGHT).all():
        return decode
    turns = tf.constant(orientations)  # captured by reference, as the paths are
    return lambda index: _upright(decode(index), turns[index])


def decode_fault(data: bytes, plain: bool) -> str:
    """Decodes a file and says what is wrong with it; empty if nothing is.

    Args:
      data: the file.
      plain: whether it is a JPEG or PNG.
    """
    try:
        _decode(data) if plain else pillow_pixels(data)
    except tf.errors.OpError as error:
        return f"is damaged ({reason(error)})"
    except ValueError as error:
        return str(error)
    return ""


def reason(error: tf.errors.OpError) -> str:
    """Returns what TensorFlow says in the first line of an error, without its names of nodes."""
    return re.sub(r"{{.*?}} *| *\[Op:.*?\]", "", error.message.splitlines()[0])


def pillow_pixels(data: bytes) -> np.ndarray:
    """Decodes a file by Pillow: `[H, W, 3]` uint8 RGB.

    Raises:
      ValueError: it cannot be decoded; the message goes on after the file's name.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=formats())
        image.load()
    except UnidentifiedImageError:
        raise ValueError(unknown_format(data[:16])) from None
    except Exception as error:  # plugins fail in every way on a file that is damaged
        raise ValueError(f"is damaged ({error})") from error
    return rgb_pixels(image)


def rgb_pixels(image: Image.Image) -> np.ndarray:
    """Returns the pixels of an image that Pillow has opened: `[H, W, 3]` uint8 RGB.

    Raises:
      ValueError: they are of a kind that has no RGB; the message goes on after the image's name.
    """
    # 16 bits, which Pillow would clip. It opens those of PGM as 32 bits.
    if image.mode.startswith("I;16") or (image.mode, image.format) == ("I", "PPM"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("has pixels of more than 16 bits, or not of whole numbers; save it with 8")
    return np.asarray(image.convert("RGB"))


def _decode(data: Any) -> Any:
    # Decodes PNG as well, whatever its name. The accurate DCT gives Pillow's pixels exactly, and
    # those are what the published weights were trained on.
    return tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")


# As a graph also where TensorFlow is eager, so that what fails is always an OpError.
@tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
def _decode_other(data: Any) -> Any:
    pixels = tf.numpy_function(pillow_pixels, [data], tf.uint8, stateful=False)
    return tf.ensure_shape(pixels, [None, None, 3])


def _upright(image: Any, orientation: Any) -> Any:
    """Undoes an EXIF orientation: swap the axes if it does, then mirror in the new frame."""

    def when(orientations: tuple[int, ...], change: Callable[[Any], Any], image: Any) -> Any:
        applies = tf.reduce_any(orientation == np.array(orientations, np.uint8))
        return tf.cond(applies, lambda: change(image), lambda: image)

    image = when((5, 6, 7, 8), lambda x: tf.transpose(x, [1, 0, 2]), image)
    image = when((3, 4, 7, 8), lambda x: tf.reverse(x, [0]), image)
    return when((2, 3, 6, 7), lambda x: tf.reverse(x, [1]), image)
