"""Resizing, cropping and mirroring, against Pillow and against each other."""

import itertools

import numpy as np
import pytest
from PIL import Image

from ega_jax.data import preprocess
from ega_jax.data.tf_on_cpu import tf


def pixels(width, height, seed=0):
    """Noise, the hardest picture to resize: `[height, width, 3]` uint8."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("shape", [(500, 375), (64, 48), (40, 300), (224, 100), (225, 223), (1, 1)])
def test_resize_as_pillow(shape):
    image = pixels(*shape)
    resized = preprocess.resize(image, 224).numpy()
    expected = np.asarray(Image.fromarray(image).resize((224, 224), Image.BILINEAR))
    assert resized.shape == (224, 224, 3) and resized.dtype == np.uint8
    difference = np.abs(resized.astype(int) - expected)
    # Pillow rounds twice, between its horizontal and its vertical pass and after.
    assert difference.max() <= 1 and difference.mean() < 0.25


@pytest.mark.parametrize("shape", [(500, 375), (375, 500), (40, 300), (1, 9), (9, 1), (640, 640)])
def test_resizing_rows_of_pixels_changes_nothing(shape):
    image = pixels(*shape)
    both_axes_at_once = tf.raw_ops.ScaleAndTranslate(
        images=image[np.newaxis],
        size=[224, 224],
        scale=np.float32([224 / shape[1], 224 / shape[0]]),
        translation=[0.0, 0.0],
        kernel_type="triangle",
        antialias=True,
    )[0]
    expected = tf.cast(both_axes_at_once + 0.5, tf.uint8)
    np.testing.assert_array_equal(preprocess.resize(image, 224), expected)


def test_right_size_is_not_resampled():
    image = pixels(224, 224)
    assert preprocess.resize(image, 224) is image
    size_known_only_later = tf.function(
        lambda image: preprocess.resize(image, 224),
        input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)],
    )
    np.testing.assert_array_equal(size_known_only_later(image), image)
    same = preprocess.train_image(image, [1, 2], resize_size=224, crop_size=224, flip=False)
    np.testing.assert_array_equal(same, image)


def test_extremes_do_not_wrap_around():
    for value in (0, 255):
        image = np.full((61, 37, 3), value, np.uint8)
        assert (preprocess.resize(image, 50).numpy() == value).all()


def test_train_image_is_a_window_of_the_resized_image_mirrored_or_not():
    image = pixels(50, 40)
    resized = preprocess.resize(image, 36).numpy()
    places, windows = [], []
    for top, left in itertools.product(range(5), range(5)):
        window = resized[top : top + 32, left : left + 32]
        places += [(top, left, False), (top, left, True)]
        windows += [window, window[:, ::-1]]
    seen = []
    for number in range(300):
        crop = preprocess.train_image(image, [7, number], resize_size=36, crop_size=32).numpy()
        (match,) = np.nonzero((np.array(windows) == crop).all(axis=(1, 2, 3)))[0]
        seen.append(places[match])
    tops, lefts, flips = (np.array(values) for values in zip(*seen, strict=True))
    for offsets in (tops, lefts):
        assert np.bincount(offsets, minlength=5).min() > 30  # 60 expected, sigma 7
    assert 100 < flips.sum() < 200
    # Crop and flip are drawn independently.
    assert abs(np.corrcoef(tops, lefts)[0, 1]) < 0.25 and abs(np.corrcoef(tops, flips)[0, 1]) < 0.25


def test_train_image_depends_on_the_seed_alone():
    image = pixels(50, 40)
    sizes = dict(resize_size=36, crop_size=32)
    first = preprocess.train_image(image, [3, 4], **sizes).numpy()
    np.testing.assert_array_equal(preprocess.train_image(image, [3, 4], **sizes), first)
    others = [preprocess.train_image(image, [3, i], **sizes).numpy() for i in range(5, 9)]
    assert any((other != first).any() for other in others)


def test_flip_can_be_switched_off():
    image = np.zeros((8, 8, 3), np.uint8)
    image[:, :4] = 200
    for i in range(20):
        crop = preprocess.train_image(image, [0, i], resize_size=8, crop_size=8, flip=False)
        np.testing.assert_array_equal(crop, image)


@pytest.mark.parametrize(("resize_size", "middle"), [(12, 2), (11, 2), (13, 2), (8, 0)])
def test_ten_crop_order(resize_size, middle):
    image = pixels(resize_size, resize_size)
    crops = preprocess.ten_crop(image, resize_size=resize_size, crop_size=8).numpy()
    assert crops.shape == (10, 8, 8, 3) and crops.dtype == np.uint8
    np.testing.assert_array_equal(crops[0], image[:8, :8])
    np.testing.assert_array_equal(crops[1], image[:8, -8:])
    np.testing.assert_array_equal(crops[2], image[-8:, :8])
    np.testing.assert_array_equal(crops[3], image[-8:, -8:])
    np.testing.assert_array_equal(crops[4], image[middle : middle + 8, middle : middle + 8])
    mirrored = preprocess.ten_crop(image[:, ::-1], resize_size=resize_size, crop_size=8)
    np.testing.assert_array_equal(crops[5:], mirrored[:5])


def test_ten_crop_resizes_first():
    image = pixels(30, 50)
    crops = preprocess.ten_crop(image, resize_size=12, crop_size=8).numpy()
    np.testing.assert_array_equal(crops[0], preprocess.resize(image, 12)[:8, :8])
