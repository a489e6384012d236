r"""Makes a set of two classes, pictures with an object and pictures without, from one with boxes.

    python -m benchmarks.background_crops --images=DIR --metadata=META --out=OUT
    python -m ega_jax.main --config=configs/photos.py:small --config.data.root=OUT/images \
        --config.data.metadata=OUT/metadata --config.data.background_classes=background
    python -m ega_jax.main --config=configs/photos.py:small --config.data.root=OUT/images \
        --config.data.metadata=OUT/metadata_without --workdir=runs/without

The class `object` holds the pictures as they are, with their boxes; `background` holds the widest
crop of each that no box touches, where one of at least `--smallest` pixels a side is to be had.
`metadata_without` is for a run that is not told which class is background: it trains on the same
pictures, without boxes, and is scored on those of `object` alone, on which both can be compared.
"""

import argparse
import os
import pathlib

import numpy as np
from PIL import Image, ImageOps

from ega_jax.data.files import splits
from ega_jax.data.files.metadata import Metadata, read_metadata
from ega_jax.data.source import DataError

CLASSES = ("object", "background")


def empty_crop(size: tuple[int, int], boxes: np.ndarray) -> tuple[int, int, int, int]:
    """Finds the crop beside all boxes whose shorter side is the longest.

    Args:
      size: width and height of the picture.
      boxes: `[n, 4]` first and last pixels.

    Returns:
      Left, upper, right and lower edge, as Pillow's `crop` takes them: the strip on one of the four
      sides of all the boxes together, over the whole height or width.
    """
    width, height = size
    x0, y0 = boxes[:, :2].min(0).tolist()
    x1, y1 = (boxes[:, 2:].max(0) + 1).tolist()
    strips = ((0, 0, x0, height), (x1, 0, width, height), (0, 0, width, y0), (0, y1, width, height))
    return max(strips, key=lambda strip: min(strip[2] - strip[0], strip[3] - strip[1]))


def convert(images: pathlib.Path, truth: Metadata, out: pathlib.Path, split: str, smallest: int):
    """Writes crops and metadata of a split; returns how many pictures have which class."""
    lines = {"image_ids": [], "class_labels": [], "localization": []}
    count = 0
    for image_id, boxes in zip(truth.image_ids, truth.boxes_per_image(), strict=True):
        lines["image_ids"].append(f"object/{image_id}")
        lines["class_labels"].append(f"object/{image_id},0")
        lines["localization"] += [
            f"object/{image_id}," + ",".join(map(str, box)) for box in boxes.tolist()
        ]
        with Image.open(images / image_id) as image:
            image = ImageOps.exif_transpose(image).convert("RGB")
        left, upper, right, lower = crop = empty_crop(image.size, boxes)
        if min(right - left, lower - upper) < smallest:
            continue
        name = pathlib.Path("background", image_id).with_suffix(".png")
        path = out / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image.crop(crop).save(path)
        lines["image_ids"].append(name.as_posix())
        lines["class_labels"].append(f"{name.as_posix()},1")
        count += 1
    _write(out / "metadata" / split, lines)
    if split == "train":
        del lines["localization"]
    else:
        lines = {
            stem: [text for text in texts if text.startswith("object/")]
            for stem, texts in lines.items()
        }
    _write(out / "metadata_without" / split, lines)
    return len(truth.image_ids), count


def _write(folder: pathlib.Path, lines: dict[str, list[str]]) -> None:
    folder.mkdir(parents=True)
    for stem, texts in lines.items():
        (folder / f"{stem}.txt").write_text("".join(f"{text}\n" for text in texts))


def main(argv: list[str] | None = None) -> None:
    """Converts all splits."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", required=True, type=pathlib.Path, help="folder of the pictures")
    parser.add_argument("--metadata", required=True, help="folder of the splits, with boxes")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="a folder to be made")
    parser.add_argument("--smallest", type=int, default=64, help="pixels of a crop's shorter side")
    flags = parser.parse_args(argv)
    if flags.out.exists():
        raise SystemExit(f"error: {flags.out} is there already; give another --out")
    truth = {}
    for split in ("train", "val", "test"):
        folder = splits.metadata_folder(flags.metadata, split)
        truth[split] = read_metadata(folder) if folder else None
        if truth[split] is not None and truth[split].boxes is None:
            raise DataError(f"{flags.metadata} has no boxes of {split}")
    (flags.out / "images").mkdir(parents=True)
    os.symlink(flags.images.resolve(), flags.out / "images" / "object")
    for split, of_split in truth.items():
        if of_split is not None:
            pictures, crops = convert(flags.images, of_split, flags.out, split, flags.smallest)
            print(f"{split}: {pictures} pictures, {crops} crops without an object")
    for name in ("metadata", "metadata_without"):
        (flags.out / name / "class_names.txt").write_text("".join(f"{c}\n" for c in CLASSES))


if __name__ == "__main__":
    main()
