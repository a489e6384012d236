import numpy as np
import pytest

from ega_jax import localization


def test_resizes_before_scaling():
    cam = np.random.default_rng(0).standard_normal((14, 14))
    score_map = localization.score_map(cam, 224)
    assert score_map.shape == (224, 224) and score_map.dtype == np.float64
    assert score_map.min() == 0 and score_map.max() == 1
    resized = localization.resize_map(cam, 224)
    np.testing.assert_allclose(score_map, (resized - resized.min()) / np.ptp(resized), atol=1e-15)
    assert resized.max() > cam.max()


def test_cubic_kernel():
    row = localization.resize_map(np.tile(np.arange(5.0) ** 2, (5, 1)), 15)[0]
    middle = localization.resize_map(np.array([[0.0, 0, 1, 1]] * 4), 12)[0]
    np.testing.assert_allclose(row[1::3], np.arange(5.0) ** 2, atol=1e-12)
    assert middle[4] == pytest.approx(0) and middle[7] == pytest.approx(1)
    w = 2 / 3  # distance of output pixel 5 from input pixel 2; a = -0.75
    near = [1.25 * d**3 - 2.25 * d**2 + 1 for d in (1 - w, w)]
    far = [-0.75 * (d**3 - 5 * d**2 + 8 * d - 4) for d in (2 - w, 1 + w)]
    assert middle[5] == pytest.approx(near[1] + far[1], abs=1e-6)
    assert sum(near) + sum(far) == pytest.approx(1)


@pytest.mark.parametrize("bad", (np.nan, np.inf, -np.inf))
def test_a_value_that_is_not_finite_gives_zeros(bad):
    cam = np.random.default_rng(0).random((7, 7))
    cam[3, 3] = bad
    assert not localization.score_map(cam, 28).any()


@pytest.mark.parametrize("value", (0.0, -3.5, 0.3, np.float32(0.1), 1e9))
def test_constant_map_gives_zeros(value):
    for side in (1, 7):
        assert not localization.score_map(np.full((side, side), value), 28).any()


def test_maps_of_any_type():
    eye = np.eye(7)
    expected = localization.score_map(eye, 28)
    for kind in (bool, np.uint8, np.float16):
        np.testing.assert_array_equal(localization.score_map(eye.astype(kind), 28), expected)


def test_quantize_rounds_down():
    levels = localization.quantize(np.array([[0, 0.5, 0.99999, 1]]))
    assert levels.tolist() == [[0, 127, 254, 255]] and levels.dtype == np.uint8


def test_thresholds():
    assert len(localization.thresholds()) == 1000
    np.testing.assert_array_equal(localization.thresholds(0.25), [0, 0.25, 0.5, 0.75])
    with pytest.raises(ValueError, match="interval"):
        localization.thresholds(0)


def test_check_score_map_accepts_and_converts():
    score_map = localization.check_score_map(np.eye(4, dtype=np.float16), size=4)
    assert score_map.dtype == np.float64
    assert localization.check_score_map(np.eye(4, dtype=bool)).max() == 1


@pytest.mark.parametrize(
    "score_map, message",
    [
        (np.zeros((1, 4, 4)), "two-dimensional"),
        (np.zeros((0, 4)), "two-dimensional"),
        (np.zeros((5, 4)), r"resize it to \(4, 4\)"),
        (np.full((4, 4), np.nan), "NaN"),
        (np.full((4, 4), np.inf), "infinite"),
        (np.full((4, 4), 255), "scale it to"),
        (np.full((4, 4), -0.1), "scale it to"),
        (np.array([["a"] * 4] * 4), "real numbers"),
        (np.zeros((4, 4), complex), "real numbers"),
    ],
)
def test_check_score_map_says_what_to_do(score_map, message):
    with pytest.raises(ValueError, match=message):
        localization.check_score_map(score_map, size=4)


@pytest.mark.parametrize("cam", (np.zeros((2, 3, 3)), np.zeros((0, 3))))
def test_maps_of_the_wrong_shape(cam):
    with pytest.raises(ValueError, match=r"\[h, w\]"):
        localization.score_map(cam)
