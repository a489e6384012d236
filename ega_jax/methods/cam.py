"""Class activation maps (CAM): the baseline.

Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016. A classifier is
trained on labels alone. Its last layer, applied at every cell before the average (Eq. 3 of the
paper), draws a map for each class; that of the true class, cut at a threshold, is the box.
"""

import dataclasses

from ega_jax.methods.base import Method


@dataclasses.dataclass(frozen=True)
class CAM(Method):
    """Plain CAM, which changes nothing."""
