"""Loads training batches as PyTorch's DataLoader with Pillow transforms does, without PyTorch.

Worker processes make whole batches: they decode with Pillow, convert to RGB, resize to a square,
crop, mirror, and write the pixels into shared memory. The main process hands out the indices, keeps
two batches per worker under way, and gives them out in order. Where it is not the DataLoader it is
faster: shared memory is made once, pixels go straight into their place there and stay bytes.
"""

import multiprocessing
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

_AHEAD = 2  # batches under way per worker, the DataLoader's `prefetch_factor`


class PillowLoader:
    """An endless iterator of `[B, S, S, 3]` uint8 batches, each valid until the next is asked for.

    Attributes:
      worker_seconds: CPU time of each worker up to the last batch that it has sent.
    """

    def __init__(
        self,
        paths: Sequence[str],
        *,
        batch_size: int,
        resize_size: int,
        crop_size: int,
        seed: int,
        workers: int,
    ):
        """Starts the workers, by `fork` as the DataLoader does: do so before there are threads."""
        self.shape = (batch_size, crop_size, crop_size, 3)
        self.order = np.random.default_rng(seed)
        self.num_images = len(paths)
        context = multiprocessing.get_context("fork")
        # One more than are under way: the batch that the caller is looking at.
        slots = [
            np.frombuffer(context.RawArray("B", int(np.prod(self.shape))), np.uint8)
            for _ in range(_AHEAD * workers + 1)
        ]
        self.slots = [slot.reshape(self.shape) for slot in slots]
        self.tasks = [context.SimpleQueue() for _ in range(workers)]
        self.results = context.SimpleQueue()
        self.processes = [
            context.Process(
                target=_work,
                args=(paths, self.slots, tasks, self.results, resize_size, [seed, worker]),
                daemon=True,
            )
            for worker, tasks in enumerate(self.tasks)
        ]
        for process in self.processes:
            process.start()
        self.worker_seconds = [0.0] * workers
        self.sent = self.received = 0
        self.early: dict[int, int] = {}  # batches that came before their turn, and their slots
        self.shown: int | None = None
        for slot in range(_AHEAD * workers):
            self._send(slot)
        self.free = _AHEAD * workers

    def __iter__(self) -> "PillowLoader":
        """Returns itself."""
        return self

    def __next__(self) -> np.ndarray:
        """Waits for the next batch."""
        while self.received not in self.early:
            number, slot, seconds = self.results.get()
            self.early[number] = slot
            self.worker_seconds[number % len(self.tasks)] = seconds
        slot = self.early.pop(self.received)
        self.received += 1
        self._send(self.free)
        self.free = slot  # once the caller is done with it, at the next call
        return self.slots[slot]

    def _send(self, slot: int) -> None:
        indices = self.order.integers(self.num_images, size=self.shape[0])
        self.tasks[self.sent % len(self.tasks)].put((self.sent, slot, indices))
        self.sent += 1

    def close(self) -> None:
        """Ends the workers."""
        for tasks in self.tasks:
            tasks.put(None)
        for process in self.processes:
            process.join()


def _work(
    paths: Sequence[str],
    slots: Sequence[np.ndarray],
    tasks: Any,
    results: Any,
    resize_size: int,
    seed: Sequence[int],
) -> None:
    rng = np.random.default_rng(seed)
    while (task := tasks.get()) is not None:
        number, slot, indices = task
        for row, index in zip(slots[slot], indices, strict=True):
            row[:] = _load(paths[index], resize_size, len(row), rng)
        results.put((number, slot, time.process_time()))


def _load(path: str, resize_size: int, crop_size: int, rng: np.random.Generator) -> np.ndarray:
    with open(path, "rb") as file:
        image = Image.open(file).convert("RGB")
    image = image.resize((resize_size, resize_size), Image.BILINEAR)
    left, top = rng.integers(resize_size - crop_size + 1, size=2)
    image = image.crop((left, top, left + crop_size, top + crop_size))
    if rng.random() < 0.5:
        image = image.transpose(Image.FLIP_LEFT_RIGHT)
    return np.asarray(image)
