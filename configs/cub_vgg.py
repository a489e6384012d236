r"""EGA on CUB-200-2011 with VGG16-BN.

Tab. 1 and 6, VGGnet-EGA. The paper's figures: Top-1 cls err 21.87, Top-1 loc err 40.84; Tab. 4:
MaxBoxAccV2 err 36.07. Not reproduced yet.

    python -m ega_jax.main --config=configs/cub_vgg.py --config.data.root=OUT \
        --config.data.metadata=OUT/metadata --config.model.pretrained=vgg16_bn-6c64b313.pth

Assumes an accelerator of 16 GB, or several that its batches of 32 divide over; not tried on one.
After a colon: rows of `configs/rows.py`; `reference`, `released_code` and the other systems take
vgg16-397923af.pth.
"""

import ml_collections

from configs import protocol


def get_config(row: str = "ega") -> ml_collections.ConfigDict:
    """Returns the recipe of a row."""
    return protocol.recipe("cub", "vgg", row)
