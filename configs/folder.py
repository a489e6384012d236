"""EGA on your own labelled pictures.

    python -m ega_jax.main --config=configs/folder.py --config.data.root=DIR

`DIR/<class>/*.jpg` (or png, webp, ...) is enough to train; `DIR/train/<class>/`,
`DIR/val/<class>/` and `DIR/test/<class>/` give classification figures too. With
`--config.data.metadata=META`, where `META/{train,val,test}` hold the field's text files, boxes or
masks are scored:

    image_ids.txt      path below DIR
    class_labels.txt   path,label          labels from 0
    image_sizes.txt    path,width,height   read from the images where absent
    localization.txt   path,x0,y0,x1,y1    boxes, one a line; or
                       path,mask,ignore    masks below --config.data.masks
    masks.txt          path,mask,ignore    masks beside boxes
    class_names.txt    name                in the order of the labels

docs/own_pictures.md says the rest, and how annotations of COCO, VOC and YOLO become these files.

From scratch, at half the published resolution, on modest hardware. For photographs take
`configs/photos.py`, which begins with ImageNet weights.
The argument after a colon chooses another system or a row of the ablation (`configs/rows.py`):
`configs/folder.py:cam`. Lengths in pixels are scaled from 224 to 112.
"""

import ml_collections

from configs import base, rows


def get_config(row: str = "ega") -> ml_collections.ConfigDict:
    """Returns the recipe for a small folder of pictures; `row` is one of `configs/rows.py`."""
    config = base.get_config()
    config.epochs = 30.0

    config.data.resize_size = 128
    config.data.crop_size = 112

    config.model.width = 0.25
    config.model.feature_stride = 8

    config.optimizer.learning_rate = 0.02
    config.optimizer.head_multiplier = 1.0
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_epochs = 1.0
    config.has.grid_sizes = (0, 8, 16, 22, 28)
    config.checkpoint.every_steps = 100
    config.eval.every_epochs = 5.0
    config.log_every_steps = 10

    rows.choose(config, row, "configs/folder.py")
    return config
