"""Every field of a run, once, with its meaning. A recipe takes this and changes a few."""

import difflib

import ml_collections
from ml_collections.config_dict import FieldReference, placeholder

from ega_jax.runtime.errors import ConfigError
from ega_jax.runtime.nested import flatten

RENAMED = {"cam.reader": "reader.name", "cam.layer": "reader.layer"}

# Defaults of EGA. How a map becomes a probability the paper does not say; its weights are constant,
# its cross entropies whole. This reading, setting in once the head has learnt what to draw, with
# half of each cross entropy and the largest pair of Tab. 7's weights, is what helps on photographs
# (docs/evidence.md). The quickstart, from scratch on drawings, has others.
EGA_DEFAULTS = {
    # Of each cross entropy where there are two. Eq. 8: 1, the released code: 0.5, their mean.
    "ce_weight": 0.5,
    "lambda_clean": 3.0,  # weight of the clean map's entropy; paper: 1
    "lambda_adv": 1.0,  # weight of the adversarial map's entropy; paper: 0.01
    "probability": "minmax",  # or class_softmax, spatial_softmax, sigmoid; see losses.cam_entropy
    "reduction": "mean",  # over the map's pixels: mean, or sum as Eq. 7 is written
    # When the terms set in, in shares of the training: their weights are 0 before the start and
    # then rise linearly. Paper: constant, 0 and 0.
    "entropy_start": 0.25,
    "entropy_rise": 0.5,
}


