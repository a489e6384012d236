"""`--mode=compile`: what the steps will need on TPUs that are not here.

The compiler says whether a step fits a chip's memory, how many operations it makes, and what the
chips tell each other. It runs nothing: the rate given is what the chip's own limits allow, without
the network between chips and without the reading of images, and no real one reaches it.
"""

import logging
import time
from collections.abc import Mapping
from typing import Any

import jax
import ml_collections
from etils import epath

from ega_jax.aot import batch_size as batch_sizes
from ega_jax.aot import hlo, tpu
from ega_jax.aot.lower import (
    DataFacts,
    DoesNotFitError,
    compile_within,
    data_facts,
    lower_steps,
    lower_update,
)
from ega_jax.config import build
from ega_jax.config.check import AUTO, check
from ega_jax.runtime import files
from ega_jax.runtime.errors import ConfigError
from ega_jax.runtime.nested import flatten
from ega_jax.runtime.sharding import Placement

logger = logging.getLogger(__name__)


def compile_steps(config: ml_collections.ConfigDict, workdir: str, topology: str) -> dict:
    """Compiles the training and the evaluation step for TPUs, and says what they need.

    Args:
      config: see `configs/base.py`. With `steps` and `data.num_classes` set no data are needed.
      workdir: receives `compile.json`.
      topology: such as `v5e:16x16`; see `tpu.parse`.

    Returns:
      What `compile.json` holds: `train` and `eval`, each as `figures` gives it, and
      `compile_seconds`.

    Raises:
      ConfigError: the config or the topology is impossible, a step does not fit, or libtpu is
        missing.
      DataError: the data cannot be used.
    """
    target = tpu.parse(topology)
    check(config, target.num_chips)
    placement = Placement(target.devices())
    facts = data_facts(config)
    memory = target.chip.hbm_bytes
    if config.batch_size == AUTO:
        largest = batch_sizes.largest(config, facts, placement, memory)
        config = batch_sizes.with_batch_size(config, largest)
    lowered = lower_steps(config, facts, placement)
    results: dict[str, Any] = {
        "config": config.to_dict(),
        "topology": topology,
        "chip_hbm_bytes": memory,
    }
    fields = {"train": "batch_size", "eval": "eval.batch_size"}
    for name, batch_size in (("train", config.batch_size), ("eval", config.eval.batch_size)):
        began = time.monotonic()
        try:
            compiled = compile_within(lowered[name], memory)
        except DoesNotFitError as error:
            raise ConfigError(
                f"config.{fields[name]}={batch_size}: the {name} step does not fit {topology}: "
                f"{error}; set a smaller batch, accumulate, model.dtype=bfloat16, or more chips"
            ) from error
        seconds = round(time.monotonic() - began, 1)
        cost = cost_of(compiled)
        if name == "train":
            cost = _with_loops(cost, config, facts, placement)
        results[name] = figures(compiled, cost, target, batch_size) | {"compile_seconds": seconds}
    files.write_json(epath.Path(workdir) / "compile.json", results)
    logger.info("%s, per chip and step:\n%s", topology, table(results))
    return results


def cost_of(compiled: jax.stages.Compiled) -> dict[str, float]:
    """Returns what a run takes of a chip: `flops`, `bytes_accessed`, and `hbm_bytes`.

    The first two are the compiler's figures, the last is `hlo.memory_bytes`.
    """
    cost = compiled.cost_analysis()
    return {
        "flops": cost["flops"],
        "bytes_accessed": cost["bytes accessed"],
        "hbm_bytes": hlo.memory_bytes(compiled.as_text()),
    }


def _with_loops(
    cost: dict[str, float],
    config: ml_collections.ConfigDict,
    facts: DataFacts,
    placement: Placement,
) -> dict[str, float]:
    """Counts loops as often as they run, over attack steps and parts of the batch.

    The compiler counts what is in a loop once. What an attack step takes is the difference to a
    training step without attack, but for a first convolution that the clean and the adversarial
    pass then share; what a part takes, the difference to the optimizer's update alone.
    """
    attack = build.objective(config, facts.class_names).attack
    if attack is not None and attack.num_steps > 1:
        unattacked = config.copy_and_resolve_references()
        unattacked.ega.num_steps = 0
        without = lower_steps(unattacked, facts, placement)["train"].compile()
        cost = repeated(cost, cost_of(without), attack.num_steps)
    if config.accumulate > 1:
        without = lower_update(config, facts, placement).compile()
        cost = repeated(cost, cost_of(without), config.accumulate)
    return cost


def repeated(
    cost: Mapping[str, float], without: Mapping[str, float], times: int
) -> dict[str, float]:
    """Returns the cost of a program whose loop runs so many times and was counted once.

    Args:
      cost: of the program.
      without: of the program without the loop.
      times: at least 1.
    """
    return {name: once + (times - 1) * (once - without[name]) for name, once in cost.items()}


def figures(
    compiled: jax.stages.Compiled,
    cost: Mapping[str, float],
    topology: tpu.Topology,
    batch_size: int,
) -> dict[str, Any]:
    """Says what a compiled step needs on each chip, and how fast it could be at most.

    Args:
      compiled: the step.
      cost: see `cost_of`.
      topology: the chips.
      batch_size: over all of them.

    Returns:
      `chips`, `batch_size`, `batch_size_per_chip`; per chip `peak_hbm_bytes`, `argument_bytes`,
      `temporary_bytes`; per chip and step `flops`, `bytes_accessed`, `hbm_bytes`, `collectives`
      (see `hlo.collectives`), `flops_seconds`, `bytes_seconds` and `hbm_seconds` at the chip's peak
      rates; and `images_per_second` of all chips if the longer of the first two is all it takes.
    """
    memory = compiled.memory_analysis()
    flops_seconds = cost["flops"] / topology.chip.flops_per_second
    bytes_seconds = cost["bytes_accessed"] / topology.chip.bytes_per_second
    return {
        "chips": topology.num_chips,
        "batch_size": batch_size,
        "batch_size_per_chip": batch_size // topology.num_chips,
        "peak_hbm_bytes": memory.peak_memory_in_bytes,
        "argument_bytes": memory.argument_size_in_bytes,
        "temporary_bytes": memory.temp_size_in_bytes,
        **cost,
        "collectives": hlo.collectives(compiled.as_text()),
        "flops_seconds": flops_seconds,
        "bytes_seconds": bytes_seconds,
        "hbm_seconds": cost["hbm_bytes"] / topology.chip.bytes_per_second,
        "images_per_second": batch_size / max(flops_seconds, bytes_seconds),
    }


def table(results: Mapping[str, Any]) -> str:
    """Lays the figures of both steps out in columns."""
    columns = [flatten(results[name]) for name in ("train", "eval")]
    rows = [("", ["train", "eval"])]
    for name in dict.fromkeys(name for column in columns for name in column):
        rows.append((name, [_text(column[name]) if name in column else "" for column in columns]))
    return "\n".join(f"  {name:<36}{''.join(f'{c:>18}' for c in cells)}" for name, cells in rows)


def _text(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) or value >= 100 else f"{value:.3g}"
