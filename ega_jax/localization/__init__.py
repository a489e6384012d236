"""Localization on the host: score maps to boxes, and the metrics of boxes and masks.

NumPy and OpenCV only. The figures equal those of clovaai/wsolevaluation, the evaluator of the
field, to the last image. Every convention here is from there unless a docstring says otherwise.

Synopsis:

    from ega_jax import localization

    thresholds = localization.thresholds(0.001)
    validation, test = (localization.BoxCounts(thresholds) for _ in range(2))
    pixels, in_boxes = localization.PixelCounts(thresholds), localization.PointingCounts()
    for counts, images in ((validation, validation_images), (test, test_images)):
        for image in images:
            score_map = localization.score_map(image.cam, size=224)  # of the ground-truth class
            boxes = localization.scale_boxes(image.boxes, image.size, size=224)
            counts.add(score_map, boxes, image.top1_correct, image.top5_correct)
            if counts is test:
                pixels.add(score_map, image.mask, image.ignore)
                in_boxes.add(score_map, localization.region_of(boxes, size=224))

    test.at(0.2)["corloc_err"]                # one threshold for all metrics
    test.carried_over(validation)             # thresholds chosen on the validation split
    test.oracle()["max_box_acc_v2"]           # thresholds chosen on the test split itself
    pixels.pxap()
    in_boxes.figures()["pointing_game"]

    # Several processes: sum the arrays, or merge.
    total = localization.BoxCounts.from_arrays(part.to_arrays()).merge(other_part)

    # One picture.
    x0, y0, x1, y1 = localization.largest_box(score_map, 0.2, image_size=(640, 480))
"""

from ega_jax.localization.box_metrics import IOU_THRESHOLDS, BoxCounts, BoxOutcome
from ega_jax.localization.boxes import (
    ThresholdBoxes,
    boxes_at,
    boxes_at_thresholds,
    boxes_in_images,
    largest_box,
)
from ega_jax.localization.images import ImageMap, ImageOutcome, score_image
from ega_jax.localization.iou import box_ious, scale_boxes
from ega_jax.localization.mask_metrics import PixelCounts, mask_ious, weighted_pixels
from ega_jax.localization.objects import (
    SMALLEST,
    Objects,
    find_objects,
    own_threshold,
    region_in_image,
)
from ega_jax.localization.outcomes import BoxOutcomes, pack
from ega_jax.localization.pointing import (
    OUTSIDE,
    POINTING,
    UNITS,
    PointingCounts,
    pointing_outcome,
    region_of,
    weighted_pointing,
)
from ega_jax.localization.score_maps import (
    check_score_map,
    quantize,
    resize_map,
    score_map,
    thresholds,
)

__all__ = [
    "IOU_THRESHOLDS",
    "BoxCounts",
    "BoxOutcome",
    "BoxOutcomes",
    "ImageMap",
    "ImageOutcome",
    "OUTSIDE",
    "Objects",
    "POINTING",
    "PixelCounts",
    "PointingCounts",
    "SMALLEST",
    "ThresholdBoxes",
    "UNITS",
    "box_ious",
    "boxes_at",
    "boxes_at_thresholds",
    "boxes_in_images",
    "check_score_map",
    "find_objects",
    "largest_box",
    "mask_ious",
    "own_threshold",
    "pack",
    "pointing_outcome",
    "quantize",
    "region_in_image",
    "region_of",
    "resize_map",
    "scale_boxes",
    "score_image",
    "score_map",
    "thresholds",
    "weighted_pixels",
    "weighted_pointing",
]
