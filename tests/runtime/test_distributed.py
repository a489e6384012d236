"""Real processes on this machine, joined as on a pod, against a single one."""

import collections
import json
import signal

import jax
import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from ega_jax.modes import train
from ega_jax.runtime import checkpoints, distributed
from ega_jax.runtime.nested import flatten
from tests.helpers.processes import HEARTBEAT_TIMEOUT, finish, start_all
from tests.helpers.runs import tiny

RUN = {
    "steps": 20,
    "log_every_steps": 1,
    "eval.every_epochs": 0.0,
    "checkpoint.every_steps": 5,
    # The last bits of sums depend on the number of processes. A tiny network at a high rate
    # amplifies them within a few steps, and the sign of a gradient near 0 hangs on them: the
    # attack begins at random and takes steps of 0.
    "optimizer.learning_rate": 1e-4,
    "ega.random_start": True,
    "ega.step_size": 0.0,
}


def run(workdir, fields=None, **options):
    """Runs to the end; returns the workdir."""
    codes, said = finish(start_all(workdir, RUN | (fields or {}), **options))
    assert codes == [0] * options["count"], "\n".join(said)
    return workdir


def scalars(workdir):
    """Every figure of training that a run logged, `[steps]` by name, whatever stopped it."""
    found = collections.defaultdict(dict)
    for file in sorted(workdir.glob("events.out.tfevents.*")):
        events = EventAccumulator(str(file), size_guidance={"tensors": 0}).Reload()
        for tag in events.Tags()["tensors"]:
            if tag.startswith("train/"):
                for event in events.Tensors(tag):
                    assert event.step not in found[tag]
                    found[tag][event.step] = make_ndarray(event.tensor_proto)
    return {
        tag.removeprefix("train/"): np.array([values[step] for step in sorted(values)])
        for tag, values in found.items()
    }


def state(workdir):
    """Parameters, statistics and momenta at the end."""
    trainer = train.Trainer(tiny(**RUN), str(workdir))
    return jax.tree.map(np.asarray, trainer.restore(checkpoints.find(workdir, "last")))


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return run(tmp_path_factory.mktemp("alone"), count=1)


def assert_same_figures(workdir, other):
    """Compares all figures of both splits; last bits may move a pixel to PxAP's next bin."""
    one, two = (
        flatten({name: found[name] for name in ("validation", "test")})
        for found in (json.loads((w / "results.json").read_text()) for w in (workdir, other))
    )
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert value == pytest.approx(two[name], rel=1e-3 if "pxap" in name else 1e-5), name


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """Two processes, of which one is told to stop, then four that go on."""
    workdir = tmp_path_factory.mktemp("together")
    processes = start_all(workdir, RUN, count=2)
    for line in processes[0].stderr:
        if "Step 3/" in line:
            processes[1].send_signal(signal.SIGTERM)
            break
    codes, said = finish(processes)
    assert codes == [train.STOPPED] * 2, "\n".join(said)
    stopped_at = int(checkpoints.find(workdir, "last").name)
    assert not (workdir / "results.json").exists()
    return run(workdir, count=4), stopped_at


@pytest.mark.slow
def test_one_is_told_to_stop_and_all_save_the_same_step(together):
    workdir, stopped_at = together
    assert 3 <= stopped_at <= RUN["steps"] - 5
    assert json.loads((workdir / "results.json").read_text())["step"] == RUN["steps"]


@pytest.mark.slow
def test_several_processes_are_one(together, alone):
    """Every loss of 20 steps of EGA, the statistics of both batch norms, all metrics.

    The first steps by two processes, the rest by four.
    """
    workdir, _ = together
    expected, found = scalars(alone), scalars(workdir)
    assert len(expected["loss"]) == 20
    for name in ("loss", "ce_clean", "ce_adv", "entropy_clean", "entropy_adv"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, err_msg=name)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
        state(workdir).model_state,
        state(alone).model_state,
    )
    assert_same_figures(workdir, alone)
    rows = [(w / "per_image_test.csv").read_text().splitlines() for w in (alone, workdir)]
    assert [row.split(",")[:3] for row in rows[0]] == [row.split(",")[:3] for row in rows[1]]
    pictures = [np.asarray(Image.open(w / "pictures" / "boxes.png")) for w in (alone, workdir)]
    assert pictures[0].shape == pictures[1].shape


@pytest.mark.slow
def test_a_process_that_dies_does_not_leave_the_others_waiting(tmp_path):
    """It ends the run within the time-out, and what was saved is there."""
    fields = RUN | {"steps": 2000, "checkpoint.every_steps": 2}
    processes = start_all(tmp_path, fields, count=2)
    for line in processes[0].stderr:
        if "Step 5/" in line:
            processes[1].kill()
            break
    codes, said = finish(processes, timeout=HEARTBEAT_TIMEOUT + 60)
    assert codes[0] not in (0, train.STOPPED), said[0]
    assert codes[1] == -signal.SIGKILL
    assert int(checkpoints.find(tmp_path, "last").name) >= 2


def test_one_process_is_the_lead_and_gathers_its_own():
    arrays = {"a": np.arange(3), "b": np.float64(0.5)}
    (found,) = distributed.gather(arrays)
    assert distributed.is_lead()
    assert found.keys() == arrays.keys() and found["a"] is arrays["a"]


def test_sigterm_to_one_process_is_asked_for_after_a_step():
    before = signal.getsignal(signal.SIGTERM)
    with distributed.stop_signal() as told_to_stop:
        assert not told_to_stop(1)
        signal.raise_signal(signal.SIGTERM)
        assert told_to_stop(2)
    assert signal.getsignal(signal.SIGTERM) is before
