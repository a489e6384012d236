"""EGA, its parts and the other systems on the embedded data set.

    python -m ega_jax.main --mode=study --config=configs/studies/creatures.py --jobs=2
    python -m ega_jax.main --mode=study --config=configs/studies/creatures.py:ablation --jobs=2

All rows are the quickstart's (`configs/quickstart.py`), of 360 steps. After the colon `systems`,
`ablation`, or `all`, which is both. docs/results.md has the table and what it shows.
"""

from configs.studies import paper
from ega_jax.runtime.errors import ConfigError
from ega_jax.studies.plan import Metric, Row, Study

METRICS = {
    "Top-1 cls err": Metric("top1_cls_err"),
    "Top-1 loc err, 0.2": Metric("fixed/top1_loc_err"),
    "CorLoc err, 0.2": Metric("fixed/corloc_err"),
    "Top-1 loc err, best": Metric("oracle/top1_loc_err"),
    "CorLoc err, best": Metric("oracle/corloc_err"),
    "MaxBoxAccV2": Metric("oracle/max_box_acc_v2"),
    "PxAP": Metric("pxap"),
    "Pointing game": Metric("in_masks/pointing_game"),
}
_SYSTEMS = {name: paper.SYSTEMS[name] for name in paper.SYSTEMS if name not in ("cam", "ega")}
_READS_CAM = ("backprop", "ccam")
_PARTS = {
    "adversarial": "+ adversarial",
    "minmax": "+ adversarial + entropy, `minmax`",
    "spatial_softmax": "+ adversarial + entropy, `spatial_softmax`",
    "sigmoid": "+ adversarial + entropy, `sigmoid`",
    "entropy": "+ entropy alone, `class_softmax`",
}
_OVER = ("has", "adl", "cutmix")


def _row(name: str, title: str, **more) -> Row:
    row, _, over = name.partition("+")
    fields = {"ega.enabled": True} if over else {}
    reads = "cam" if name in _READS_CAM else ""
    recipe = f"configs/quickstart.py:{row}"
    return Row(name, title, recipe, fields, baseline="cam", reads=reads, **more)


def get_config(which: str = "all") -> Study:
    """Returns the study: `systems`, `ablation` or `all`."""
    if which not in ("systems", "ablation", "all"):
        raise ConfigError(f"creatures.py:{which}: choose systems, ablation or all")
    rows = [Row("cam", "CAM", "configs/quickstart.py:cam")]
    if which != "ablation":
        rows += [_row(name, title) for name, title in _SYSTEMS.items()]
    rows += [_row("ega", "EGA")]
    if which != "systems":
        rows += [_row(name, title) for name, title in _PARTS.items()]
    if which != "ablation":
        rows += [_row(f"{name}+ega", f"EGA over {_SYSTEMS[name]}") for name in _OVER]
    return Study(
        title="EGA on `creatures`",
        rows=tuple(rows),
        metrics=METRICS,
        fields={"eval.every_epochs": 0.0},
    )
