r"""EGA on ILSVRC with Inception v3, which the field calls GoogLeNet.

Tab. 2 and 5, GoogLeNet-EGA as the authors' code has it. The paper's figures: Top-1 cls err 27.42,
Top-1 loc err 50.17, CorLoc err 35.17. Not reproduced yet.

    python -m ega_jax.main --config=configs/ilsvrc_inception_v3.py --config.data.root=OUT \
        --config.data.metadata=OUT/metadata \
        --config.model.pretrained=inception_v3_google-1a9a5a14.pth

Assumes an accelerator of 16 GB, or several that its batches of 32 divide over; not tried on one.
After a colon: rows of `configs/rows.py`, `reference` and `released_code`.
"""

import ml_collections

from configs import protocol


def get_config(row: str = "ega") -> ml_collections.ConfigDict:
    """Returns the recipe of a row."""
    return protocol.recipe("ilsvrc", "inception_v3", row)