def get_config() -> ml_collections.ConfigDict:
    """Returns EGA with its defaults but for the data; docs/method.md has what the paper says."""
    config = ml_collections.ConfigDict()

    config.seed = 0  # of weights, batches, augmentation, attacks
    # Over all devices; auto: the largest power of two on each that its memory allows.
    config.batch_size = FieldReference(32, field_type=object)
    # Parts that each batch is gone through in, in the memory of one; batch norm sees one at a time.
    config.accumulate = 1
    # What a forward pass keeps for its backward pass: none: all that it uses; elementwise: what
    # convolutions and sums give; stages: features behind stages. The rest is computed again.
    config.remat = "none"
    config.epochs = 10.0  # length of the run in passes over the training data
    # Or in updates; if set, it counts instead of epochs. 0: the network is used as it is.
    config.steps = placeholder(int)

    config.data = ml_collections.ConfigDict()
    # folder: images on disk; tfds: a prepared TFDS data set; creatures: the embedded data set
    config.data.name = "folder"
    # folder: the image folder. tfds: the data set with its version, DIR/cub/1.0.0; local or gs://;
    # or caltech_birds2011, oxford_iiit_pet: downloaded and prepared by TFDS if it is not here.
    config.data.root = ""
    config.data.val_root = ""  # tfds: that of the validation images, where `root` has none
    # folder: holds train/, val/ and test/ in the field's layout. Empty: root/train/<class>/*.jpg
    # (also val and test), or just root/<class>/*.jpg for training without annotation.
    # tfds: for data sets that TFDS itself prepares, or to take other lists than the data set's own.
    config.data.metadata = ""
    config.data.masks = ""  # folder: mask paths in the metadata are below this folder
    # folder: what values mean in masks: binary: all but 0 is object; trimap: 1 object, 2
    # background, 3 border to be ignored
    config.data.mask_values = "binary"
    config.data.num_classes = placeholder(int)  # checked against the labels; None: taken from them
    # A file with the name of a class on each line, in the order of the labels, for data that have
    # numbers alone. Empty: the class folders' names, or the labels themselves.
    config.data.class_names = ""
    # Classes without an object, by name, with commas between several: classified as the others, but
    # never given a box, outside the localization figures and the entropy terms.
    config.data.background_classes = ""
    config.data.check_files = True  # folder: open every image's header at start; off for huge sets
    # folder: what to do about training images that cannot be used. refuse: name them and stop.
    # skip: decode each at start; leave those out, the same in all processes and after a restart.
    config.data.on_bad_image = "refuse"
    config.data.apply_exif = True  # turn images as their EXIF orientation says
    config.data.seed = 0  # creatures: another seed is another data set of the same kind
    config.data.image_size = 96  # creatures: side of the images drawn,
    config.data.train_images = 4000  # and their number for each split
    config.data.val_images = 300
    config.data.test_images = 500
    config.data.resize_size = 256  # training images are resized to this square,
    config.data.crop_size = 224  # cropped at random to this one, which is also the test size,
    config.data.flip = True  # and mirrored at random
    # memory: every process reads the training images once, at start, and keeps them resized in
    # resize_size^2 * 3 bytes each, 1.2 GB for CUB. The same batches, several times as fast.
    config.data.cache = "none"

    # The system that is trained: cam, backprop, has, acol, spg, adl, cutmix, danet, ccam, nl_ccam.
    # Its settings are in the section of its name; others are not looked at.
    config.method = "cam"

    config.model = ml_collections.ConfigDict()
    # vgg16, googlenet, inception_v3, resnet50, alexnet, efficientnet_lite0
    config.model.name = "vgg16"
    # Weights to start from: auto: the network's official file, fetched if it is not here; or a
    # file: .pth or .safetensors with torchvision's names, Keras's .h5 for VGG16; or the workdir or
    # a checkpoint of a run, of any classes. Local or gs://. Empty: from scratch.
    config.model.pretrained = ""
    config.model.input_scaling = "imagenet"  # what the weights expect; see models/inputs.py
    config.model.width = 1.0  # factor on every channel count
    config.model.feature_stride = 16  # 16: a 14x14 map at 224 pixels; 8: 28x28; 32: 7x7
    # VGG16, GoogLeNet: with or without; AlexNet: without; the others: with. The auxiliary batch
    # norm needs it.
    config.model.batch_norm = True
    config.model.head_convs = 2  # 3x3 convolutions before the classifier; paper: 2
    config.model.head_batch_norm = True  # after them too, where the trunk has it
    config.model.dropout = 0.0  # in the head
    config.model.dtype = "float32"  # or bfloat16; parameters, statistics, losses stay float32

    config.ega = ml_collections.ConfigDict()
    config.ega.enabled = True  # over the method, if that has one class map; else the method alone
    config.ega.adversarial = True  # train on adversarial images too (Eq. 6)
    # Where the attack's ball is: pixel: epsilon and step_size in grey levels of 0-255; scaled: in
    # units of what the network scales its images to, and cut to [0, 1] there (the released code).
    config.ega.attack_space = "pixel"
    config.ega.epsilon = 1.0  # radius of the attack; paper: 1 to 4
    config.ega.num_steps = placeholder(int)  # None: the paper's epsilon + 1, but 1 for epsilon 1
    config.ega.step_size = 1.0  # of one attack step
    config.ega.random_start = False  # begin the attack at a random point of the ball
    config.ega.targeted = False  # attack towards a random class instead of away from the true one
    config.ega.attack_bn_mode = "eval"  # statistics in the attack: eval (running) or train (batch)
    config.ega.fast = False  # take the attack's gradient from the clean pass
    config.ega.update(EGA_DEFAULTS)

    config.has = ml_collections.ConfigDict()  # methods/has.py; defaults of the paper
    config.has.grid_sizes = (0, 16, 32, 44, 56)  # sides of hidden squares in pixels, drawn by image
    config.has.drop_rate = 0.5  # probability that a square is hidden
    config.acol = ml_collections.ConfigDict()  # methods/acol.py; default of the field's code
    config.acol.threshold = 0.7  # share of the first map's range; what is above is erased
    config.spg = ml_collections.ConfigDict()  # methods/spg.py; defaults of the field's code
    config.spg.thresholds_b2 = (0.7, 0.01)  # bounds of sure object and sure background, by branch
    config.spg.thresholds_b1 = (0.5, 0.05)
    config.spg.thresholds_c = (0.7, 0.1)
    config.adl = ml_collections.ConfigDict()  # methods/adl.py; defaults of the field's code
    config.adl.drop_rate = 0.75  # probability that the salient region is dropped
    config.adl.threshold = 0.9  # share of the attention's maximum that is salient
    config.cutmix = ml_collections.ConfigDict()  # methods/cutmix.py; defaults of the paper
    config.cutmix.beta = 1.0  # of the Beta distribution of the share that stays
    config.cutmix.probability = 1.0  # that a batch is mixed
    config.danet = ml_collections.ConfigDict()  # methods/danet.py; defaults of the authors' VGG16
    config.danet.hierarchy = ""  # CSV file of parents and roots, see data/hierarchy.py
    config.danet.num_maps = 8  # of a label
    config.danet.alpha = 0.01  # weight of the divergent activation term
    config.ccam = ml_collections.ConfigDict()  # methods/ccam.py and nl_ccam.py
    config.ccam.function = "quadratic"  # of the rank: t1b0, t1b1, linear; paper: quadratic

    config.reader = ml_collections.ConfigDict()  # how maps are read off a trained network
    # Empty: as the method does; or grad_cam, grad_cam_pp, layer_cam, score_cam, which explain
    config.reader.name = ""
    config.reader.layer = "head/classifier"  # the input of this module; see methods/readers.py

    config.optimizer = ml_collections.ConfigDict()
    config.optimizer.name = "sgd"  # with Nesterov momentum; or adam
    config.optimizer.learning_rate = 0.001  # of the trunk
    config.optimizer.head_multiplier = 10.0  # the head learns this much faster,
    config.optimizer.head_modules = ("head",)  # which is all modules whose names begin so
    config.optimizer.momentum = 0.9  # of sgd
    config.optimizer.weight_decay = 5e-4
    config.optimizer.decay_norm_and_bias = True  # decay biases and batch norms too
    config.optimizer.clip_norm = placeholder(float)  # bound on the gradient's norm; None: no bound
    config.optimizer.schedule = "step"  # step, cosine, polynomial (to 0, power 0.9), constant
    config.optimizer.warmup_epochs = 0.0  # linear rise to the rate, from one step above 0
    config.optimizer.decay_epochs = (3.0, 6.0, 9.0)  # step: when the rate falls,
    config.optimizer.decay_factor = 0.1  # and by what

    config.checkpoint = ml_collections.ConfigDict()
    config.checkpoint.every_steps = 1000
    config.checkpoint.keep = 3  # newest checkpoints kept, besides the best

    config.eval = ml_collections.ConfigDict()
    config.eval.batch_size = 32  # over all devices; never changes a figure
    config.eval.every_epochs = 1.0  # how often to score the validation split; 0: only at the end
    config.eval.checkpoint = "last"  # which one the test split is scored with: last or best
    config.eval.ten_crop = False  # classify by the mean over ten crops
    config.eval.map_size = placeholder(int)  # side of the score maps; None: crop_size
    config.eval.threshold = 0.2  # the fixed threshold; a multiple of the interval
    config.eval.threshold_interval = 0.001
    config.eval.pictures = 24  # test images drawn as overlays
    # Score maps of the scored images as maps/<image id>.npy, as --mode=score reads them; 400 KB
    # each at 224 pixels.
    config.eval.save_maps = False
    config.eval.bootstrap = 1000  # resamples of the images for 95 % intervals; 0: no intervals

    config.predict = ml_collections.ConfigDict()
    config.predict.top_k = 1  # boxes for this many classes of each picture
    config.predict.boxes = "largest"  # or all: one around each object above the threshold
    config.predict.save_maps = False  # score maps too, as grey PNG files of the picture's size,
    config.predict.save_masks = False  # and what is above the threshold, 255 and 0
    # None: the one found on the validation split if results.json has it, else eval.threshold; to
    # annotate, else each map's own, see localization.own_threshold
    config.predict.threshold = placeholder(float)
    # Several boxes for a class: at most so many, without those of objects that are smaller than
    # this share of the largest one's area. None: as `boxes` says.
    config.predict.max_objects = placeholder(int)
    config.predict.smallest = 0.1
    # What the network looks at, to predict, annotate and evaluate: squares of this side (None:
    # crop_size), of these multiples of it, and mirrored; maps and scores are averaged.
    config.predict.size = placeholder(int)
    config.predict.scales = (1.0,)
    config.predict.flip = False
    # Also in so many tiles in height and in width, which overlap by half: for what is small in a
    # large picture. Classes and scores are those of the whole. 1: none.
    config.predict.tiles = 1

    config.annotate = ml_collections.ConfigDict()  # --mode=annotate; boxes are found as to predict
    config.annotate.format = "coco"  # or several of coco, voc, yolo, csv, png, joined by commas
    config.annotate.out = ""  # folder that they go to; empty: `annotations` in the workdir
    config.annotate.regions = "polygons"  # in COCO's JSON: polygons, rle (run lengths), none
    config.annotate.images = "link"  # beside VOC's and YOLO's files: link, copy, none
    config.annotate.min_confidence = 0.0  # boxes below it are left out
    config.annotate.review = (
        200  # pictures in review.html, those with the least sure boxes; 0: none
    )

    config.report = ml_collections.ConfigDict()  # report.html, see docs/report.md
    config.report.images = 200  # test images that can be looked at in it, 15 to 20 KB each

    config.log_every_steps = 50
    config.profile = 0  # steps recorded for the profiler, from the eleventh of each process on
    return config.lock()


