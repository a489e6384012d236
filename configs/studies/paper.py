"""Tables of the paper: published figures, and the rows that stand for them.

Figures are the paper's, errors in percent; those of other systems it took from their own papers
and from the field's evaluation code. It reports the best threshold of the test images, which is
`oracle` here.

Each system has the settings of its row in `configs/protocol.py`: the learning rates and thresholds
that are published for it, as far as they are known. What is published and cannot be trained here
(an ensemble, a hierarchy of ILSVRC's classes) is a row of published figures alone.
"""

from collections.abc import Mapping, Sequence

from configs import protocol
from ega_jax.runtime.errors import ConfigError
from ega_jax.studies.plan import Metric, Row

SOURCE = "the paper"
CLS, LOC = "Top-1 cls err", "Top-1 loc err"
COR, PXAP, V2 = "CorLoc err", "PxAP err", "MaxBoxAccV2 err"
METRICS = {
    CLS: Metric("top1_cls_err"),
    LOC: Metric("oracle/top1_loc_err"),
    COR: Metric("oracle/corloc_err"),
    PXAP: Metric("pxap", complement=True),
    V2: Metric("oracle/max_box_acc_v2", complement=True),
}
# Weights pretrained on ILSVRC, of each network its official file.
PRETRAINED = {"model.pretrained": "auto"}
SYSTEMS = {
    "cam": "CAM",
    "backprop": "Backprop",
    "has": "HaS",
    "acol": "ACoL",
    "spg": "SPG",
    "adl": "ADL",
    "cutmix": "CutMix",
    "danet": "DANet",
    "ccam": "CCAM",
    "nl_ccam": "NL-CCAM",
    "ega": "EGA",
}
NETWORKS = {
    "vgg": "VGG",
    "googlenet": "GoogLeNet",
    "inception_v3": "Inception v3",
    "resnet50": "ResNet-50",
    "alexnet": "AlexNet",
}


def columns(*titles: str) -> dict[str, Metric]:
    """Returns some of the columns."""
    return {title: METRICS[title] for title in titles}


def googlenet(name: str, recipe: str) -> str:
    """Checks which network stands for GoogLeNet: the paper's, or that of the authors' code.

    Raises:
      ConfigError: it is neither.
    """
    if name not in ("googlenet", "inception_v3"):
        raise ConfigError(f"{recipe}:{name}: choose googlenet or inception_v3")
    return name


def rows(
    data: str,
    network: str,
    titles: Sequence[str],
    published: Mapping[str, Sequence[float | None]],
    systems: Sequence[str] = tuple(SYSTEMS),
) -> list[Row]:
    """Returns the systems on a network, compared with CAM.

    Args:
      data: a key of `protocol.DATA`.
      network: a key of `NETWORKS`.
      titles: of the columns that figures are published of.
      published: by system, its figures in that order; None: it has none.
      systems: those wanted; what is not defined for the network or the data is left out, or has
        published figures alone.
    """
    result = []
    for system in systems:
        figures = zip(titles, published.get(system, [None] * len(titles)), strict=True)
        known = {title: figure for title, figure in figures if figure is not None}
        recipe = f"configs/{data}_{network}.py:{system}"
        if not _can_train(data, network, system):
            if not known:
                continue
            recipe = ""
        baseline = "" if system == "cam" or not recipe else f"{network}_cam"
        fields = {"model.pretrained": ""} if network == "alexnet" else {}  # it has no official file
        result.append(
            Row(
                f"{network}_{system}",
                f"{NETWORKS[network]}-{SYSTEMS[system]}",
                recipe,
                fields,
                baseline=baseline,
                published=known,
            )
        )
    return result


def _can_train(data: str, network: str, system: str) -> bool:
    if network == "alexnet" and system in ("spg", "adl", "danet", "nl_ccam"):
        return False
    return system != "danet" or data in protocol.HIERARCHIES
