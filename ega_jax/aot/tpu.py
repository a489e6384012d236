"""TPU chips and slices by name, for compilers that run where there is none.

v5e:16x16    one slice of 256 chips
2xv5e:16x16  two of them, joined by the data centre's network
"""

import dataclasses
import importlib.util
import math
import os
import re
from typing import Any

import jax
from jax.experimental import topologies

from ega_jax.runtime.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Chip:
    """What one chip can do at most: the vendor's figures, which no program reaches.

    Attributes:
      flops_per_second: in bfloat16, in which a TPU multiplies float32 too unless told otherwise.
      bytes_per_second: between the chip and its memory (HBM).
      hbm_bytes: size of that memory.
      dimensions: of the torus that joins the chips of a slice.
    """

    flops_per_second: float
    bytes_per_second: float
    hbm_bytes: int
    dimensions: int


# https://cloud.google.com/tpu/docs/ v4, v5e, v5p, v6e: "key chip specifications".
CHIPS = {
    "v4": Chip(275e12, 1200e9, 32 << 30, 3),
    "v5e": Chip(197e12, 819e9, 16 << 30, 2),
    "v5p": Chip(459e12, 2765e9, 95 << 30, 3),
    "v6e": Chip(918e12, 1638e9, 32 << 30, 2),
}


@dataclasses.dataclass(frozen=True)
class Topology:
    """Slices of one kind.

    Attributes:
      chip_name: a key of `CHIPS`.
      shape: chips along each dimension of a slice's torus.
      num_slices: how many of them.
    """

    chip_name: str
    shape: tuple[int, ...]
    num_slices: int = 1

    @property
    def chip(self) -> Chip:
        """What each chip can do."""
        return CHIPS[self.chip_name]

    @property
    def slice_name(self) -> str:
        """One slice's name, as libtpu wants it."""
        return f"{self.chip_name}:{'x'.join(map(str, self.shape))}"

    @property
    def num_chips(self) -> int:
        """Over all slices."""
        return self.num_slices * math.prod(self.shape)

    def devices(self) -> list[jax.Device]:
        """Returns devices to compile for; nothing can run on them.

        Raises:
          ConfigError: libtpu, which holds the compiler, is not installed or knows no such slice.
        """
        if importlib.util.find_spec("libtpu") is None:
            raise ConfigError(
                "--mode=compile needs libtpu, which holds the TPU's compiler (Linux on x86-64): "
                "pip install -r requirements-tpu-compile.txt"
            )
        # There may be no TPU to ask for its shape, or one that another process holds: compiling
        # needs none.
        jax.config.update("jax_platforms", "cpu")
        os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
        os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "true")
        settings: dict[str, Any] = {"num_slices": self.num_slices}
        if math.prod(self.shape) == 1:
            settings["chips_per_host_bounds"] = (1, 1, 1)  # the default, 2x2x1, would not divide it
        if self.chip_name == "v4":
            settings["chip_config_name"] = "megacore"  # one device for each chip, as on the machine
        try:
            found = topologies.get_topology_desc(
                platform="tpu", topology_name=self.slice_name, **settings
            ).devices
        except jax.errors.JaxRuntimeError as error:
            raise ConfigError(f"--topology: libtpu refuses {self.slice_name}: {error}") from error
        if len(found) != self.num_chips:
            raise ConfigError(
                f"--topology: libtpu makes {len(found)} devices, not {self.num_chips}, of {self}"
            )
        return list(found)


def parse(name: str) -> Topology:
    """Reads a name such as `v5e:16x16` or `2xv4:4x4x8`.

    Raises:
      ConfigError: it is no such name, or the chips are joined in another number of dimensions.
    """
    match = re.fullmatch(r"(?:([1-9]\d*)x)?(v\d+[a-z]?):([1-9]\d*(?:x[1-9]\d*)*)", name)
    if match is None or match[2] not in CHIPS:
        raise ConfigError(
            f"--topology={name!r}: must be like v5e:16x16, v4:2x2x4 or, for several slices, "
            f"2xv5e:16x16; chips: {', '.join(CHIPS)}"
        )
    shape = tuple(map(int, match[3].split("x")))
    dimensions = CHIPS[match[2]].dimensions
    if len(shape) != dimensions:
        raise ConfigError(
            f"--topology={name!r}: {match[2]} chips are joined in {dimensions} dimensions, as in "
            f"{match[2]}:{'x'.join(['2', '2', '1'][:dimensions])}"
        )
    return Topology(match[2], shape, int(match[1] or 1))
