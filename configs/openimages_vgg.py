r"""EGA on OpenImages with VGG16-BN.

Tab. 3, VGGnet-EGA. The paper's figures: Top-1 cls err 30.0, PxAP err 38.21. Not reproduced yet.

    python -m ega_jax.main --config=configs/openimages_vgg.py --config.data.root=OUT \
        --config.data.metadata=OUT/metadata \
        --config.model.pretrained=vgg16_bn-6c64b313.pth

Assumes an accelerator of 16 GB, or several that its batches of 32 divide over; not tried on one.
After a colon: rows of `configs/rows.py`; `reference`, `released_code` and the other systems take
vgg16-397923af.pth.
"""

import ml_collections

from configs import protocol


def get_config(row: str = "ega") -> ml_collections.ConfigDict:
    """Returns the recipe of a row."""
    return protocol.recipe("openimages", "vgg", row)
