r"""EGA on OpenImages with GoogLeNet (Inception v1).

Tab. 3, GoogLeNet-EGA. The paper's figures: Top-1 cls err 33.4, PxAP err 37.35. Not reproduced
yet; the authors' code has Inception v3 in this row.

    python -m ega_jax.main --config=configs/openimages_googlenet.py --config.data.root=OUT \
        --config.data.metadata=OUT/metadata \
        --config.model.pretrained=googlenet-1378be20.pth

Assumes an accelerator of 16 GB, or several that its batches of 32 divide over; not tried on one.
After a colon: rows of `configs/rows.py`.
"""

import ml_collections

from configs import protocol


def get_config(row: str = "ega") -> ml_collections.ConfigDict:
    """Returns the recipe of a row."""
    return protocol.recipe("openimages", "googlenet", row)
