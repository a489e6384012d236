r"""EGA on Oxford-IIIT Pet, VGG16-BN: one command downloads, prepares, trains, scores.

    python -m ega_jax.main --config=configs/pets_vgg.py

needs internet once, for 0.8 GB of archives and the weights, and goes on without. Where there is
none, prepare the data elsewhere, copy their folder, and say where it is:

    python -m ega_jax.data.tfds.download oxford_iiit_pet --out=DIR
    python -m ega_jax.main --config=configs/pets_vgg.py \
        --config.data.root=DIR/oxford_iiit_pet/4.0.0

37 breeds. Masks are the trimaps with their border ignored, boxes the smallest around both. A tenth
of the training images of each class is held out for validation. After a colon: rows of
`configs/rows.py`.

Assumes an accelerator of 16 GB; not tried on one. No row of the paper, and not run on the whole
data set yet.
"""

import ml_collections

from configs import named


def get_config(row: str = "ega") -> ml_collections.ConfigDict:
    """Returns the recipe of a row."""
    return named.recipe("pets", "vgg", row)