def check_field(name: str, value: str | None = None) -> None:
    """Looks whether there is a field, before its value is parsed.

    Args:
      name: dotted.
      value: as text.

    Raises:
      ConfigError: there is no such field; names the nearest one. Or it is a section, or a share
        where grey levels are meant.
    """
    if name in RENAMED:
        raise ConfigError(f"config.{name} is called config.{RENAMED[name]} now")
    known = list(flatten(get_config().to_dict(), "."))
    if name in known:
        if name in ("ega.epsilon", "ega.step_size") and value and "/" in value:
            raise ConfigError(
                f"config.{name}={value}: is in grey levels of 0-255, so 8/255 of the range is 8"
            )
        return
    inside = [field for field in known if field.startswith(f"{name}.")]
    if inside:
        raise ConfigError(f"config.{name} is a section; set one of its fields: {', '.join(inside)}")
    near = difflib.get_close_matches(name, known, n=1)
    if not near:  # the right name in the wrong section
        ends = [field.rpartition(".")[2] for field in known]
        near = [
            field
            for field, end in zip(known, ends, strict=True)
            if difflib.get_close_matches(name.rpartition(".")[2], [end], cutoff=0.75)
        ]
    meant = f"did you mean config.{near[0]}? " if near else ""
    raise ConfigError(
        f"config.{name}: there is no such field; {meant}All fields are in ega_jax/config/fields.py"
    )


def words(text: str) -> tuple[str, ...]:
    """Splits a field of several words at its commas; spaces around them are dropped."""
    return tuple(word for part in text.split(",") if (word := part.strip()))
