"""ILSVRC, ImageNetV2 and OpenImages in the small: what their owners distribute."""

from PIL import Image

from tests.helpers.archives import tar_bytes
from tests.helpers.published_files import MIDS, WORDNET, mask, picture, write, write_metadata

VAL_CLASSES = (0, 2, 10)  # 10 sorts before 2


def ilsvrc_train():
    return {
        wordnet: {f"{wordnet}_{n}.JPEG": picture((30 + n, 20), seed=n) for n in (10, 9)}
        for wordnet in WORDNET
    }


def ilsvrc_test():
    return {
        f"ILSVRC2012_val_{n:08}.JPEG": picture((40, 30), seed=n, exif=turned()) for n in range(1, 5)
    }


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def v2_files():
    return {
        f"{c}/{n}.jpeg": picture((40 + c + n, 30), seed=n) for c in VAL_CLASSES for n in range(4)
    }


def ilsvrc_metadata(folder, splits=("val", "test")):
    if "val" in splits:
        labels = {f"val2/{c}/{n}.jpeg": c for c in VAL_CLASSES for n in range(4)}
        write_metadata(
            folder / "val",
            labels,
            {path: [(1, 2, 9, 8), (3, 3, 7, 9)] for path in labels},
            {f"val2/{c}/{n}.jpeg": (40 + c + n, 30) for c in VAL_CLASSES for n in range(4)},
        )
    if "test" in splits:
        labels = {f"val/{name}": n % 3 for n, name in enumerate(ilsvrc_test())}
        boxes = {path: [(1, 2, 39, 29)] * (1 + n % 2) for n, path in enumerate(labels)}
        write_metadata(folder / "test", labels, boxes, dict.fromkeys(labels, (40, 30)))


def ilsvrc_xml(labels=(0, 1, 2, 0)):
    """The owners' annotation, some boxes of which end one pixel outside."""
    box = "<object><name>{}</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>40</xmax>" \
        "<ymax>30</ymax></bndbox></object>"  # fmt: skip
    return {
        f"val/ILSVRC2012_val_{n:08}.xml": (
            f"<annotation>{box.format(WORDNET[label]) * (1 + (n - 1) % 2)}</annotation>".encode()
        )
        for n, label in enumerate(labels, start=1)
    }


def ilsvrc_archives(folder, v2=None):
    inner = {f"{wordnet}.tar": tar_bytes(files) for wordnet, files in ilsvrc_train().items()}
    write(folder, {"ILSVRC2012_img_train.tar": tar_bytes(inner)})
    write(folder, {"ILSVRC2012_img_val.tar": tar_bytes(ilsvrc_test())})
    rooted = {f"imagenetv2-threshold0.7-format-val/{k}": v for k, v in (v2 or v2_files()).items()}
    write(folder, {"imagenetv2-threshold0.7.tar.gz": tar_bytes(rooted, "w:gz")})


def open_images(folder):
    """Images and masks by path, and the metadata in `folder`: several objects in some images."""
    images, masks = {}, {}
    for split in ("train", "val", "test"):
        labels, localization = {}, []
        for label, mid in enumerate(MIDS):
            for n in range(2):
                name = f"{split}/{mid}/{split}{n}"
                labels[f"{name}.jpg"] = label
                images[f"{name}.jpg"] = picture((64, 48), seed=n)
                parts = [f"{name}_m{mid}_{k}.png" for k in range(n + 1)]
                ignore = f"{name}_ignore.png"
                # Masks of OpenImages are of another scale than their images.
                masks |= {path: mask((100, 75)) for path in [*parts, ignore] if split != "train"}
                localization += [
                    f"{name}.jpg,{path},{'' if k else ignore}" for k, path in enumerate(parts)
                ]
        lines = localization if split != "train" else [""]
        write_metadata(folder / split, labels, localization=lines)
    return images, masks
