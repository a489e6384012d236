"""Writes `report.html`, for which Jinja2 is needed: the extra `report`."""

import importlib.util
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from etils import epath

from ega_jax.report import charts, figures
from ega_jax.report.pictures import pictures
from ega_jax.report.runs import Reported, names_of, read_run
from ega_jax.runtime import files
from ega_jax.runtime.errors import ConfigError

HOW_TO_HAVE_IT = 'needs Jinja2: pip install jinja2 (the extra "report")'

_HERE = pathlib.Path(__file__).parent
_TITLES = {"test": "Test", "validation": "Validation"}


def available() -> bool:
    """Says whether the library for the page is installed."""
    return importlib.util.find_spec("jinja2") is not None


def write_report(workdir: str | os.PathLike, other: str | os.PathLike | None = None) -> epath.Path:
    """Writes the report of a run, or of two side by side.

    Args:
      workdir: of the run; receives `report.html`, or `compare_<name of the other>.html`.
      other: workdir of a second run.

    Returns:
      The file.

    Raises:
      ConfigError: Jinja2 is missing, a run was not evaluated, or the two have no image in common.
    """
    places = [workdir] if other is None else [workdir, other]
    names = names_of(places)
    runs = [read_run(place, name) for place, name in zip(places, names, strict=True)]
    name = "report.html" if other is None else f"compare_{names[1].replace('/', '_')}.html"
    path = epath.Path(workdir) / name
    write_page(path, "report", context(runs), ["pixels.js", "address.js", "gallery.js"])
    return path


def context(runs: Sequence[Reported]) -> dict[str, Any]:
    """Returns what the template of the report is filled with."""
    shown = pictures(runs)
    splits = [split for split in _TITLES if any(split in run.splits for run in runs)]
    return {
        "title": " and ".join(run.name for run in runs),
        "runs": runs,
        "facts": [_facts(run) for run in runs],
        "tables": [(_TITLES[split], figures.rows(runs, split)) for split in splits],
        "columns": figures.COLUMNS,
        "charts": figures.charts(runs),
        "frame": charts,
        "classes": [(run.name, *figures.class_table(run)) for run in runs if run.classes],
        "data": shown,
        "fields": [json.dumps(run.results.get("config"), indent=1) for run in runs],
    }


def _facts(run: Reported) -> str:
    """Returns a line about a run."""
    config = run.results.get("config", {})
    words = [config.get("method"), config.get("model", {}).get("name")]
    words.append(config.get("data", {}).get("root") or config.get("data", {}).get("name"))
    if "step" in run.results:
        words.append(f"step {run.results['step']}")
    if device := run.results.get("device"):
        words.append(str(device.get("kind")))
    return " · ".join(word for word in words if word)


def write_page(
    path: str | os.PathLike, template: str, values: dict[str, Any], scripts: Sequence[str]
) -> None:
    """Fills a template of this folder with values, style and scripts, and writes the page.

    Raises:
      ConfigError: Jinja2 is missing.
    """
    if not available():
        raise ConfigError(f"{path} {HOW_TO_HAVE_IT}")
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template(f"{template}.html").render(
        values,
        style=_own("style.css"),
        script="\n".join(_own(name) for name in scripts),
    )
    # Names of files and folders may hold bytes that are no UTF-8.
    files.write_bytes(path, text.encode("utf-8", "backslashreplace"))


def _own(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
