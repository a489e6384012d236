"""Rows of the paper's tables: a system of Tab. 1-5, or which parts of EGA a run has (Tab. 6).

| row | is |
| --- | --- |
| `ega` | EGA over CAM, with the defaults of `ega_jax/config/fields.py` |
| `cam`, `backprop`, `has`, `acol`, `spg`, `adl`, | that system alone |
| `cutmix`, `danet`, `ccam`, `nl_ccam` | |
| `adversarial` | EGA without CAM entropy |
| `entropy` | EGA without adversarial images |
| `minmax`, `class_softmax`, `spatial_softmax`, `sigmoid` | EGA with that reading of Eq. 7 |

EGA over another method: its row with `--config.ega.enabled=true`.
"""

import ml_collections

from ega_jax.methods import METHODS
from ega_jax.ops.losses import PROBABILITIES
from ega_jax.runtime.errors import ConfigError

ABLATION = ("adversarial", "entropy", *PROBABILITIES)
ROWS = ("ega", *METHODS, *ABLATION)


def choose(
    config: ml_collections.ConfigDict, row: str, recipe: str, more: tuple[str, ...] = ()
) -> None:
    """Switches the method and the parts of EGA in `config` on and off.

    Args:
      config: of EGA.
      row: one of `ROWS`.
      recipe: the config file, for the message.
      more: rows that the recipe has besides.

    Raises:
      ConfigError: there is no such row.
    """
    if row not in ROWS:
        raise ConfigError(f"{recipe} has no row {row!r}; choose one of {', '.join(ROWS + more)}")
    if row in METHODS:
        config.method, config.ega.enabled = row, False
    if row == "entropy":
        config.ega.adversarial = False
    if row == "adversarial":
        config.ega.lambda_clean = config.ega.lambda_adv = 0.0
    if row in PROBABILITIES:
        config.ega.probability = row
    if config.ega.probability == "spatial_softmax":
        config.ega.reduction = "sum"  # one distribution over the map: its entropy is the sum
