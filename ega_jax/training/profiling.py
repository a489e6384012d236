"""Recording some training steps for the profiler: what devices and host did, and when."""

import logging
import os
import pathlib
import tempfile

import jax
from etils import epath

from ega_jax.runtime import distributed, files

logger = logging.getLogger(__name__)

_SETTLING = 10  # steps until compiling and filling of queues are over


class StepProfiler:
    """Records some steps of a run on the lead process, once.

    They begin when ten steps of this process are over, or earlier where the run would end before.

    Attributes:
      first: the first step recorded; 0 if none is.
      last: the last one.
    """

    def __init__(self, workdir: str | os.PathLike, num_steps: int, *, start: int, total: int):
        """Plans for a run that makes the steps `start + 1` to `total`; 0 steps: records nothing."""
        num_steps = min(num_steps, total - start) if distributed.is_lead() else 0
        self.last = min(start + _SETTLING + num_steps, total) if num_steps else 0
        self.first = self.last - num_steps + 1 if num_steps else 0
        self._workdir = epath.Path(workdir)
        self._aside: tempfile.TemporaryDirectory | None = None

    def begin(self, step: int) -> None:
        """Begins to record if this step, which comes next, is the first to be."""
        if step == self.first:
            # The profiler writes to local disks only.
            self._aside = tempfile.TemporaryDirectory()
            jax.profiler.start_trace(self._aside.name)

    def close(self) -> None:
        """Ends recording, if it is going on, and puts it below `plugins/profile` of the workdir."""
        if self._aside is None:
            return
        jax.profiler.stop_trace()
        with self._aside as aside:
            for path in sorted(pathlib.Path(aside).rglob("*")):
                if path.is_file():
                    files.write_bytes(self._workdir / path.relative_to(aside), path.read_bytes())
        self._aside = None
        logger.info("Recorded for the profiler, from step %d on: %s", self.first, self._workdir)
