"""What a run tells while it goes on: loss terms, learning rate, images/s, time left."""

import contextlib
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
from etils import epath

from ega_jax.runtime import distributed, files
from ega_jax.runtime.errors import UserError

logger = logging.getLogger(__name__)

# Steps that the host may run ahead of the device. Every one of them holds a batch on the device.
_RUN_AHEAD = 2

NOT_FINITE = "not finite"  # by which the message of a diverged run is known
LOST = "not_finite.txt"  # with that message, in the workdir of the run


class NonFiniteLoss(UserError, RuntimeError):
    """A term of the loss is infinite or not a number, so that training cannot go on."""


@contextlib.contextmanager
def remember_loss(workdir: str | os.PathLike) -> Iterator[None]:
    """Leaves `LOST` where a run ends by `NonFiniteLoss`; a run that goes on removes it."""
    path = epath.Path(workdir) / LOST
    if distributed.is_lead():
        path.unlink(missing_ok=True)
    try:
        yield
    except NonFiniteLoss as error:
        if distributed.is_lead():
            files.write_text(path, f"{error}\n")
        raise


class Progress:
    """Collects the metric sums of the steps, on the device until somebody asks for them."""

    def __init__(
        self,
        writer: Any,
        schedules: Mapping[str, Callable[[int], Any]],
        first: int,
        total: int,
        batch_size: int,
    ):
        """Starts the clock at step `first` of `total`; `schedules` are told of by their names."""
        self.writer = writer
        self.schedules = schedules
        self.first, self.total = first, total
        self.batch_size = batch_size
        self.step = first
        self.pending: dict[int, dict[str, jax.Array]] = {}  # not yet fetched
        self.fetched: list[dict[str, float]] = []  # not yet reported
        self.seconds = self.window_seconds = 0.0
        self.since: float | None = None  # set by the first step: compiling does not count
        self.counted = self.window_counted = 0

    def add(self, step: int, sums: dict[str, jax.Array]) -> None:
        """Takes the sums of one step; does not wait for them."""
        self.step = step
        self.pending[step] = sums
        jax.block_until_ready(self.pending.get(step - _RUN_AHEAD))
        if self.since is None:
            jax.block_until_ready(sums)
            self._start_clock()
        else:
            self.window_counted += 1

    def check(self) -> None:
        """Fetches what is pending.

        Raises:
          NonFiniteLoss: names the step and the terms.
        """
        for step, sums in jax.device_get(self.pending).items():
            bad = [name for name, value in sums.items() if not math.isfinite(value)]
            if bad:
                raise NonFiniteLoss(
                    f"step {step}: {', '.join(sorted(bad))} {NOT_FINITE}; stopped, the last good "
                    "checkpoint is kept. Lower config.optimizer.learning_rate, or set "
                    "config.optimizer.clip_norm or optimizer.warmup_epochs"
                )
            self.fetched.append({name: float(value) for name, value in sums.items()})
        self.pending.clear()

    def report(self) -> None:
        """Writes the means since the last report to the log and to TensorBoard."""
        self.check()
        self._stop_clock()
        norms = [sums.pop("grad_norm") for sums in self.fetched]
        count = sum(sums["count"] for sums in self.fetched)
        means = {
            name: sum(sums[name] for sums in self.fetched) / count
            for name in self.fetched[0]
            if name != "count"
        }
        means["grad_norm"] = sum(norms) / len(norms)
        means |= {name: float(at(self.step - 1)) for name, at in self.schedules.items()}
        rate = self.window_counted * self.batch_size / max(self.window_seconds, 1e-9)
        self.fetched.clear()
        self.seconds += self.window_seconds
        self.counted += self.window_counted
        self.window_seconds, self.window_counted = 0.0, 0
        self._start_clock()

        scalars = {f"train/{name}": value for name, value in means.items()}
        if rate:
            scalars["train/images_per_second"] = rate
        self.writer.write_scalars(self.step, scalars)
        terms = " ".join(
            f"{name} {value:.4g}"
            for name, value in means.items()
            if name.startswith(("loss", "ce_", "entropy_", "learning"))
        )
        logger.info(
            "Step %d/%d: %s | %.4g images/s, %s left",
            self.step,
            self.total,
            terms,
            rate,
            self._time_left(),
        )

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Stops the clock while something else than training goes on."""
        jax.block_until_ready(self.pending)
        self._stop_clock()
        yield
        self._start_clock()

    def overall(self) -> float:
        """Returns training images per second over all reported steps, compilation left out."""
        return self.counted * self.batch_size / self.seconds if self.seconds else 0.0

    def _start_clock(self) -> None:
        self.since = time.monotonic()

    def _stop_clock(self) -> None:
        self.window_seconds += time.monotonic() - self.since

    def _time_left(self) -> str:
        if not self.counted:
            return "?"
        seconds = round((self.total - self.step) * self.seconds / self.counted)
        minutes, seconds = divmod(seconds, 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02}:{seconds:02}"
