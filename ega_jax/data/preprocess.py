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
    if image.shape == (size, size, 3):
        return image
    height, width = tf.unstack(tf.shape(image)[:2])
    pixels = _resize_rows(tf.reshape(image, [height, width * 3]), size)
    pixels = tf.transpose(tf.reshape(pixels, [size, width, 3]), [1, 0, 2])
    pixels = _resize_rows(tf.reshape(pixels, [width, size * 3]), size)
    pixels = tf.transpose(tf.reshape(pixels, [size, size, 3]), [1, 0, 2])
    # A weighted mean of uint8 stays within 0..255, so adding 0.5 and cutting off rounds to nearest.
    return tf.cast(pixels + 0.5, tf.uint8)


def train_image(
    image: Any, seed: Any, *, resize_size: int, crop_size: int, flip: bool = True
) -> Any:
    """Resizes, crops at a random place, and mirrors with probability one half.

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
    top, left = tf.unstack(
        tf.random.stateless_uniform(
            [2], crop_seed, maxval=resize_size - crop_size + 1, dtype=tf.int32
        )
    )
    image = tf.slice(resize(image, resize_size), [top, left, 0], [crop_size, crop_size, 3])
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


def _resize_rows(rows: Any, size: int) -> Any:
    """Resamples the first axis: `[N, C]` uint8 or float32 -> `[size, C]` float32.

    The operation resizes both axes, and slowly where few channels lie side by side in memory. Given
    rows as images one pixel wide it adds up whole rows: the same sums, two to three times as fast.
    """
    scale = tf.cast(size / tf.shape(rows)[0], tf.float32)
    resized = tf.raw_ops.ScaleAndTranslate(
        images=rows[tf.newaxis, :, tf.newaxis],
        size=[size, 1],
        scale=[scale, 1.0],
        translation=[0.0, 0.0],
        kernel_type="triangle",
        antialias=True,
    )
    return resized[0, :, 0]
