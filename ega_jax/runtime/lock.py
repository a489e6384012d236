"""One process at a time in a workdir: whoever comes second is told who is there."""

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from typing import IO

import numpy as np
from etils import epath

from ega_jax.runtime import distributed
from ega_jax.runtime.errors import UserError

# Seconds between tries to take a lock: `holder` has it for a moment when it asks.
_PAUSES = (0.02, 0.1)


class WorkdirInUseError(UserError):
    """Another process trains in the workdir; names it."""


@contextlib.contextmanager
def only_one(workdir: str | os.PathLike) -> Iterator[None]:
    """Holds a workdir for a run, by its lead process; all processes of the run call this.

    The operating system frees the lock of a process that ends, however it ends, so a dead run never
    stands in the way. Buckets have no such locks; there nothing is held.

    Args:
      workdir: of the run; created if it does not exist.

    Raises:
      WorkdirInUseError: another process holds it.
      UserError: it cannot be made, as below `/proc`.
    """
    with contextlib.ExitStack() as stack:
        holder = ""
        if distributed.is_lead() and "://" not in os.fspath(workdir):
            path = epath.Path(workdir)
            try:
                path.mkdir(parents=True, exist_ok=True)
            except FileNotFoundError as error:  # `parents` are made, unless there can be none
                raise UserError(
                    f"{workdir}: no folder can be made there; choose another --workdir"
                ) from error
            # Opened for appending: whoever is refused must not empty it.
            file = stack.enter_context(open(path / ".lock", "a+", encoding="utf-8"))
            holder = _take(file)
        told = distributed.gather({"holder": np.array(holder)})[0]["holder"].item()
        if told:
            raise WorkdirInUseError(
                f"{workdir} is in use by {told}; wait for it, stop it, or choose another --workdir"
            )
        yield


def holder(workdir: str | os.PathLike) -> str:
    """Says who holds a workdir; empty if nobody does, or if there is no way to know (buckets)."""
    path = epath.Path(workdir) / ".lock"
    if "://" in os.fspath(workdir) or not path.exists():
        return ""
    with open(path, encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _holder(file)
    return ""


def _take(file: IO[str]) -> str:
    """Locks a file and writes into it who did; returns who holds it if that fails."""
    for pause in (*_PAUSES, None):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if pause is None:
                return _holder(file)
            time.sleep(pause)
    file.truncate(0)
    me = {
        "process": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }
    json.dump(me, file)
    file.flush()
    return ""


def _holder(file: IO[str]) -> str:
    file.seek(0)
    try:
        return "process {process} on {host}, since {since}".format(**json.load(file))
    except ValueError:  # it has just taken the lock, and not yet written who it is
        return "another process"
