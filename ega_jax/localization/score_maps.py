"""Turns class activation maps into score maps in [0, 1], and score maps into 8-bit levels."""

import cv2
import numpy as np

# How far a map may leave [0, 1] by rounding, in float16 too; cutting it off changes no 8-bit level.
_ROUNDING = 1e-3


def thresholds(interval: float = 0.001) -> np.ndarray:
    """Returns the thresholds 0, interval, 2 * interval, ... below 1, float64.

    Source: clovaai/wsolevaluation, whose training script uses 0.001 (1000 thresholds).

    Raises:
      ValueError: the interval is not in (0, 1].
    """
    if not 0 < interval <= 1:
        raise ValueError(f"The threshold interval is {interval}; give a number in (0, 1].")
    return np.arange(0, 1, interval)


def resize_map(cam: np.ndarray, size: int) -> np.ndarray:
    """Resizes a map [h, w] to [size, size] float64 by OpenCV's cubic interpolation.

    Its kernel has a = -0.75, and the border is replicated. The result may leave the map's range.

    Raises:
      ValueError: the map is not two-dimensional or is empty.
    """
    cam = np.asarray(cam, np.float64)
    if cam.ndim != 2 or not cam.size:
        raise ValueError(f"A map has shape [h, w]; this one has {cam.shape}.")
    return cv2.resize(cam, (size, size), interpolation=cv2.INTER_CUBIC)


def score_map(cam: np.ndarray, size: int = 224) -> np.ndarray:
    """Resizes a class activation map, then scales it to [0, 1] by its minimum and maximum.

    In this order, because cubic resizing overshoots.

    Args:
      cam: `[h, w]`, any real dtype and range.
      size: height and width S of the score map.

    Returns:
      `[S, S]` float64. All zeros if a value is not a finite number or if the map is constant.

    Source: clovaai/wsolevaluation, which asks whether the resized map is constant. Rounding makes
    that of most constant maps vary in the last bits, and what it stretched would be noise.

    Raises:
      ValueError: the map is not two-dimensional or is empty.
    """
    resized = resize_map(cam, size)
    if not np.isfinite(resized).all() or np.ptp(np.asarray(cam, np.float64)) == 0:
        return np.zeros_like(resized)
    resized -= resized.min()
    highest = resized.max()
    return resized / highest if highest > 0 else resized


def quantize(score_map: np.ndarray) -> np.ndarray:
    """Returns the 8-bit levels [H, W] uint8 of a score map, rounding down; only 1.0 gives 255.

    Source: clovaai/wsolevaluation. It is why 1000 thresholds are at most 255 different ones.
    """
    return (score_map * 255).astype(np.uint8)


def check_score_map(score_map: np.ndarray, size: int | None = None) -> np.ndarray:
    """Checks a score map that another program made.

    Args:
      score_map: what its file held.
      size: expected height and width S; `None` accepts any.

    Returns:
      The map as [H, W] float64 in [0, 1]; what is outside by 0.001 at most is cut off.

    Raises:
      ValueError: it is not such a map; says what is wrong and what to do about it.
    """
    score_map = np.asarray(score_map)
    if score_map.dtype.kind not in "fiub":
        raise ValueError(
            f"The score map has dtype {score_map.dtype}; save it as an array of real numbers."
        )
    if score_map.ndim != 2 or not score_map.size:
        raise ValueError(
            f"The score map has shape {score_map.shape}; save one two-dimensional map per image, "
            "without axes for batch, channel or class."
        )
    if size is not None and score_map.shape != (size, size):
        raise ValueError(
            f"The score map has shape {score_map.shape}; resize it to ({size}, {size}), the size "
            "to which images are resized for the evaluation."
        )
    score_map = score_map.astype(np.float64)
    if not np.isfinite(score_map).all():
        raise ValueError(
            "The score map holds NaN or infinite values; replace them (the reference evaluator "
            "takes a map of zeros when the network gave NaN)."
        )
    low, high = score_map.min(), score_map.max()
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        raise ValueError(
            f"The score map has values in [{low:.6g}, {high:.6g}]; scale it to [0, 1], for example "
            "by (map - map.min()) / (map.max() - map.min())."
        )
    return score_map.clip(0, 1)
