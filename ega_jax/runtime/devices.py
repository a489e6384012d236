"""The devices that a program runs on: finding them, naming them."""

from typing import Any

import jax

from ega_jax.runtime.errors import UserError


class DeviceError(UserError):
    """The accelerator that was asked for cannot be used."""


def all_devices() -> list[jax.Device]:
    """Returns the devices of all processes.

    Raises:
      DeviceError: the platform that JAX was told to use is not there.
    """
    try:
        return jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter where no such build is installed
        wanted = jax.config.jax_platforms  # type: ignore[attr-defined]
        asked = f"JAX_PLATFORMS={wanted}" if wanted else "JAX"
        reason = str(error).split("\n")[0] or "there is no such backend"
        raise DeviceError(
            f"{asked} finds no device: {reason}. Install its build of JAX, free the device, or set "
            "JAX_PLATFORMS=cpu"
        ) from error


def describe() -> dict[str, Any]:
    """Returns `platform`, `kind` and `number` of the devices of all processes, for results."""
    devices = all_devices()
    return {
        "platform": devices[0].platform,
        "kind": devices[0].device_kind,
        "number": len(devices),
    }
