r"""EGA on CUB-200-2011 with AlexNet-GAP, without batch norm.

Not in the paper.

    python -m ega_jax.main --config=configs/cub_alexnet.py --config.data.root=IMAGES \
        --config.data.metadata=metadata/CUB

After a colon: rows of `configs/rows.py`.
"""

import ml_collections

from configs import protocol


def get_config(row: str = "ega") -> ml_collections.ConfigDict:
    """Returns the recipe of a row."""
    return protocol.recipe("cub", "alexnet", row)
