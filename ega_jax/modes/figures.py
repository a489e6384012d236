"""`--mode=figures`: figures of the paper from runs and studies, as PNG and SVG."""

import io
import logging
from collections.abc import Mapping, Sequence

import ml_collections
from etils import epath
from matplotlib.figure import Figure

from ega_jax.evaluation import drawing, gallery
from ega_jax.figures import features, gradients, side_by_side, strength
from ega_jax.figures.networks import Trained, load, sample
from ega_jax.models.norm import AUX
from ega_jax.modes.study import finished_of
from ega_jax.report.runs import names_of, read_run
from ega_jax.runtime import files
from ega_jax.runtime.errors import ConfigError
from ega_jax.studies.summary import summarize

logger = logging.getLogger(__name__)

IMAGES = 6  # of Fig. 1, 5 and 6
LOOKED_AT = 32  # images of Fig. 4
_DPI = 300


def figures(
    workdir: str, compare: Sequence[str] = (), config: ml_collections.ConfigDict | None = None
) -> list[epath.Path]:
    """Writes the figures that a run or a study gives, into `figures` of its folder.

    Of a study `curves` (Fig. 7). Of a run `boxes` (Fig. 5) and `masks` (Fig. 6), or `maps` without
    ground truth, if its evaluation kept images, and `gradients` (Fig. 1), each beside those of the
    others; and if it has an auxiliary batch norm `features` and `statistics` (Fig. 4). A run that
    was evaluated with the network of another one has no Fig. 1 and 4.

    Args:
      workdir: of the run or the study.
      compare: workdirs of other runs of the same classes.
      config: the run's with other free fields, e.g. where its data are; None: the run's own.

    Returns:
      The files.

    Raises:
      ConfigError, CheckpointError, DataError, StudyError: there is nothing to draw; says why.
    """
    folder = epath.Path(workdir)
    if (folder / "study.json").exists():
        if compare:
            raise ConfigError("--compare is for runs; the rows of a study are in one figure")
        plan, found = finished_of(folder)
        made = {"curves": strength.curves(plan, summarize(plan, found, resamples=0))}
        paths = _save(folder / "figures", made)
    else:
        places = [workdir, *compare]
        names = names_of(places)
        paths = _fig5_and_6(folder, places, names)
        networks = [
            load(place, name, config if place == workdir else None)
            for place, name in zip(places, names, strict=True)
            if not _reads_another(place)
        ]
        if networks:
            paths.append(_fig1(folder, networks))
        if networks and networks[0].name == names[0] and AUX in networks[0].variables:
            paths += _fig4(folder, networks[0])
    for path in paths:
        logger.info("Figure: %s", path)
    return paths


def _reads_another(workdir: str) -> bool:
    """Says whether a run has results and no network of its own."""
    folder = epath.Path(workdir)
    return (folder / "results.json").exists() and not (folder / "checkpoints").exists()


def _fig5_and_6(
    folder: epath.Path, places: Sequence[str], names: Sequence[str]
) -> list[epath.Path]:
    lacking = [place for place in places if not (epath.Path(place) / gallery.FILE).exists()]
    if lacking:
        logger.warning(
            "Fig. 5 and 6 are left out: %s kept no images; --mode=eval there keeps some.",
            ", ".join(lacking),
        )
        return []
    runs = [read_run(place, name) for place, name in zip(places, names, strict=True)]
    return _save(folder / "figures", side_by_side.figures(runs, IMAGES))


def _fig1(folder: epath.Path, networks: Sequence[Trained]) -> epath.Path:
    first, alike = networks[0], []
    for other in networks:
        if other.class_names != first.class_names:
            raise ConfigError(
                f"--compare: {other.name} has other classes than {first.name}; choose runs on the "
                "same data"
            )
        sizes = [trained.config.data.crop_size for trained in (other, first)]
        if sizes[0] == sizes[1]:
            alike.append(other)
        else:
            logger.warning(
                "Fig. 1 is without %s, whose images have %d pixels and not %d.", other.name, *sizes
            )
    images = sample(first, IMAGES)
    path = folder / "figures" / "gradients.png"
    drawing.save_png(path, gradients.sheet(alike, images["image"], images["label"]))
    return path


def _fig4(folder: epath.Path, trained: Trained) -> list[epath.Path]:
    images = sample(trained, LOOKED_AT)
    found = features.layers(trained, images["image"], images["label"])
    made = {"features": features.histograms(found), "statistics": features.statistics(found)}
    return _save(folder / "figures", made)


def _save(folder: epath.Path, made: Mapping[str, Figure]) -> list[epath.Path]:
    paths = []
    for name, figure in made.items():
        for kind in ("png", "svg"):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, dpi=_DPI)
            paths.append(folder / f"{name}.{kind}")
            files.write_bytes(paths[-1], buffer.getvalue())
    return paths
