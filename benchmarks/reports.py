"""Times what an evaluation does after the last image: intervals and tables, by number of images.

Made of 500 drawn images that are scored and then repeated, in one process and on one core; medians
of CPU time. `scoring` is what the same images cost before: boxes and histograms of their maps,
without the network and the decoding.

    python -m benchmarks.reports --images 5000 50000 --repeats=3
"""

import argparse
import dataclasses
import os
import pathlib
import resource
import statistics
import tempfile
import time

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy is imported

import cv2
import numpy as np

from ega_jax import localization
from ega_jax.data.source import Source
from ega_jax.evaluation import bootstrap, per_image
from ega_jax.evaluation.records import Records
from ega_jax.evaluation.scores import Scores

SIZE, CLASSES, DRAWN = 224, 200, 500


def make_scores(seed: int, masks: bool) -> tuple[Scores, Source, float]:
    """Scores drawn maps; returns the scores, their split and the seconds per image."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:14, :14]
    low = rng.integers(10, 90, (DRAWN, 2))
    boxes = np.concatenate([low, low + rng.integers(40, 120, low.shape)], axis=1)

    def load_mask(index: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        mask = np.zeros((2, size, size), bool)
        x0, y0, x1, y1 = boxes[index]
        mask[0, y0 : y1 + 1, x0 : x1 + 1] = True
        return mask[0], mask[1]

    source = Source(
        name="drawn",
        image_ids=tuple(map(str, range(DRAWN))),
        labels=rng.integers(0, CLASSES, DRAWN).astype(np.int32),
        class_names=tuple(map(str, range(CLASSES))),
        load_image=lambda index: None,
        image_sizes=np.full((DRAWN, 2), SIZE),
        boxes=tuple(boxes[:, None]),
        load_mask=load_mask if masks else None,
    )
    scores = Scores.empty(source, localization.thresholds(0.001))
    began = time.process_time()
    for index, (x0, y0, x1, y1) in enumerate(boxes / 16):
        off_x, off_y = (x - (x0 + x1) / 2) / (x1 - x0), (y - (y0 + y1) / 2) / (y1 - y0)
        bump = np.exp(-(off_x**2) - off_y**2)
        score_map = localization.score_map(bump + 0.2 * rng.random(bump.shape), SIZE)
        scores.add(source, index, score_map, rng.random(CLASSES))
    return scores, source, (time.process_time() - began) / DRAWN


def repeat(scores: Scores, source: Source, images: int) -> tuple[Scores, Source]:
    """Makes a split of so many images by repeating those of another."""
    which = np.arange(images) % DRAWN
    rows = {name: rows[which] for name, rows in scores.records.to_arrays().items()}
    rows["index"] = np.arange(images)
    source = dataclasses.replace(
        source,
        image_ids=tuple(map(str, range(images))),
        labels=source.labels[which],
        image_sizes=source.image_sizes[which],
        boxes=tuple(source.boxes[i] for i in which),
    )
    return dataclasses.replace(scores, images=images, records=Records.from_arrays(rows)), source


def main() -> None:
    """Parses the flags, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, nargs="+", default=[5000, 50000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--resamples", type=int, default=1000)
    flags = parser.parse_args()
    cv2.setNumThreads(1)
    print(f"{'seconds':24}{'scoring':>10}{'intervals':>10}{'tables':>10}{'MB of rows':>12}")
    for masks in (False, True):
        drawn, drawn_source, seconds = make_scores(0, masks)
        for images in flags.images:
            scores, source = repeat(drawn, drawn_source, images)
            times: dict[str, list[float]] = {"intervals": [], "tables": []}
            for _ in range(flags.repeats):
                began = time.process_time()
                bootstrap.intervals(scores, 0.2, scores, resamples=flags.resamples)
                times["intervals"].append(time.process_time() - began)
                began = time.process_time()
                with tempfile.TemporaryDirectory() as folder:
                    table = per_image.per_image(scores, source, 0.2)
                    per_image.write_csv(pathlib.Path(folder) / "images.csv", table)
                    classes = per_image.per_class(table, source.class_names)
                    per_image.write_csv(pathlib.Path(folder) / "classes.csv", classes)
                times["tables"].append(time.process_time() - began)
            medians = [statistics.median(values) for values in times.values()]
            size = sum(rows.nbytes for rows in scores.records.to_arrays().values()) / 1e6
            name = f"{images} images{', masks' if masks else ''}"
            cells = "".join(f"{value:10.1f}" for value in (seconds * images, *medians))
            print(f"{name:24}{cells}{size:12.1f}", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(f"largest memory of the process: {peak:.0f} MB")


if __name__ == "__main__":
    main()
