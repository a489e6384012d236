"""Resizes, crops and mirrors images: stateless TensorFlow graph code, uint8 in and uint8 out.

The sizes and the order of operations are wsolevaluation's. Its bilinear filter is Pillow's, which
widens when it shrinks an image (antialiasing); the same here, to one grey level.
"""

from typing import Any

from ega_jax.data.tf_on_cpu import tf


def resize(image: Any, size: int) -> Any:
    """Resizes to a square; the aspect ratio is not kept.

    Args:
      image: `[H, W, 3]` uint8.
      size: side of the result in pixels.

    Returns:
      `[size, size, 3]` uint8; the very same pixels if the size is already right.
    """
    return _resized_window(image, size, tf.zeros([2], tf.int32), size)


def train_image(
    image: Any, seed: Any, *, resize_size: int, crop_size: int, flip: bool = True
) -> Any:
    """Resizes, crop at a random place and mirror every other image.

    Args:
      image: `[H, W, 3]` uint8.
      seed: `[2]` integer tensor; the same seed gives the same result.
      resize_size: side in pixels of the square that is cropped from.
      crop_size: side in pixels of the result.
      flip: whether to mirror at all.

    Returns:
      `[crop_size, crop_size, 3]` uint8.
    """
    crop_seed, flip_seed = tf.unstack(tf.random.split(seed))
    offset = tf.random.stateless_uniform(
        [2], crop_seed, maxval=resize_size - crop_size + 1, dtype=tf.int32
    )
    image = _resized_window(image, resize_size, offset, crop_size)
    return tf.image.stateless_random_flip_left_right(image, flip_seed) if flip else image


def ten_crop(image: Any, *, resize_size: int, crop_size: int) -> Any:
    """Resizes, then crop the corners and the centre, each as it is and mirrored.

    Args:
      image: `[H, W, 3]` uint8.
      resize_size: side in pixels of the square that is cropped from.
      crop_size: side in pixels of the crops.

    Returns:
      `[10, crop_size, crop_size, 3]` uint8 in torchvision's order: top left, top right, bottom
      left, bottom right, centre; then the same five mirrored (so that mirrored "top left" is
      cropped from the top right).
    """
    image = resize(image, resize_size)
    far = resize_size - crop_size
    # torchvision's centre: round half to even, as Python does.
    middle = round(far / 2)
    corners = [(0, 0), (0, far), (far, 0), (far, far), (middle, middle)]
    crops = [
        version[top : top + crop_size, left : left + crop_size]
        for version in (image, tf.reverse(image, [1]))
        for top, left in corners
    ]
    return tf.stack(crops)


def _resized_window(image: Any, size: int, offset: Any, window: int) -> Any:
    """Resizes to `[size, size]`, computing only the `[window, window]` part at `offset` (y, x).

    A quarter cheaper than cropping afterwards; the same pixels but for ties in the rounding.
    """
    scale = size / tf.shape(image)[:2]
    pixels = tf.raw_ops.ScaleAndTranslate(
        images=image[tf.newaxis],
        size=[window, window],
        scale=tf.cast(scale, tf.float32),
        translation=-tf.cast(offset, tf.float32),
        kernel_type="triangle",
        antialias=True,
    )[0]
    # A weighted mean of uint8 stays within 0..255, so adding 0.5 and cutting off rounds to nearest.
    return tf.cast(pixels + 0.5, tf.uint8)
