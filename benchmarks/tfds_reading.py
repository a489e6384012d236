"""Times what reading through TFDS costs, beside the same images as files.

On made-up images alone. First how long an image takes, read only and as a training example; the
ways take turns, and medians are printed, of CPU time and by the clock. Then how long a run of
ILSVRC's size needs to open its training split, and how much memory: ids, labels and places of
1,281,167 images that do not exist, in strings as long as ILSVRC's, each way in its own process.

    python -m benchmarks.tfds_reading --folder=/tmp/tfds_reading
"""

import argparse
import collections
import dataclasses
import json
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow_datasets as real_tfds
from PIL import Image

from ega_jax.data.files import folder
from ega_jax.data.pipeline import train_batches
from ega_jax.data.source import Source
from ega_jax.data.tf_on_cpu import tf
from ega_jax.data.tfds import builder as tfds_builder
from ega_jax.data.tfds import source as tfds
from ega_jax.data.tfds.index import Index, write_index

PICTURES = 1000
ILSVRC, CLASSES, FILES = 1_281_167, 1000, 1024
BATCH = 50


def make_pictures(root: pathlib.Path) -> None:
    """Draws JPEG files of 500 x 375 pixels and about 70 kB, in a folder of a class."""
    (root / "class").mkdir(parents=True)
    for number in range(PICTURES):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 50, 3), np.uint8)
        image = Image.fromarray(pixels).resize((500, 375), Image.BICUBIC)
        image.save(root / "class" / f"{number}.jpg", quality=95)


def make_array_records(made: str, root: pathlib.Path, out: pathlib.Path) -> str:
    """Makes the same data set as `tfds_builder` has made, but in ArrayRecord files."""
    features = real_tfds.features
    ids = folder.open_split(str(root), "train").image_ids
    builder = real_tfds.dataset_builders.store_as_tfds_dataset(
        name="array_records",
        version="1.0.0",
        features=features.FeaturesDict(
            {
                "image": features.Image(),
                "image_id": features.Text(),
                "label": features.ClassLabel(names=["class"]),
            }
        ),
        split_datasets={
            "train": [
                (number, {"image": str(root / image_id), "image_id": image_id, "label": 0})
                for number, image_id in enumerate(ids)
            ]
        },
        data_dir=out,
        file_format="array_record",
    )
    shutil.copytree(f"{made}/ega_jax/metadata", builder.data_path / "ega_jax" / "metadata")
    write_index(builder.data_dir)
    return builder.data_dir


def only_images(source: Source) -> None:
    """Decodes every image once, at random places."""
    order = tf.random.shuffle(tf.range(len(source), dtype=tf.int64), seed=0)
    data = tf.data.Dataset.from_tensor_slices(order)
    data = data.map(lambda index: tf.shape(source.load_image(index)), num_parallel_calls=2)
    for _ in data.batch(BATCH).as_numpy_iterator():
        pass


def training_examples(source: Source) -> None:
    """Makes the batches of one pass."""
    steps = len(source) // BATCH
    for _ in train_batches(
        source,
        batch_size=BATCH,
        seed=0,
        start_step=0,
        num_steps=steps,
        resize_size=256,
        crop_size=224,
        num_threads=2,
    ):
        pass


def microseconds(sources: dict[str, Source], turns: int) -> dict[str, dict[str, float]]:
    """Measures each way to read, in microseconds per image, by the clock and of CPU time."""
    times = collections.defaultdict(lambda: collections.defaultdict(list))
    for _ in range(turns):
        for name, source in sources.items():
            for work in (only_images, training_examples):
                clock, cpu = time.perf_counter(), time.process_time()
                work(source)
                scale = 1e6 / len(source)
                times[name][f"{work.__name__}, CPU"].append((time.process_time() - cpu) * scale)
                times[name][f"{work.__name__}, clock"].append((time.perf_counter() - clock) * scale)
    return {
        name: {what: round(statistics.median(values), 1) for what, values in kinds.items()}
        for name, kinds in times.items()
    }


