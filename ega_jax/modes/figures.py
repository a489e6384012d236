"""`--mode=figures`: figures of the paper from runs and studies, as PNG and, for plots, SVG."""

import io
import logging
import pathlib
from collections.abc import Mapping, Sequence

import ml_collections
from matplotlib.figure import Figure

from ega_jax.evaluation import drawing
from ega_jax.figures import features, gradients, strength
from ega_jax.figures.networks import Trained, load, sample
from ega_jax.models.norm import AUX
from ega_jax.modes.study import finished_of
from ega_jax.runtime import files
from ega_jax.runtime.errors import ConfigError
from ega_jax.studies.summary import summarize

logger = logging.getLogger(__name__)

IMAGES = 6  # rows of Fig. 1
LOOKED_AT = 32  # images of Fig. 4
_DPI = 300


def figures(
    workdir: str, compare: Sequence[str] = (), config: ml_collections.ConfigDict | None = None
) -> list[pathlib.Path]:
    """Writes the figures that a run or a study gives, into `figures` of its folder.

    Of a study `curves` (Fig. 7). Of a run `gradients` (Fig. 1), beside those of the others; and
    if it has an auxiliary batch norm `features` and `statistics` (Fig. 4).

    Args:
      workdir: of the run or the study.
      compare: workdirs of other runs of the same classes, for Fig. 1.
      config: the run's with other free fields, e.g. where its data are; None: the run's own.

    Returns:
      The files.

    Raises:
      ConfigError, CheckpointError, DataError, StudyError: there is nothing to draw; says why.
    """
    folder = pathlib.Path(workdir)
    if (folder / "study.json").exists():
        if compare:
            raise ConfigError("--compare is for runs; the rows of a study are in one figure")
        plan, found = finished_of(folder)
        made = {"curves": strength.curves(plan, summarize(plan, found, resamples=0))}
        paths = _save(folder / "figures", made)
    else:
        networks = [load(workdir, config), *(load(other) for other in compare)]
        paths = [_fig1(folder, networks)]
        if AUX in networks[0].variables:
            paths += _fig4(folder, networks[0])
    for path in paths:
        logger.info("Figure: %s", path)
    return paths


def _fig1(folder: pathlib.Path, networks: Sequence[Trained]) -> pathlib.Path:
    first = networks[0]
    for other in networks[1:]:
        sizes = [trained.config.data.crop_size for trained in (first, other)]
        if other.class_names != first.class_names or sizes[0] != sizes[1]:
            raise ConfigError(
                f"--compare: {other.name} has other classes or images of another size than "
                f"{first.name} ({sizes[1]} and {sizes[0]} pixels); choose runs on the same data"
            )
    images = sample(first, IMAGES)
    path = folder / "figures" / "gradients.png"
    drawing.save_png(path, gradients.sheet(networks, images["image"], images["label"]))
    return path


def _fig4(folder: pathlib.Path, trained: Trained) -> list[pathlib.Path]:
    images = sample(trained, LOOKED_AT)
    found = features.layers(trained, images["image"], images["label"])
    made = {"features": features.histograms(found), "statistics": features.statistics(found)}
    return _save(folder / "figures", made)


def _save(folder: pathlib.Path, made: Mapping[str, Figure]) -> list[pathlib.Path]:
    paths = []
    for name, figure in made.items():
        for kind in ("png", "svg"):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, dpi=_DPI)
            paths.append(folder / f"{name}.{kind}")
            files.write_bytes(paths[-1], buffer.getvalue())
    return paths
