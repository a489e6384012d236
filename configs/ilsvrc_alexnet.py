r"""EGA on ILSVRC with AlexNet-GAP, without batch norm.

The backbone of AlexNet-GAP in Tab. 5 (the paper's figure for it: CorLoc err 45.01, row `cam`).
The paper trains no EGA on it.

    python -m ega_jax.main --config=configs/ilsvrc_alexnet.py --config.data.root=OUT \
        --config.data.metadata=OUT/metadata

From scratch, unless weights of the CAM release, converted to .safetensors, are given as
`--config.model.pretrained` with `--config.model.input_scaling=caffe`.

Assumes an accelerator of 16 GB, or several that its batches of 32 divide over; not tried on one.
After a colon: rows of `configs/rows.py`.
"""

import ml_collections

from configs import protocol


def get_config(row: str = "ega") -> ml_collections.ConfigDict:
    """Returns the recipe of a row."""
    return protocol.recipe("ilsvrc", "alexnet", row)