def make_start(out: pathlib.Path) -> str:
    """Makes a data set that claims to have ILSVRC's images, from one that has one image."""
    (out / "tree" / "class").mkdir(parents=True)
    Image.new("RGB", (500, 375)).save(out / "tree" / "class" / "1.jpg")
    made = tfds_builder.build(str(out / "tree"), str(out), "start", num_classes=1)
    info = json.loads(pathlib.Path(made, "dataset_info.json").read_text())
    counts = np.bincount(np.arange(ILSVRC) * FILES // ILSVRC, minlength=FILES)
    info["splits"][0]["shardLengths"] = [str(count) for count in counts]
    pathlib.Path(made, "dataset_info.json").write_text(json.dumps(info))

    rng = np.random.default_rng(0)
    labels = np.arange(ILSVRC) * CLASSES // ILSVRC
    wordnet = [f"n{n:08}" for n in np.sort(rng.choice(10**7, CLASSES, replace=False))]
    ids = [f"train/{wordnet[c]}/{wordnet[c]}_{n % 30000}.JPEG" for n, c in enumerate(labels)]
    lengths = rng.integers(60_000, 160_000, ILSVRC)
    index = Index(
        names=np.array([i.encode() for i in ids])[rng.permutation(ILSVRC)],
        shards=np.repeat(np.arange(FILES, dtype=np.int32), counts),
        places=np.concatenate(
            [np.cumsum(part) for part in np.split(lengths, np.cumsum(counts)[:-1])]
        ),
        lengths=lengths.astype(np.int32),
        sizes=np.tile(np.array([[500, 375]], np.int32), (ILSVRC, 1)),
        orientations=np.ones(ILSVRC, np.uint8),
        shard_lengths=counts,
    )
    ours = pathlib.Path(made, "ega_jax")
    np.savez_compressed(ours / "index" / "train.npz", **dataclasses.asdict(index))
    (ours / "metadata/train/image_ids.txt").write_text("\n".join(ids))
    for name, rows in {
        "class_labels": (f"{i},{label}" for i, label in zip(ids, labels, strict=True)),
        "image_sizes": (f"{i},500,375" for i in ids),
    }.items():
        (ours / "metadata" / "train" / f"{name}.txt").write_text("\n".join(rows))
    return made


def start(way: str, made: str) -> dict[str, float]:
    """Opens the training split, makes batches far into the run; CPU seconds and megabytes."""
    options = {"metadata": f"{made}/ega_jax/metadata", "num_classes": CLASSES}
    before, clock = _megabytes(), time.process_time()
    if way == "tfds":
        source = tfds.open_split(made, "train", **options)
    else:
        source = folder.open_split(made, "train", check_files=False, **options)
    opened = time.process_time()
    train_batches(
        source,
        batch_size=256,
        seed=0,
        start_step=40_000,
        num_steps=50_000,
        resize_size=256,
        crop_size=224,
    )
    return {
        "images": len(source),
        "open, s": round(opened - clock, 1),
        "resume at step 40000, s": round(time.process_time() - opened, 2),
        "memory held, MB": round(_megabytes() - before),
    }


def _megabytes() -> float:
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def main() -> None:
    """Prints both tables as JSON."""
    parser = argparse.ArgumentParser(description="Times reading through TFDS.")
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="a new folder to use")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--start", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.start:
        print(json.dumps(start(*arguments.start)))
        return
    real_tfds.disable_progress_bar()
    arguments.folder.mkdir(parents=True)
    root = arguments.folder / "pictures"
    make_pictures(root)
    made = tfds_builder.build(str(root), str(arguments.folder), "pictures_in_tfds")
    array_records = make_array_records(made, root, arguments.folder)
    sources = {
        "files": folder.open_split(str(root), "train"),
        "TFRecord": tfds.open_split(made, "train"),
        "ArrayRecord": tfds.open_split(array_records, "train"),
    }
    print(json.dumps(microseconds(sources, arguments.turns), indent=2))
    made = make_start(arguments.folder / "ilsvrc")
    size = pathlib.Path(made, "ega_jax/index/train.npz").stat().st_size / 1e6
    print(f"index of {ILSVRC} images: {size:.0f} MB")
    for way in ("folder", "tfds"):
        command = [sys.executable, "-m", "benchmarks.tfds_reading", f"--folder={root}"]
        print(way, subprocess.check_output([*command, "--start", way, made], text=True).strip())


if __name__ == "__main__":
    main()
