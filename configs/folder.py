"""EGA on your own labelled pictures.

    python -m ega_jax.main --config=configs/folder.py --config.data.root=DIR

`DIR/<class>/*.jpg` (png, webp) is enough to train; `DIR/train/<class>/`, `DIR/val/<class>/` and
`DIR/test/<class>/` give classification figures too. With `--config.data.metadata=META`, where
`META/{train,val,test}` hold the field's text files, boxes or masks are scored:

    image_ids.txt      path below DIR
    class_labels.txt   path,label          labels from 0
    image_sizes.txt    path,width,height   read from the images where absent
    localization.txt   path,x0,y0,x1,y1    boxes, one a line; or
                       path,mask,ignore    masks below --config.data.masks
    masks.txt          path,mask,ignore    masks beside boxes
    class_names.txt    name                in the order of the labels

docs/own_data.md says the rest, and how annotations of COCO, VOC and YOLO become these files.

From scratch, at half the published resolution: a starting point for small sets on modest hardware.
"""

import ml_collections

from configs import base


def get_config() -> ml_collections.ConfigDict:
    """Returns the recipe for a small folder of pictures."""
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
    config.checkpoint.every_steps = 100
    config.eval.every_epochs = 5.0
    config.log_every_steps = 10
    return config
