r"""EGA on ILSVRC with ResNet-50.

Not in the paper.

    python -m ega_jax.main --config=configs/ilsvrc_resnet50.py --config.data.root=OUT \
        --config.data.metadata=OUT/metadata --config.model.pretrained=resnet50-19c8e357.pth

Assumes an accelerator of 16 GB, or several that its batches of 32 divide over; not tried on one.
After a colon: rows of `configs/rows.py`, and `reference`.
"""

import ml_collections

from configs import protocol


def get_config(row: str = "ega") -> ml_collections.ConfigDict:
    """Returns the recipe of a row."""
    return protocol.recipe("ilsvrc", "resnet50", row)
