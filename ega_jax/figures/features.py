"""Fig. 4: clean and adversarial features at the batch norms, and the statistics of the two."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict
from matplotlib.figure import Figure

from ega_jax.config import build
from ega_jax.figures.networks import Trained, as_floats
from ega_jax.models.norm import AUX, MAIN, DualBatchNorm
from ega_jax.runtime.errors import ConfigError

_BINS = 80


@dataclasses.dataclass(frozen=True)
class Layer:
    """A batch norm.

    Attributes:
      name: path of its module.
      clean: what comes in of clean images, `[M]` float32.
      adversarial: the same of adversarial ones.
      means: mean absolute difference of the running means of the two branches, in standard
        deviations of the main one.
      deviations: mean ratio of the auxiliary standard deviation to the main one.
    """

    name: str
    clean: np.ndarray
    adversarial: np.ndarray
    means: float
    deviations: float


def layers(trained: Trained, images: np.ndarray, labels: np.ndarray) -> list[Layer]:
    """Looks at every batch norm of a network, in the order of the computation.

    Clean images go through the main branch, and the adversarial ones that the run's attack makes of
    them through the auxiliary one; both with running statistics.

    Args:
      trained: the network.
      images: `[B, S, S, 3]` uint8.
      labels: `[B]`.

    Raises:
      ConfigError: it has no auxiliary batch norm, or no attack.
    """
    objective = build.objective(trained.config, trained.class_names)
    if objective.attack is None or not trained.variables.get(AUX):
        raise ConfigError(
            f"{trained.name} has no auxiliary batch norm to compare with: Fig. 4 is of a run with "
            "ega.adversarial and batch norm"
        )
    clean = as_floats(images)
    uses = ("adv", "start", "target")
    keys = dict(zip(uses, jax.random.split(jax.random.key(0), len(uses)), strict=True))
    batch = {"image": clean, "label": labels, "mask": np.ones(len(labels), bool)}
    perturb = jax.jit(functools.partial(objective.perturb, trained.model))
    state = dict(trained.variables)
    adversarial = perturb(state.pop("params"), state, batch, keys)
    inputs = _inputs(trained, clean, aux=False), _inputs(trained, adversarial, aux=True)
    return [
        Layer(name, inputs[0][name].ravel(), inputs[1][name].ravel(), *_statistics(trained, name))
        for name in inputs[0]
    ]


def _inputs(trained: Trained, images: jax.Array, aux: bool) -> dict[str, np.ndarray]:
    """Returns what comes into each batch norm."""

    def run(images):
        found: dict[str, jax.Array] = {}

        def note(call: Any, args: tuple, kwargs: Mapping[str, Any], context: Any) -> Any:
            if isinstance(context.module, DualBatchNorm) and context.method_name == "__call__":
                found["/".join(context.module.path)] = args[0]
            return call(*args, **kwargs)

        with nn.intercept_methods(note):
            trained.model.apply(trained.variables, images, train=False, aux=aux)
        return list(found.items())

    names: list[str] = []

    @jax.jit
    def traced(images):
        pairs = run(images)
        names.extend(name for name, _ in pairs)
        return [value for _, value in pairs]

    values = traced(images)
    return {name: np.asarray(value, np.float32) for name, value in zip(names, values, strict=True)}


def _statistics(trained: Trained, name: str) -> tuple[float, float]:
    def of(collection: str, branch: str) -> tuple[np.ndarray, np.ndarray]:
        known = flatten_dict(trained.variables[collection], sep="/")
        mean, var = (np.asarray(known[f"{name}/{branch}/{what}"]) for what in ("mean", "var"))
        return mean, np.sqrt(var + 1e-5)

    (mean, deviation), (aux_mean, aux_deviation) = of(MAIN, "main"), of(AUX, "aux")
    return (
        float(np.mean(np.abs(aux_mean - mean) / deviation)),
        float(np.mean(aux_deviation / deviation)),
    )


def histograms(found: Sequence[Layer], number: int = 3) -> Figure:
    """Draws the distributions at some batch norms, first, last and between."""
    places = np.unique(np.linspace(0, len(found) - 1, number).round().astype(int))
    figure = Figure(figsize=(2.6 * len(places), 2.2), layout="constrained")
    for axes, place in zip(np.atleast_1d(figure.subplots(1, len(places))), places, strict=True):
        layer = found[place]
        low, high = np.percentile(np.concatenate([layer.clean, layer.adversarial]), (0.5, 99.5))
        edges = np.linspace(low, max(high, low + 1e-6), _BINS)
        for values, label in ((layer.clean, "clean"), (layer.adversarial, "adversarial")):
            axes.hist(values, edges, density=True, histtype="step", label=label)
        axes.set_title(layer.name, fontsize=8)
        axes.tick_params(labelsize=7)
        axes.set_yticks([])
    axes.legend(fontsize=7, frameon=False)
    return figure


def statistics(found: Sequence[Layer]) -> Figure:
    """Draws how far the two branches' running statistics are apart, layer by layer."""
    figure = Figure(figsize=(5.2, 3.2), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    top.plot([layer.means for layer in found], ".-")
    top.set_ylabel("|Δ mean| / std", fontsize=8)
    bottom.plot([layer.deviations for layer in found], ".-")
    bottom.axhline(1, color="grey", linewidth=0.7)
    bottom.set_ylabel("std aux / main", fontsize=8)
    bottom.set_xticks(range(len(found)), [layer.name for layer in found], rotation=90, fontsize=6)
    for axes in (top, bottom):
        axes.tick_params(axis="y", labelsize=7)
    return figure
