"""`--mode=report`: `report.html` of a run, of what its evaluation left; or two side by side."""

import logging
import os

from etils import epath

from ega_jax.report import page

logger = logging.getLogger(__name__)


def report(workdir: str, *, compare: str | None = None) -> epath.Path:
    """Writes `report.html` into the workdir of a run, or `compare_<name>.html`.

    Neither the network nor the data are needed.

    Args:
      workdir: of a run that was evaluated.
      compare: workdir of another one.

    Returns:
      The file.

    Raises:
      ConfigError: Jinja2 is missing, there are no results, or the two have no image in common.
    """
    path = page.write_report(workdir, compare)
    logger.info("Report: %s", path)
    return path


def leave(workdir: str | os.PathLike) -> None:
    """Writes the report at the end of a run, or says how to have it."""
    if page.available():
        report(os.fspath(workdir))
    else:
        logger.info("report.html %s, then --mode=report --workdir=%s", page.HOW_TO_HAVE_IT, workdir)
