"""Placing arrays on devices: batches are split over them, state is on each. Names the mesh axis.

One program serves one device and many: `jax.jit` with these shardings runs over the global batch,
and XLA inserts the reductions, so batch norm is synchronised and the result does not depend on the
number of devices. (This is what older JAX spelled `pmap` and `pjit`.)
"""

from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P


class Placement:
    """Where things go on the given devices.

    Attributes:
      replicated: sharding of what every device holds whole (state, metric sums).
      by_example: sharding of arrays whose first axis is the global batch.
    """

    def __init__(self, devices: list[jax.Device] | None = None):
        """Lays a one-axis mesh over `devices`, all of them by default."""
        devices = jax.devices() if devices is None else devices
        self.num_devices = len(devices)
        mesh = jax.make_mesh(
            (self.num_devices,), ("data",), axis_types=(AxisType.Auto,), devices=devices
        )
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


def local_rows(array: jax.Array) -> np.ndarray:
    """Fetches the rows of a batch-sharded array that this process's devices hold, in order."""
    rows = {shard.index[0].start or 0: shard.data for shard in array.addressable_shards}
    return np.concatenate([np.asarray(rows[start]) for start in sorted(rows)])
