"""Intersection over union of boxes, with the conventions of the reference evaluator."""

import numpy as np


def scale_boxes(boxes: np.ndarray, image_size: tuple[int, int], size: int = 224) -> np.ndarray:
    """Scales ground-truth boxes from the image to the score map, rounding down.

    Args:
      boxes: `[B, 4]` `x0, y0, x1, y1` in pixels of the original image.
      image_size: width and height of the original image.
      size: height and width S of the score map.

    Returns:
      `[B, 4]` int64, `int(x * S / width)` and `int(y * S / height)`.

    Source: clovaai/wsolevaluation.

    Raises:
      ValueError: A box is not four numbers, is inverted or has a negative corner.
    """
    width, height = image_size
    boxes = check_boxes(boxes)
    return (boxes * size / np.array([width, height, width, height])).astype(np.int64)


def box_ious(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Computes the IoU of every pair of boxes.

    Corners count as pixels of the box, so a side is `x1 - x0 + 1` long.

    Args:
      boxes: `[A, 4]` `x0, y0, x1, y1`, x1 >= x0, y1 >= y0.
      others: `[B, 4]` the same.

    Returns:
      `[A, B]` float64 in [0, 1].

    Source: clovaai/wsolevaluation.
    """
    x0, y0, x1, y1 = np.asarray(boxes, np.float64).T[:, :, None]
    u0, v0, u1, v1 = np.asarray(others, np.float64).T[:, None, :]
    width = np.minimum(x1, u1) - np.maximum(x0, u0) + 1
    height = np.minimum(y1, v1) - np.maximum(y0, v0) + 1
    intersection = np.maximum(width, 0) * np.maximum(height, 0)
    area, other_area = (x1 - x0 + 1) * (y1 - y0 + 1), (u1 - u0 + 1) * (v1 - v0 + 1)
    return intersection / (area + other_area - intersection)


def best_ious(boxes: np.ndarray, truths: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Computes the IoU of every box with the ground-truth box of every image that it fits best.

    One ground-truth box per image at a time: a noisy map has hundreds of thousands of boxes, and
    some images have hundreds of ground-truth boxes.

    Args:
      boxes: `[A, 4]` the same boxes for all N images.
      truths: `[B, 4]` ground-truth boxes, image by image.
      starts: `[N]` index of the first of every image in `truths`; none has no box.

    Returns:
      `[N, A]` float64 in [0, 1].
    """
    numbers = np.diff(starts, append=len(truths))
    best = box_ious(truths[starts], boxes)
    for k in range(1, numbers.max()):
        has = numbers > k
        best[has] = np.maximum(best[has], box_ious(truths[starts[has] + k], boxes))
    return best


def check_boxes(boxes: np.ndarray) -> np.ndarray:
    """Returns the boxes as an array [B, 4].

    Raises:
      ValueError: A box is not four numbers, is inverted or has a negative corner.
    """
    boxes = np.asarray(boxes)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"Boxes have shape [B, 4] (x0, y0, x1, y1); these have {boxes.shape}.")
    wrong = (boxes < 0).any(axis=1) | (boxes[:, 2] < boxes[:, 0]) | (boxes[:, 3] < boxes[:, 1])
    if wrong.any():
        raise ValueError(
            f"Box {boxes[wrong][0].tolist()} is inverted or has a negative corner; boxes are "
            "x0, y0, x1, y1, not x, y, width, height."
        )
    return boxes
