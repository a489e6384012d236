"""Several processes as one run: joining, one of them writing, stopping together, adding up.

Every process runs the same command and the same steps on its own share of each batch; what they
compute together (gradients, batch norm, metric sums) XLA exchanges. Only what happens on the host
needs care, and all of it is here. With a single process everything here does nothing.
"""

import contextlib
import io
import logging
import signal
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

logger = logging.getLogger(__name__)

# What a run that was told to stop exits with: EX_TEMPFAIL, "the same command again goes on".
STOPPED = 75


def join(address: str | None, count: int | None, index: int | None, timeout: int) -> None:
    """Joins the processes of a run; to be called before anything asks for a device.

    Args:
      address: `host:port` of process 0, where all meet; None on a TPU pod, under Slurm or Open MPI,
        where JAX finds all three by itself.
      count: number of processes.
      index: of this one, from 0.
      timeout: seconds without a word after which a process counts as dead, and the others end too.

    Raises:
      ValueError: nothing was given and there is nothing to find.
    """
    jax.distributed.initialize(
        coordinator_address=address,
        num_processes=count,
        process_id=index,
        heartbeat_timeout_seconds=timeout,
    )


def is_lead() -> bool:
    """Says whether this process is the one that writes files and speaks."""
    return jax.process_index() == 0


def wait_for_all(place: str) -> None:
    """Waits until all processes are here, e.g. until the lead has written what others will read."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(place)


def gather(arrays: Mapping[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """Sends arrays to all processes.

    Args:
      arrays: by name; names, shapes and types may differ between processes.

    Returns:
      Those of every process, in order; the same on all of them.
    """
    if jax.process_count() == 1:
        return [dict(arrays)]
    buffer = io.BytesIO()
    named: dict[str, Any] = dict(arrays)
    np.savez(buffer, **named)
    mine = np.frombuffer(buffer.getvalue(), np.uint8)
    sizes = multihost_utils.process_allgather(np.int32(mine.size))
    padded = np.zeros(sizes.max(), np.uint8)
    padded[: mine.size] = mine
    every = multihost_utils.process_allgather(padded)
    return [
        dict(np.load(io.BytesIO(row[:size].tobytes())))
        for row, size in zip(np.asarray(every), sizes, strict=True)
    ]


@contextlib.contextmanager
def stopped_at_once() -> Iterator[None]:
    """Ends the program with code `STOPPED` at a SIGTERM, where there is nothing to save.

    Several processes are told by JAX's preemption service, see `stop_signal`, at their first step.
    """

    def told(number: int, frame: Any) -> None:
        logger.info("Told to stop: the same command goes on.")
        raise SystemExit(STOPPED)

    if jax.process_count() > 1:
        yield
        return
    previous = signal.signal(signal.SIGTERM, told)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextlib.contextmanager
def stop_signal() -> Iterator[Callable[[int], bool]]:
    """Yields a function that says, after every step, whether to save and stop.

    SIGTERM to one of several processes reaches all through JAX's preemption service, which finds a
    step that none of them has passed. It has to be asked at every step, with the step's number. The
    first SIGINT (Ctrl-C) is taken for SIGTERM; the second one ends the process at once.
    """
    received: list[int] = []
    previous: dict[int, Any] = {}

    def interrupted(number: int, frame: Any) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        logger.warning("Interrupted: saving and stopping. Once more ends it without saving.")
        signal.raise_signal(signal.SIGTERM)

    previous[signal.SIGINT] = signal.signal(signal.SIGINT, interrupted)
    if jax.process_count() == 1:  # otherwise JAX's service has taken it
        previous[signal.SIGTERM] = signal.signal(
            signal.SIGTERM, lambda number, frame: received.append(number)
        )
    try:
        if jax.process_count() > 1:
            yield multihost_utils.reached_preemption_sync_point
        else:
            yield lambda step: bool(received)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
