"""Where arrays are put, and how rows come back."""

import jax
import numpy as np
import pytest

from ega_jax.aot import tpu
from ega_jax.runtime import distributed
from ega_jax.runtime.errors import ConfigError
from ega_jax.runtime.sharding import Placement, local_rows


def test_batches_are_split_in_order():
    placement = Placement()
    assert placement.num_devices == 4
    batch = {
        "image": np.arange(8 * 2 * 3, dtype=np.uint8).reshape(8, 2, 3),
        "label": np.arange(8, dtype=np.int32),
        "mask": np.arange(8) < 5,
    }
    placed = placement.put_batch(batch)
    assert set(placed) == set(batch)
    for name, array in placed.items():
        assert array.shape == batch[name].shape and array.dtype == batch[name].dtype
        assert array.sharding == placement.by_example
        assert [s.data.shape[0] for s in array.addressable_shards] == [2, 2, 2, 2]
        for device, rows in zip(jax.devices(), np.split(batch[name], 4), strict=True):
            (shard,) = [s for s in array.addressable_shards if s.device == device]
            np.testing.assert_array_equal(shard.data, rows)
        np.testing.assert_array_equal(local_rows(array), batch[name])


def test_unlike_processors_are_refused(monkeypatch):
    """Their programs of the same step would wait for each other in different places."""
    found = [{"avx512": np.array(value)} for value in (True, False, True)]
    monkeypatch.setattr(distributed, "gather", lambda arrays: found)
    with pytest.raises(ConfigError, match="of 3 processes those with the numbers 0, 2 have a CPU"):
        Placement()
    found[1]["avx512"] = np.array(True)
    assert Placement().num_devices == 4


def test_rows_are_in_the_batch_s_order_whatever_the_devices_order():
    placement = Placement(jax.devices()[::-1])
    rows = np.arange(12).reshape(4, 3)
    placed = placement.put_batch({"x": rows})["x"]
    np.testing.assert_array_equal(local_rows(placed), rows)


def test_rows_of_a_replicated_array_come_once():
    placement = Placement()
    rows = np.arange(6).reshape(3, 2)
    np.testing.assert_array_equal(local_rows(placement.replicate(rows)), rows)


def test_replicate():
    placement = Placement()
    tree = placement.replicate({"a": np.arange(3), "b": (np.ones((2, 2)),)})
    for leaf in jax.tree.leaves(tree):
        assert leaf.sharding == placement.replicated
        assert len(leaf.addressable_shards) == 4
        for shard in leaf.addressable_shards:
            np.testing.assert_array_equal(shard.data, leaf)


def test_some_devices_only():
    placement = Placement(jax.devices()[1:3])
    assert placement.num_devices == 2
    placed = placement.put_batch({"x": np.arange(4)})["x"]
    assert placed.sharding.device_set == set(jax.devices()[1:3])


def test_batch_that_does_not_divide():
    with pytest.raises(ValueError, match="evenly divide|should be divisible by 4"):
        Placement().put_batch({"x": np.arange(6)})


def test_work_on_a_split_batch_stays_split():
    """No device gathers the others' rows: what goes in by example comes out so."""
    placement = Placement()
    placed = placement.put_batch({"x": np.ones((8, 3), np.float32)})["x"]
    double = jax.jit(lambda x: 2 * x)
    assert double(placed).sharding.is_equivalent_to(placement.by_example, 2)
    assert "all-gather" not in double.lower(placed).compile().as_text()
    total = jax.jit(lambda x: x.sum(), out_shardings=placement.replicated)(placed)
    assert total == 24 and total.sharding.is_fully_replicated


def test_slices_follow_each_other():
    """What JAX's own mesh refuses."""
    pytest.importorskip("libtpu", reason="needs libtpu: requirements-tpu-compile.txt")
    devices = tpu.parse("2xv5e:2x2").devices()
    placement = Placement(devices[::2] + devices[1::2])
    assert placement.num_devices == 8
    order = list(placement.by_example.mesh.devices)
    assert set(order) == set(devices)
    assert [device.slice_index for device in order] == [0, 0, 0, 0, 1, 1, 1, 1]
