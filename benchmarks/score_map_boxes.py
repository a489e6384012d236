"""Times the boxes of score maps at 1000 thresholds: against OpenCV, and on several cores.

For every kind of map the ways run in turn, several times, in one process and on one core; medians
of CPU time per map are printed. `contours` is `cv2.threshold` and `cv2.findContours` alone, 1000
times; `reference` adds what the reference evaluator does next: a rectangle and an area for every
contour. Each turn goes through several maps, as an evaluation does, but one noisy map is enough.

Then smooth maps are scored as an evaluation scores a split, by one process and by several workers
(`evaluation/pool.py`) in turn; medians of elapsed time, with what starting the workers takes.

    python -m benchmarks.score_map_boxes --repeats=7 --json=times.json
"""

import argparse
import functools
import json
import statistics
import time

import cv2
import numpy as np

from ega_jax import localization
from ega_jax.evaluation import pool


def make_maps(seed: int) -> dict[str, list[np.ndarray]]:
    """Returns score maps [224, 224] of every kind."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:14, :14]

    def bump():
        width, (row, column) = rng.uniform(2, 4), rng.uniform(4, 10, 2)
        return np.exp(-((x - column) ** 2 + (y - row) ** 2) / (2 * width**2))

    cams = {
        "smooth, random 14 x 14": [rng.random((14, 14)) for _ in range(8)],
        "smooth, one bump": [bump() for _ in range(8)],
        "smooth, bump on rough ground": [bump() + 0.1 * rng.random((14, 14)) for _ in range(8)],
        "noisy": [rng.random((224, 224))],
        "noisy bump": [localization.score_map(bump()) + 0.3 * rng.random((224, 224))],
    }
    return {name: [localization.score_map(cam) for cam in group] for name, group in cams.items()}


def draw_contours(score_map: np.ndarray, thresholds: np.ndarray) -> None:
    """Finds the contours at every threshold, one after the other."""
    levels = localization.quantize(score_map)
    for threshold in thresholds:
        _contours_at(levels, threshold)


def reference_boxes(score_map: np.ndarray, thresholds: np.ndarray) -> None:
    """Computes the boxes of both modes at every threshold, one after the other."""
    levels = localization.quantize(score_map)
    for threshold in thresholds:
        contours = _contours_at(levels, threshold)
        if contours:
            cv2.boundingRect(max(contours, key=cv2.contourArea))
        for contour in contours:
            cv2.boundingRect(contour)


def tree_boxes(score_map: np.ndarray, thresholds: np.ndarray) -> None:
    """Computes the same boxes from the component tree."""
    localization.boxes_at_thresholds(score_map, thresholds)


def score_split(score_maps: list[np.ndarray], images: int, workers: int) -> float:
    """Scores a split made of these maps, over and over, and returns the seconds it took."""
    boxes = np.array([[40, 50, 150, 180]])
    thresholds = localization.thresholds(0.001)
    counts = localization.BoxCounts(thresholds)

    def load(index):
        return localization.ImageMap(score_maps[index % len(score_maps)], None, boxes)

    start = time.perf_counter()
    split = ((index, functools.partial(load, index)) for index in range(images))
    for _, outcome in pool.score_images(split, thresholds, workers):
        counts.add_outcome(outcome.boxes)
    return time.perf_counter() - start


def _contours_at(levels, threshold):
    level = int(threshold * levels.max())
    _, binary = cv2.threshold(levels, level, 255, cv2.THRESH_BINARY)
    return cv2.findContours(binary, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0]


def main() -> None:
    """Parses the flags, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5, help="runs of each way for each map")
    parser.add_argument("--seed", type=int, default=0, help="of the random maps")
    parser.add_argument("--images", type=int, default=1000, help="of the split for several cores")
    parser.add_argument("--workers", type=int, default=2, help="processes that score it")
    parser.add_argument("--json", help="file for the medians, in seconds")
    flags = parser.parse_args()

    cv2.setNumThreads(1)
    thresholds = localization.thresholds(0.001)
    results = {}
    print(f"{'milliseconds per map':32}{'contours':>10}{'reference':>11}{'here':>8}{'ratios':>14}")
    ways = {"contours": draw_contours, "reference": reference_boxes, "here": tree_boxes}
    for name, score_maps in make_maps(flags.seed).items():
        seconds = {way: [] for way in ways}
        for _ in range(flags.repeats):
            for way, run in ways.items():
                start = time.process_time()
                for score_map in score_maps:
                    run(score_map, thresholds)
                seconds[way].append((time.process_time() - start) / len(score_maps))
        medians = {way: statistics.median(times) for way, times in seconds.items()}
        results[name] = medians
        drawn, full, here = (1000 * medians[way] for way in ways)
        ratios = f"{drawn / here:.1f} {full / here:.1f}"
        print(f"{name:32}{drawn:10.1f}{full:11.1f}{here:8.2f}{ratios:>14}")
    seconds = {1: [], flags.workers: []}
    smooth = make_maps(flags.seed)["smooth, random 14 x 14"]
    for _ in range(flags.repeats):
        for workers, times in seconds.items():
            times.append(score_split(smooth, flags.images, workers))
    medians = {workers: statistics.median(times) for workers, times in seconds.items()}
    rates = {workers: flags.images / median for workers, median in medians.items()}
    print(f"\nimages per second, {flags.images} smooth maps")
    for workers, rate in rates.items():
        print(f"{f'workers: {workers}':32}{rate:10.1f}{rate / rates[1]:8.2f} times one")
    results["split"] = medians
    if flags.json:
        with open(flags.json, "w") as file:
            json.dump(results, file, indent=2)


if __name__ == "__main__":
    main()
