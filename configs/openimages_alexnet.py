r"""EGA on OpenImages with AlexNet-GAP, without batch norm.

Not in the paper.

    python -m ega_jax.main --config=configs/openimages_alexnet.py --config.data.root=OUT \
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
    return protocol.recipe("openimages", "alexnet", row)
