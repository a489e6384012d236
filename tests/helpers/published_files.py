"""Makes small copies of the published data sets in their true shapes on disk."""

import importlib
import io
import struct
import zlib

import numpy as np
from PIL import Image

from ega_jax.config import build
from ega_jax.data.prepare import prepare
from tests.helpers.archives import tar_bytes

BIRDS = ("001.Albatross", "002.Bunting", "200.Yellowthroat")
# Path, label, training image, x, y, w, h, and the size of the image.
CUB = [
    (f"{bird}/{bird[4:]}_{n}_7.jpg", int(bird[:3]) - 1, n % 2, (n, 1, 20 + n, 15), (40, 30))
    for bird in BIRDS
    for n in (3, 1, 4, 2)
]
CUBV2 = [f"{BIRDS[0]}/{n}.jpg" for n in (107, 20, 33)] + [f"{BIRDS[2]}/5{n}.jpg" for n in range(5)]
WORDNET = ("n01440764", "n01751748", "n02085620")
MIDS = ("01226z", "0hg7b")


def picture(size, kind="JPEG", seed=0, **options):
    """An image file with recognisable pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize(size, Image.BICUBIC).save(buffer, kind, **options)
    return buffer.getvalue()


def mask(size, box=(2, 2, 9, 9)):
    pixels = np.zeros(size[::-1], np.uint8)
    pixels[box[1] : box[3], box[0] : box[2]] = 255
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def huge_png():
    """A picture of 100 megapixels in a few hundred bytes."""

    def chunk(kind, data):
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    header = struct.pack(">IIBBBBB", 10_000, 10_000, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def write(folder, files):
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())


def write_metadata(folder, labels, boxes=None, sizes=None, localization=None):
    """Writes the field's files as the field does; `boxes`: lists of xyxy by image."""
    localization = localization or [
        f"{i},{','.join(map(str, b))}" for i in boxes or {} for b in boxes[i]
    ]
    lines = {
        "image_ids": labels,
        "class_labels": [f"{i},{label}" for i, label in labels.items()],
        "image_sizes": [f"{i},{w},{h}" for i, (w, h) in (sizes or {}).items()],
        "localization": localization,
    }  # fmt: skip
    write(folder, {f"{name}.txt": "\n".join(rows) for name, rows in lines.items()})


def listing(folder):
    """Everything below a folder with contents, time and inode."""
    return {
        str(path): (
            path.is_file() and path.read_bytes(),
            path.stat().st_mtime_ns,
            path.stat().st_ino,
        )
        for path in folder.rglob("*")
    }


def load(recipe, out):
    """Opens all splits as a recipe does, given nothing but the two folders."""
    config = importlib.import_module(f"configs.{recipe}").get_config()
    config.data.root, config.data.metadata = str(out), str(out / "metadata")
    return build.sources(config)


def run(name, folders, **options):
    options = {"subset": True} | options
    metadata = folders["metadata"] if any(folders["metadata"].iterdir()) else None
    return prepare.prepare(name, folders["source"], metadata, folders["out"], **options)


def cub_texts(images=CUB):
    """The owners' four tables of the images."""
    numbered = list(enumerate(images, start=1))
    return {
        "images.txt": "".join(f"{n} {row[0]}\n" for n, row in numbered),
        "image_class_labels.txt": "".join(f"{n} {row[1] + 1}\n" for n, row in numbered),
        "train_test_split.txt": "".join(f"{n} {row[2]}\n" for n, row in numbered),
        "bounding_boxes.txt": "".join(
            f"{n} " + " ".join(f"{at:.1f}" for at in row[3]) + "\n" for n, row in numbered
        ),
    }


def cub_files():
    """What `CUB_200_2011.tgz` holds."""
    texts = {f"CUB_200_2011/{name}": text.encode() for name, text in cub_texts().items()}
    images = {f"CUB_200_2011/images/{row[0]}": picture(row[4], seed=n) for n, row in enumerate(CUB)}
    return {"attributes.txt": b"1 has_bill\n"} | images | texts


def cubv2_files():
    return {f"CUBV2/{path}": picture((50, 40), seed=n) for n, path in enumerate(CUBV2)}


def cubv2_boxes():
    """Headed x0,y0,x1,y1, but x,y,w,h; in the order of the sorted names."""
    rows = [f"{11789 + n},{n},2,30,20" for n in range(len(CUBV2))]
    return "\n".join(["image_id,x0,y0,x1,y1", *rows])


def cub_source(folder):
    write(folder, {"CUB_200_2011.tgz": tar_bytes(cub_files(), "w:gz")})
    write(folder, {"CUBV2.tar": tar_bytes(cubv2_files()), "CUBV2_boxes.txt": cubv2_boxes()})


def cub_metadata(folder):
    for split, flag in (("train", 1), ("test", 0)):
        rows = [row for row in CUB if row[2] == flag]
        write_metadata(
            folder / split,
            {row[0]: row[1] for row in rows},
            {row[0]: [(x, y, x + w, y + h)] for row in rows for x, y, w, h in [row[3]]},
            {row[0]: row[4] for row in rows},
        )
    paths = sorted(CUBV2)
    write_metadata(
        folder / "val",
        {path: int(path[:3]) - 1 for path in paths},
        {path: [(n, 2, n + 30, 22)] for n, path in enumerate(paths)},
        dict.fromkeys(paths, (50, 40)),
    )
