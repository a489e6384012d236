"""Real processes on this machine, joined as on a pod, against a single one."""

import jax
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ega_jax import checkpoints
from tests.processes import finish, start_all

pytestmark = pytest.mark.slow

RUN = {"steps": 20, "log_every_steps": 1, "eval.every_epochs": 0.0, "checkpoint.every_steps": 5}


def run(workdir, fields=None, **options):
    """Runs to the end; returns the workdir."""
    codes, said = finish(start_all(workdir, RUN | (fields or {}), **options))
    assert codes == [0] * options["count"], "\n".join(said)
    return workdir


def scalars(workdir):
    """Every figure that a run logged, `[steps]` by name."""
    (file,) = workdir.glob("events.out.tfevents.*")
    events = EventAccumulator(str(file), size_guidance={"tensors": 0}).Reload()
    return {
        name: np.array([e.tensor_proto.float_val[0] for e in events.Tensors(name)])
        for name in events.Tags()["tensors"]
        if events.Tensors(name)[0].tensor_proto.float_val
    }


def state(workdir):
    """Parameters, statistics and momenta at the end."""
    import orbax.checkpoint as ocp

    path = checkpoints.find(workdir, "last") / "state"
    restored = ocp.Checkpointer(ocp.PyTreeCheckpointHandler()).restore(path)
    return jax.tree.map(np.asarray, restored)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return run(tmp_path_factory.mktemp("alone"), count=1)


@pytest.mark.parametrize("count", [2, 4])
def test_several_processes_are_one(tmp_path, alone, count):
    together = run(tmp_path, count=count)
    expected, found = scalars(alone), scalars(together)
    assert len(expected["loss"]) == 20
    for name in ("loss", "ce_clean", "ce_adv", "entropy_clean", "entropy_adv", "grad_norm"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, err_msg=name)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        state(together),
        state(alone),
    )
    for name in ("per_image_test.csv", "per_class_test.csv", "results.json", "pictures/boxes.png"):
        assert (together / name).exists()
