"""Turns annotations of COCO, Pascal VOC or YOLO into the metadata of a split.

python -m ega_jax.data.convert coco --annotations=instances.json --images=DIR --out=META
python -m ega_jax.data.convert voc --annotations=DIR/Annotations --images=DIR/JPEGImages --out=META
python -m ega_jax.data.convert yolo --annotations=DIR/labels --images=DIR/images --out=META \
    --classes=DIR/data.yaml
"""

import argparse
import os
import shlex
import sys

import ega_jax.runtime.quiet_tensorflow  # noqa: F401

# isort: split

from ega_jax.data.convert.annotations import Annotations, read_names
from ega_jax.data.convert.coco import read_coco
from ega_jax.data.convert.convert import MASKS, SEVERAL, convert
from ega_jax.data.convert.voc import read_voc
from ega_jax.data.convert.yolo import read_yolo
from ega_jax.data.source import SPLITS, DataError


def main(argv: list[str] | None = None) -> int:
    """Converts a split; returns the exit code, 1 if anything is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m ega_jax.data.convert",
        description="Turns annotations of COCO, Pascal VOC or YOLO into the metadata of a split.",
    )
    path = os.path.expanduser
    parser.add_argument("format", choices=("coco", "voc", "yolo"))
    parser.add_argument(
        "--annotations", type=path, required=True, help="the JSON file, or folder of XML or text"
    )
    parser.add_argument("--images", type=path, required=True, help="the folder of the pictures")
    parser.add_argument("--out", type=path, required=True, help="the metadata folder to write")
    parser.add_argument(
        "--root", type=path, help="the folder that image ids start from; default: --images"
    )
    parser.add_argument("--split", choices=SPLITS, default="train")
    parser.add_argument(
        "--classes", type=path, help="yolo: class names, a text file or data.yaml, in their order"
    )
    parser.add_argument("--list", type=path, help="voc: a file of names, ImageSets/Main/train.txt")
    parser.add_argument(
        "--several",
        choices=SEVERAL,
        default=SEVERAL[0],
        help="what to do about pictures with objects of several classes",
    )
    parser.add_argument("--check", action="store_true", help="only look")
    arguments = parser.parse_args(argv)
    if (arguments.format == "yolo") != bool(arguments.classes):
        parser.error("--classes is needed for yolo, and only for it")
    if arguments.list and arguments.format != "voc":
        parser.error("--list is for voc")
    common = {name: getattr(arguments, name) for name in ("images", "root", "out", "split")}
    try:
        report = convert(
            _read(arguments), several=arguments.several, check=arguments.check, **common
        )
        print(report)
        report.require_complete()
    except (DataError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if not arguments.check:
        out = arguments.out
        masks = os.path.join(out, MASKS)
        fields = {"root": arguments.root or arguments.images, "metadata": out}
        if os.path.isdir(masks):
            fields["masks"] = masks
        flags = [f"--config.data.{name}={path}" for name, path in fields.items()]
        print(f"  {shlex.join(flags)}")
    return 0


def _read(arguments: argparse.Namespace) -> Annotations:
    if arguments.format == "coco":
        return read_coco(arguments.annotations)
    for option in ("annotations", "images"):
        if not os.path.isdir(folder := getattr(arguments, option)):
            raise DataError(f"no folder {folder!r}; set --{option}")
    if arguments.format == "voc":
        return read_voc(arguments.annotations, arguments.images, arguments.list)
    return read_yolo(arguments.annotations, arguments.images, read_names(arguments.classes))


if __name__ == "__main__":
    sys.exit(main())
