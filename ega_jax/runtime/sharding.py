"""Placing arrays on devices: batches are split over them, state is on each. Names the mesh axis.

One program serves one device and many: `jax.jit` with these shardings runs over the global batch,
and XLA inserts the reductions, so batch norm is synchronised and the result does not depend on the
number of devices. (This is what older JAX spelled `pmap` and `pjit`.)
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from ega_jax.runtime import cpu, distributed
from ega_jax.runtime.devices import all_devices
from ega_jax.runtime.errors import ConfigError


class Placement:
    """Where things go on the given devices.

    Attributes:
      replicated: sharding of what every device holds whole (state, metric sums).
      by_example: sharding of arrays whose first axis is the global batch.
      compiler_options: for `jax.jit` of steps on these devices, see `cpu.compiler_options`.
      drawing_options: the same for what draws a fresh state, see `cpu.drawing_options`.
    """

    def __init__(self, devices: list[jax.Device] | None = None):
        """Lays a one-axis mesh over `devices`, all of them by default.

        Raises:
          ConfigError: processes run on CPUs of which some have AVX-512 and some do not.
        """
        devices = all_devices() if devices is None else devices
        if devices[0].platform == "cpu":
            _require_alike()
        self.num_devices = len(devices)
        self.compiler_options = cpu.compiler_options(devices[0].platform)
        self.drawing_options = cpu.drawing_options(devices[0].platform)
        mesh = Mesh(_in_order(devices), ("data",), axis_types=(AxisType.Auto,))
        self.replicated = NamedSharding(mesh, P())
        self.by_example = NamedSharding(mesh, P("data"))

    def put_batch(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
        """Assembles global arrays from each process's rows of the batch."""
        return jax.tree.map(
            lambda x: jax.make_array_from_process_local_data(self.by_example, x), batch
        )

    def replicate(self, tree: Any) -> Any:
        """Puts a whole tree on every device."""
        return jax.device_put(tree, self.replicated)


def _require_alike() -> None:
    """Refuses processes that would make different programs of the same step."""
    found = distributed.gather({"avx512": np.array(cpu.has_avx512())})
    if len({bool(process["avx512"]) for process in found}) > 1:
        having = [str(i) for i, process in enumerate(found) if process["avx512"]]
        raise ConfigError(
            f"of {len(found)} processes those with the numbers {', '.join(having)} have a CPU with "
            "AVX-512, for which programs differ, and the others do not; use machines that are alike"
        )


def _in_order(devices: Sequence[jax.Device]) -> np.ndarray:
    """Orders devices so that neighbours in the mesh are neighbours in the network, `[num_devices]`.

    Several TPU slices, which JAX's own meshes refuse, follow each other.
    """
    slices = {getattr(device, "slice_index", None) for device in devices}
    if devices[0].platform == "tpu" and len(slices) > 1:
        shape, count = (len(devices) // len(slices),), (len(slices),)
        return mesh_utils.create_hybrid_device_mesh(shape, count, devices)
    return mesh_utils.create_device_mesh((len(devices),), devices)


def local_rows(array: jax.Array) -> np.ndarray:
    """Fetches the rows of a batch-sharded array that this process's devices hold, in order."""
    rows = {shard.index[0].start or 0: shard.data for shard in array.addressable_shards}
    return np.concatenate([np.asarray(rows[start]) for start in sorted(rows)])
