"""`config.batch_size=auto`: the largest batch that the devices' memory allows."""

import bisect
import logging
from collections.abc import Callable

import jax
import ml_collections
import numpy as np
from jax.experimental import multihost_utils

from ega_jax.aot.lower import DataFacts, DoesNotFitError, compile_within, lower_steps
from ega_jax.config.check import AUTO
from ega_jax.runtime.errors import ConfigError
from ega_jax.runtime.sharding import Placement

logger = logging.getLogger(__name__)

# Up to 4096 images on each device are tried.
_POWERS = [2**n for n in range(13)]


def settle(
    config: ml_collections.ConfigDict, facts: DataFacts, placement: Placement
) -> ml_collections.ConfigDict:
    """Puts a number where the config says `auto`, by the memory of the devices at hand.

    Raises:
      ConfigError: the devices do not say how much memory they have, or it is too little.
    """
    if config.batch_size != AUTO:
        return config
    memory_bytes = _device_memory()
    config = with_batch_size(config, largest(config, facts, placement, memory_bytes))
    logger.info("config.batch_size=%s: %d.", AUTO, config.batch_size)
    return config


def largest(
    config: ml_collections.ConfigDict,
    facts: DataFacts,
    placement: Placement,
    memory_bytes: int,
) -> int:
    """Finds the largest global batch whose training step fits.

    Every device has a power of two of each part, where `config.accumulate` splits the batch. Each
    of at most four tries is a compilation.

    Raises:
      ConfigError: not even one image on each device fits.
    """
    devices = placement.num_devices
    unit = devices * config.accumulate

    def fits(power: int) -> bool:
        tried = with_batch_size(config, power * unit)
        try:
            compile_within(lower_steps(tried, facts, placement)["train"], memory_bytes)
        except DoesNotFitError as error:
            logger.info("Batch of %d on each device: %s", tried.batch_size // devices, error)
            return False
        logger.info("Batch of %d on each device: fits.", tried.batch_size // devices)
        return True

    return largest_power(fits) * unit


def largest_power(fits: Callable[[int], bool]) -> int:
    """Returns the largest power of two that fits, up to 4096; all below a fitting one fit too.

    Raises:
      ConfigError: none fits.
    """
    place = bisect.bisect_left(_POWERS, True, key=lambda power: not fits(power))
    if place == 0:
        raise ConfigError(
            f"config.batch_size={AUTO!r}: not even one image on each device fits its memory; set "
            "model.dtype=bfloat16, or a smaller data.crop_size or model.width"
        )
    return _POWERS[place - 1]


def with_batch_size(
    config: ml_collections.ConfigDict, batch_size: int
) -> ml_collections.ConfigDict:
    """Returns a copy of the config with this batch size."""
    config = config.copy_and_resolve_references()  # a plain copy would share the field
    with config.ignore_type():
        config.batch_size = batch_size
    return config


def _device_memory() -> int:
    """Returns the bytes that every device of every process may use."""
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    if not all("bytes_limit" in s for s in stats):
        raise ConfigError(
            f"config.batch_size={AUTO!r}: a device of the kind {jax.devices()[0].device_kind!r} "
            "does not say how much memory it has; set a number"
        )
    # In MiB, which fit in the 32 bits that JAX carries.
    mebibytes = np.int32(min(s["bytes_limit"] for s in stats) >> 20)
    return int(multihost_utils.process_allgather(mebibytes).min()) << 20
