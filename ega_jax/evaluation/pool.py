"""Scores the maps of many images on all cores, in worker processes.

Boxes at all thresholds are thousands of short NumPy calls, which threads of one process cannot run
side by side. So each worker is a process of its own that knows NumPy and OpenCV only. It is a plain
child with a pipe: nothing is forked from a process in which JAX runs, and the program's main module
is not imported once more. One thread per worker loads what the image needs, asks, and waits.
"""

import collections
import concurrent.futures
import contextlib
import fcntl
import os
import pickle
import queue
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from ega_jax.localization import ImageMap, ImageOutcome, score_image
from ega_jax.runtime.errors import UserError

_IMAGES_PER_WORKER = 100  # fewer are scored before another worker has started
_AHEAD = 8  # images per worker that wait or are being scored
_PIPE = 1 << 19  # bytes; holds a score map of 224 x 224 pixels


class WorkerError(UserError, RuntimeError):
    """A worker ended before its time; says how."""


def worker_count(images: int) -> int:
    """Returns how many workers score a number of images best; 1 means this process itself.

    One for each core that this process may use, if each has enough to do.
    """
    if hasattr(os, "sched_getaffinity"):  # Linux
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, min(cores, images // _IMAGES_PER_WORKER))


def score_images(
    images: Iterable[tuple[Any, Callable[[], ImageMap]]],
    thresholds: np.ndarray,
    workers: int,
) -> Iterator[tuple[Any, ImageOutcome]]:
    """Scores images one after the other or, with several workers, side by side.

    `images` is asked for more only while fewer than `8 * workers` are on their way, so memory does
    not grow with their number; whatever computes them goes on while the workers score.

    Args:
      images: pairs of anything, returned as it is, and a function that loads the image's map and
        masks. With several workers it is called in a thread.
      thresholds: `[T]`, see `localization.score_image`.
      workers: processes that score; 1: this one.

    Yields:
      The pairs' first parts and the outcomes, in the order of `images`; they do not depend on the
      number of workers.

    Raises:
      WorkerError: a worker was killed.
      Exception: whatever loading or scoring an image raised, that of the first such image.
    """
    if workers == 1:
        for key, load in images:
            yield key, score_image(load(), thresholds)
        return
    with _Pool(workers, thresholds) as pool:
        waiting: collections.deque = collections.deque()
        for key, load in images:
            waiting.append((key, pool.submit(load)))
            if len(waiting) == _AHEAD * workers:
                key, future = waiting.popleft()
                yield key, future.result()
        while waiting:
            key, future = waiting.popleft()
            yield key, future.result()


class _Pool:
    """Workers, and as many threads that ask them; a context that ends them."""

    def __init__(self, workers: int, thresholds: np.ndarray):
        self._thresholds = thresholds
        self._workers = [_start() for _ in range(workers)]
        self._idle: queue.SimpleQueue = queue.SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._threads = concurrent.futures.ThreadPoolExecutor(workers, "scoring")

    def submit(self, load: Callable[[], ImageMap]) -> concurrent.futures.Future:
        """Lets a thread load an image and a worker score it."""
        return self._threads.submit(self._score, load)

    def _score(self, load):
        image = load()
        worker = self._idle.get()  # there are as many as threads
        try:
            outcome, error = _ask(worker, (image, self._thresholds))
        finally:
            self._idle.put(worker)
        if error is not None:
            raise error
        return outcome

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._threads.shutdown(cancel_futures=True)  # waits for at most one image per worker
        for worker in self._workers:
            with contextlib.suppress(BrokenPipeError):  # of a worker that is gone
                worker.stdin.close()
        for worker in self._workers:
            worker.wait()
            worker.stdout.close()


def _start():
    """Starts a worker, with the import path of this process and one thread for matrix products."""
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    worker = subprocess.Popen(
        [sys.executable, "-m", "ega_jax.evaluation.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | threads | {"PYTHONPATH": path},
    )
    if hasattr(fcntl, "F_SETPIPE_SZ"):  # Linux
        # A map at once instead of 64 kB; slower where the system allows no more.
        with contextlib.suppress(PermissionError):
            fcntl.fcntl(worker.stdin, fcntl.F_SETPIPE_SZ, _PIPE)
    return worker


def _ask(worker, question):
    """Sends a worker something pickled and returns its answer."""
    try:
        pickle.dump(question, worker.stdin, protocol=pickle.HIGHEST_PROTOCOL)
        worker.stdin.flush()
        return pickle.load(worker.stdout)
    except (BrokenPipeError, EOFError, pickle.UnpicklingError) as error:
        status = worker.wait()
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        raise WorkerError(
            f"a process that scores maps {how}; if the machine is out of memory, let the program "
            "use fewer cores (taskset)"
        ) from error
