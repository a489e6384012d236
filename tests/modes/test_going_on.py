"""Where a run goes on, also where the same command is repeated until it is done."""

import jax.numpy as jnp
import pytest

from ega_jax.modes import going_on
from ega_jax.runtime.checkpoints import CheckpointError, Checkpoints
from tests.helpers import tiny
from tests.helpers.runs import tiny as tiny_config


@pytest.fixture
def save(tmp_path):
    """A function that saves steps of a run, as going on from a checkpoint does."""
    state = tiny.train_state(tiny.TinyNet(), tiny.optimizer())

    def write(*steps, checkpoint=None, first=0, name="run"):
        workdir = tmp_path / name
        with Checkpoints(workdir, keep=9, run={}) as saved:
            if checkpoint is not None:
                saved.set_aside_after(first)
                going_on.remember(workdir, checkpoint, first)
            for step in steps:
                saved.save(state.replace(step=jnp.int32(step)))
        return workdir

    return write


def test_a_run_begins_or_goes_on_from_its_last_checkpoint(save, tmp_path):
    assert going_on.starting_point(tmp_path / "none", None) is None
    workdir = save(2, 4)
    assert going_on.starting_point(workdir, None).name == "4"
    assert going_on.starting_point(workdir, "2").name == "2"
    with pytest.raises(CheckpointError, match="there are: last/2, last/4"):
        going_on.starting_point(workdir, "3")


def test_the_same_command_goes_on_with_what_came_after_its_checkpoint(save, caplog):
    caplog.set_level("INFO", logger="ega_jax")
    workdir = save(2, 4, 6)
    save(checkpoint="4", first=4)
    assert going_on.starting_point(workdir, "4").name == "4"  # killed before it saved
    save(5, 7)
    assert "went on from" not in caplog.text
    assert going_on.starting_point(workdir, "4").name == "7"
    assert "went on from --checkpoint=4 before, and has saved since; remove" in caplog.text
    assert going_on.starting_point(workdir, "2").name == "2"  # another one
    (workdir / "checkpoints" / "last" / "7" / "manifest" / "metadata").write_text("{")
    assert going_on.starting_point(workdir, "4").name == "4"  # what is asked for where 7 is damaged
    (workdir / "went_on_from.json").unlink()
    assert going_on.starting_point(workdir, "4").name == "4"


def test_also_from_the_checkpoint_of_another_run(save):
    path = str(save(2, 6) / "checkpoints" / "last" / "6")
    other = save(name="other")
    assert str(going_on.starting_point(other, path)) == path
    save(9, checkpoint=path, first=6, name="other")
    assert going_on.starting_point(other, path).parent.parent.parent == other
    assert going_on.starting_point(other, path).name == "9"


def test_another_length_is_warned_of_where_something_depends_on_it(caplog):
    fixed = tiny_config(**{"ega.entropy_rise": 0.0, "optimizer.schedule": "constant"})
    going_on.warn_of_another_length(fixed, fixed.copy_and_resolve_references(), 20)
    longer = fixed.copy_and_resolve_references()
    longer.steps = 12
    going_on.warn_of_another_length(fixed, longer, 20)
    assert not caplog.text
    longer.optimizer.schedule = "cosine"
    going_on.warn_of_another_length(fixed, longer, 20)
    assert (
        "was to have 6 steps and is to have 12: from here on the learning rate will" in caplog.text
    )
