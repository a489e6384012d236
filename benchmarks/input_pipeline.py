"""Times the input pipeline against a PyTorch-like loader, and finds where its time goes.

    python -m benchmarks.input_pipeline --repeats=9 --json=times.json

The pipeline alone, no network: JPEG files to batches of crops, in as many threads as the loader of
`pillow_loader.py` has worker processes. All ways run in turn, several times, on the same files;
medians are printed, and medians of the ratios to the loader within a turn (above 1: faster than the
loader), which a busy machine spoils least. CPU time is that of all threads and workers.

Stages are found by leaving out: the pipeline with one-pixel images, then with files read as well,
then decoded, then resized, then whole. A stage is the difference between two of them that ran one
after the other, in the median.
"""

import argparse
import json
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from benchmarks.pillow_loader import PillowLoader
from ega_jax.data import cache, preprocess
from ega_jax.data.files.image_files import file_loader
from ega_jax.data.pipeline import train_batches
from ega_jax.data.source import Source
from ega_jax.data.tf_on_cpu import tf

RESIZE, CROP = 256, 224
_WARM_UP = 6  # batches: more than any way makes ahead


def make_photo(rng: np.random.Generator, width: int = 500, height: int = 375) -> Image.Image:
    """Draws noise with about the spectrum of a photograph: a JPEG of some 100 kB at quality 90."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf

    def plane():
        spectrum = np.fft.rfft2(rng.standard_normal((height, width)))
        values = np.fft.irfft2(spectrum / frequency**1.1, (height, width))
        return values / values.std()

    light, red, blue = plane(), plane(), plane()
    pixels = 120 + 50 * np.dstack([light + 0.2 * red, light, light + 0.2 * blue])
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def make_photos(folder: str, count: int, seed: int) -> None:
    """Writes `count` of them into a folder."""
    for number in range(count):
        photo = make_photo(np.random.default_rng([seed, number]))
        photo.save(os.path.join(folder, f"{number:05}.jpg"), quality=90)


class Pipeline:
    """The pipeline over one way to load images, with the clocks that `PillowLoader` is read by."""

    def __init__(self, source: Source, batch_size: int, threads: int, size: int = CROP):
        """Starts the pipeline; `size`: of the crops, of the resized image too where it is 1."""
        self.batches: Iterator = train_batches(
            source,
            batch_size=batch_size,
            seed=0,
            start_step=0,
            num_steps=2**40,
            resize_size=RESIZE if size > 1 else 1,
            crop_size=size,
            num_threads=threads,
        )

    def __next__(self) -> dict[str, np.ndarray]:
        """Waits for the next batch."""
        return next(self.batches)

    def close(self) -> None:
        """Stops its threads."""
        self.batches.close()


def stage_loaders(paths: list[str]) -> dict[str, Callable]:
    """Returns `load_image` that does ever more, from nothing to resizing, and gives one pixel."""
    load, files = file_loader(paths), tf.constant(paths)

    def pixel(values):
        return tf.reshape(values, [-1])[:3][tf.newaxis, tf.newaxis]

    def fixed(values):
        return tf.ensure_shape(pixel(values), [1, 1, 3])

    return {
        "index, random keys": lambda index: tf.zeros([1, 1, 3], tf.uint8),
        "read": lambda index: fixed(
            tf.io.decode_raw(tf.strings.substr(tf.io.read_file(files[index]), 0, 3), tf.uint8)
        ),
        "decode": lambda index: fixed(load(index)[0, 0]),
        "resize": lambda index: fixed(preprocess.resize(load(index), RESIZE)[0, 0]),
    }


def measure(ways: dict, batch_size: int, batches: int, repeats: int) -> dict[str, dict[str, list]]:
    """Runs all ways in turn; returns wall and CPU milliseconds per image, of each turn."""
    times = {name: {"wall": [], "cpu": []} for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            for _ in range(_WARM_UP):
                next(way)
            wall, cpu = time.perf_counter(), _cpu_seconds(way)
            for _ in range(batches):
                next(way)
            per_image = 1e3 / (batches * batch_size)
            times[name]["wall"].append((time.perf_counter() - wall) * per_image)
            times[name]["cpu"].append((_cpu_seconds(way) - cpu) * per_image)
    return times


def _cpu_seconds(way) -> float:
    return time.process_time() + sum(getattr(way, "worker_seconds", ()))


def report(times: dict[str, dict[str, list]]) -> dict:
    """Takes medians and prints them."""
    median = {
        name: {clock: statistics.median(values) for clock, values in clocks.items()}
        for name, clocks in times.items()
    }
    results: dict = {"ways": {}, "stages": {}}
    print(f"{'':28}{'images/s':>10}{'ratio':>7}{'CPU ms/image':>14}{'ratio':>7}")
    for name in ("Pillow loader", "pipeline", "pipeline, cached"):
        ratios = {
            clock: statistics.median(
                theirs / ours
                for theirs, ours in zip(
                    times["Pillow loader"][clock], times[name][clock], strict=True
                )
            )
            for clock in ("wall", "cpu")
        }
        rate = 1e3 / median[name]["wall"]
        print(
            f"{name:28}{rate:10.0f}{ratios['wall']:7.2f}{median[name]['cpu']:14.2f}"
            f"{ratios['cpu']:7.2f}"
        )
        results["ways"][name] = {
            "images_per_second": rate,
            "cpu_ms": median[name]["cpu"],
            "ratio": ratios["wall"],
            "cpu_ratio": ratios["cpu"],
        }
    print(f"\n{'stage of the pipeline':28}{'CPU ms/image':>31}")
    stages = [name for name in times if name not in results["ways"]]
    before = [0.0] * len(times["pipeline"]["cpu"])
    for name in [*stages, "pipeline"]:
        label = "crop, mirror, batch" if name == "pipeline" else name
        up_to_here = times[name]["cpu"]
        stage = statistics.median(np.subtract(up_to_here, before))
        print(f"{label:28}{stage:31.2f}")
        results["stages"][label] = float(stage)
        before = up_to_here
    return results


def main() -> None:
    """Parses the flags, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", help="folder of JPEG files; made up if not given")
    parser.add_argument("--count", type=int, default=256, help="files to make or to take")
    parser.add_argument("--seed", type=int, default=0, help="of the files made")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--batches", type=int, default=20, help="timed in each turn")
    parser.add_argument("--repeats", type=int, default=7, help="turns of each way")
    parser.add_argument("--workers", type=int, default=2, help="threads, and worker processes")
    parser.add_argument("--json", help="file for the medians")
    flags = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        if not flags.images:
            make_photos(folder, flags.count, flags.seed)
        root = pathlib.Path(flags.images or folder)
        paths = [str(path) for path in sorted(root.rglob("*.jpg"))][: flags.count]
        if not paths:
            parser.error(f"--images={flags.images} holds no .jpg file")
        size = statistics.mean(map(os.path.getsize, paths)) / 1e3
        print(f"{len(paths)} JPEG files of {size:.0f} kB on average, {flags.workers} workers\n")

        loader = PillowLoader(
            paths,
            batch_size=flags.batch_size,
            resize_size=RESIZE,
            crop_size=CROP,
            seed=flags.seed,
            workers=flags.workers,
        )
        labels = np.zeros(len(paths), np.int32)

        def source(load_image):
            return Source("photos", tuple(paths), labels, ("any",), load_image)

        files = source(file_loader(paths))
        ways = {
            "Pillow loader": loader,
            "pipeline, cached": Pipeline(
                cache.in_memory(files, RESIZE), flags.batch_size, flags.workers
            ),
        }
        for name, load_image in stage_loaders(paths).items():
            ways[name] = Pipeline(source(load_image), flags.batch_size, flags.workers, size=1)
        ways["pipeline"] = Pipeline(files, flags.batch_size, flags.workers)
        results = report(measure(ways, flags.batch_size, flags.batches, flags.repeats))
        for way in ways.values():
            way.close()
    if flags.json:
        with open(flags.json, "w") as file:
            json.dump(results, file, indent=2)


if __name__ == "__main__":
    main()
