"""Rows of the ablation, Tab. 6: which parts of EGA a run has.

| row | adversarial images | CAM entropy |
| --- | --- | --- |
| `ega` | yes | preset `paper` |
| `cam` | no | no |
| `adversarial` | yes | no |
| `entropy` | no | preset `paper` |
| `minmax`, `class_softmax`, `spatial_softmax`, `sigmoid` | yes | that reading |
"""

import ml_collections

from ega_jax.losses import PROBABILITIES

ROWS = ("ega", "cam", "adversarial", "entropy", *PROBABILITIES)


def choose(
    config: ml_collections.ConfigDict, row: str, recipe: str, more: tuple[str, ...] = ()
) -> None:
    """Switches the parts of EGA in `config` on and off.

    Args:
      config: of EGA.
      row: one of `ROWS`.
      recipe: the config file, for the message.
      more: rows that the recipe has besides.

    Raises:
      ValueError: there is no such row.
    """
    if row not in ROWS:
        raise ValueError(f"{recipe} has no row {row!r}; choose one of {', '.join(ROWS + more)}")
    config.ega.adversarial = row not in ("cam", "entropy")
    if row in ("cam", "adversarial"):
        config.ega.lambda_clean = config.ega.lambda_adv = 0.0
    if row in PROBABILITIES:
        config.ega.probability = row
    if config.ega.probability == "spatial_softmax":
        config.ega.reduction = "sum"  # one distribution over the map: its entropy is the sum
