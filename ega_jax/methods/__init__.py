"""The systems of the paper's tables, one file each: small sets of pure functions."""

from ega_jax.methods.acol import ACoL
from ega_jax.methods.adl import ADL
from ega_jax.methods.backprop import Backprop
from ega_jax.methods.base import Method
from ega_jax.methods.cam import CAM
from ega_jax.methods.ccam import CCAM
from ega_jax.methods.cutmix import CutMix
from ega_jax.methods.danet import DANet
from ega_jax.methods.has import HaS
from ega_jax.methods.nl_ccam import NLCCAM
from ega_jax.methods.spg import SPG

METHODS: dict[str, type[Method]] = {
    "cam": CAM,
    "backprop": Backprop,
    "has": HaS,
    "acol": ACoL,
    "spg": SPG,
    "adl": ADL,
    "cutmix": CutMix,
    "danet": DANet,
    "ccam": CCAM,
    "nl_ccam": NLCCAM,
}
