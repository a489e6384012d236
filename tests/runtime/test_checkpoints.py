"""Checkpoints: what is written comes back bit for bit, or not at all and with a reason."""

import errno
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ega_jax.runtime import checkpoints
from ega_jax.runtime.checkpoints import CheckpointError, Checkpoints, find, restore
from ega_jax.runtime.sharding import Placement
from ega_jax.training import steps
from tests.helpers import tiny

REPLICATED = Placement().replicated


def make_state(step, *, side=64, dtype=jnp.float32):
    """A state with noise in it, so that most of a checkpoint's bytes carry the arrays."""
    rng = np.random.default_rng(step)
    params = {
        "conv": {"kernel": rng.normal(size=(side, side)), "bias": rng.normal(size=side)},
        "head": {"kernel": rng.normal(size=(side, 3))},
    }
    params = jax.tree.map(lambda x: jnp.asarray(x, dtype), params)
    statistics = {"batch_stats": {"bn": {"mean": jnp.asarray(rng.normal(size=side), jnp.float32)}}}
    trace = jax.tree.map(lambda x: x * 0.5, params)
    return steps.TrainState(jnp.int32(step), params, statistics, (trace,))


TEMPLATE = jax.eval_shape(lambda: make_state(0))


def contents(folder):
    """Maps every file below a folder to its bytes."""
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def names(folder):
    return sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A workdir with `last/1`, `last/2`, `last/3` and `best/2`."""
    workdir = tmp_path_factory.mktemp("finished")
    with Checkpoints(workdir, keep=3) as saved:
        for step in (1, 2, 3):
            saved.save(make_state(step))
            if step < 3:
                assert saved.save_if_best(make_state(step), score=10.0 * step)
    return workdir


@pytest.fixture
def workdir(finished, tmp_path):
    """A copy of `finished` that may be damaged."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def largest_file(folder):
    return max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_comes_back_bit_for_bit(tmp_path, dtype):
    state = make_state(5, dtype=dtype)
    with Checkpoints(tmp_path, keep=1) as saved:
        saved.save(state)
    template = jax.eval_shape(lambda: make_state(0, dtype=dtype))
    back = restore(find(tmp_path, "last"), template, sharding=REPLICATED)
    tiny.assert_trees_equal(back, state)
    assert isinstance(back, steps.TrainState)
    for leaf, shape in zip(jax.tree.leaves(back), jax.tree.leaves(template), strict=True):
        assert leaf.dtype == shape.dtype and leaf.sharding == REPLICATED


def test_comes_back_on_another_number_of_devices(tmp_path):
    state = Placement().replicate(make_state(5))
    with Checkpoints(tmp_path, keep=1) as saved:
        saved.save(state)
    one = Placement(jax.devices()[:1])
    back = restore(find(tmp_path, "last"), TEMPLATE, sharding=one.replicated)
    tiny.assert_trees_equal(back, state)
    assert back.step.sharding.device_set == {jax.devices()[0]}


def test_keeps_the_newest(tmp_path):
    with Checkpoints(tmp_path, keep=2) as saved:
        assert saved.latest_step is None
        for step in (10, 20, 30, 40):
            saved.save(make_state(step))
            assert saved.latest_step == step
    assert names(tmp_path / "checkpoints" / "last") == ["30", "40"]
    for step in (30, 40):
        back = restore(find(tmp_path, str(step)), TEMPLATE, sharding=REPLICATED)
        tiny.assert_trees_equal(back, make_state(step))


def test_a_saved_step_is_left(tmp_path):
    with Checkpoints(tmp_path, keep=2) as saved:
        saved.save(make_state(1))
        saved.save(make_state(1).replace(params=make_state(2).params))
    back = restore(find(tmp_path, "last"), TEMPLATE, sharding=REPLICATED)
    tiny.assert_trees_equal(back, make_state(1))


def test_best_only_when_better(tmp_path):
    with Checkpoints(tmp_path, keep=2) as saved:
        scores = [(1, 20.0, True), (2, 20.0, False), (3, 19.0, False), (4, float("nan"), False)]
        for step, score, better in [*scores, (5, 20.5, True)]:
            assert saved.save_if_best(make_state(step), score) == better
    assert names(tmp_path / "checkpoints" / "best") == ["5"]
    with Checkpoints(tmp_path, keep=2) as saved:  # another process goes on
        assert saved.best_score == 20.5
        assert not saved.save_if_best(make_state(6), 20.4)
        assert saved.save_if_best(make_state(7), 21.0)
        assert saved.save_if_best(make_state(7), 22.0)  # the same state, read in another way
    assert names(tmp_path / "checkpoints" / "best") == ["7"]
    assert checkpoints.read_manifest(find(tmp_path, "best"))["score"] == 21.0


def test_save_does_not_wait_and_cannot_be_overtaken(tmp_path):
    """The state is donated to the next step while its checkpoint is being written."""
    overwrite = jax.jit(lambda state: jax.tree.map(lambda x: x * 0 - 1, state), donate_argnums=0)
    expected = make_state(1, side=512)
    with Checkpoints(tmp_path, keep=5) as saved:
        for step in range(1, 5):
            state = expected.replace(step=jnp.int32(step))
            state = jax.tree.map(jnp.copy, state)
            saved.save(state)
            overwrite(state)
    template = jax.eval_shape(lambda: make_state(0, side=512))
    for step in range(1, 5):
        back = restore(find(tmp_path, str(step)), template, sharding=REPLICATED)
        tiny.assert_trees_equal(back, expected.replace(step=jnp.int32(step)))


def test_leaving_the_context_by_an_error_finishes_the_writes(tmp_path):
    with pytest.raises(KeyboardInterrupt), Checkpoints(tmp_path, keep=1) as saved:
        saved.save(make_state(1, side=512))
        raise KeyboardInterrupt
    template = jax.eval_shape(lambda: make_state(0, side=512))
    assert restore(find(tmp_path, "1"), template, sharding=REPLICATED).step == 1


@pytest.mark.parametrize(
    ("which", "found"),
    [
        ("last", "last/3"),
        ("best", "best/2"),
        ("1", "last/1"),
        ("2", "last/2"),
        ("best/2", "best/2"),
        ("last/1", "last/1"),
    ],
)
def test_find(finished, which, found):
    assert find(finished, which) == finished / "checkpoints" / found


@pytest.mark.parametrize(("which", "found"), [("last", "last/3"), ("best", "best/2")])
def test_find_in_the_folder_of_another_run(finished, tmp_path, which, found):
    folder = finished / "checkpoints"
    assert find(tmp_path / "elsewhere", str(folder / which)) == folder / found
    assert find(tmp_path / "elsewhere", str(folder / found)) == folder / found


def test_find_best_by_its_step(workdir):
    shutil.rmtree(workdir / "checkpoints" / "last" / "2")
    assert find(workdir, "2") == workdir / "checkpoints" / "best" / "2"


def test_find_by_path(finished, monkeypatch):
    path = finished / "checkpoints" / "best" / "2"
    assert find("elsewhere", str(path)) == path
    monkeypatch.chdir(finished / "checkpoints")
    assert find("elsewhere", "best/2") == path


@pytest.mark.parametrize("which", ["4", "last/4", "newest", "/no/such/folder"])
def test_find_says_what_there_is(finished, which):
    with pytest.raises(CheckpointError, match="last/1, last/2, last/3, best/2") as error:
        find(finished, which)
    assert repr(which) in str(error.value)


@pytest.mark.parametrize("which", ["last", "best", "7"])
def test_find_in_an_empty_workdir(tmp_path, which):
    with pytest.raises(CheckpointError, match="there are: none"):
        find(tmp_path, which)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            lambda s: s.replace(params=s.params | {"extra": jnp.zeros(3)}),
            r"params/extra: absent in the checkpoint, float32\[3\] here",
        ),
        (
            lambda s: s.replace(params={"conv": s.params["conv"]}),
            r"params/head/kernel: float32\[64, 3\] in the checkpoint, absent here",
        ),
        (
            lambda s: s.replace(params=s.params | {"head": {"kernel": jnp.zeros((64, 4))}}),
            r"params/head/kernel: float32\[64, 3\] in the checkpoint, float32\[64, 4\] here",
        ),
        (
            lambda s: s.replace(params=s.params | {"head": {"kernel": jnp.zeros((64, 3), "int8")}}),
            r"params/head/kernel: float32\[64, 3\] in the checkpoint, int8\[64, 3\] here",
        ),
        (
            lambda s: s.replace(model_state={}),
            r"model_state/batch_stats/bn/mean: float32\[64\] in the checkpoint, absent here",
        ),
    ],
    ids=["more here", "more there", "other shape", "other type", "no statistics"],
)
def test_another_model(workdir, change, named):
    template = jax.eval_shape(lambda: change(make_state(0)))
    before = contents(workdir)
    with pytest.raises(CheckpointError, match=named) as error:
        restore(find(workdir, "last"), template, sharding=REPLICATED)
    assert "Run with the config it was trained with" in str(error.value)
    assert contents(workdir) == before


def test_many_differences_are_summed_up(finished):
    template = {f"array_{i}": jax.ShapeDtypeStruct((1,), jnp.float32) for i in range(20)}
    with pytest.raises(CheckpointError, match=r"and \d+ more"):
        restore(find(finished, "last"), template, sharding=REPLICATED)


def truncate(checkpoint):
    file = largest_file(checkpoint)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(place):
    def damage(checkpoint):
        file = largest_file(checkpoint)
        data = bytearray(file.read_bytes())
        data[int(place * (len(data) - 1))] ^= 0x10
        file.write_bytes(data)

    return damage


def rewrite_manifest(change):
    def damage(checkpoint):
        file = checkpoint / "manifest" / "metadata"
        file.write_text(change(file.read_text()))

    return damage


def change_checksum(text):
    manifest = json.loads(text)
    manifest["arrays"]["params/conv/kernel"]["crc32"] ^= 1
    return json.dumps(manifest)


DAMAGES = {
    "truncated": truncate,
    "byte flipped near the start": flip(0.1),
    "byte flipped in the middle": flip(0.5),
    "byte flipped late": flip(0.8),
    "arrays gone": lambda checkpoint: shutil.rmtree(checkpoint / "state"),
    "manifest gone": lambda checkpoint: shutil.rmtree(checkpoint / "manifest"),
    "manifest cut": rewrite_manifest(lambda text: text[:100]),
    "manifest empty": rewrite_manifest(lambda text: ""),
    "manifest without arrays": rewrite_manifest(lambda text: "{}"),
    "manifest of another kind": rewrite_manifest(lambda text: '["arrays"]'),
    "manifest lacks a field": rewrite_manifest(lambda text: text.replace("crc32", "crc33")),
    "manifest with another checksum": rewrite_manifest(change_checksum),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged(workdir, damage):
    newest = workdir / "checkpoints" / "last" / "3"
    DAMAGES[damage](newest)
    before = contents(workdir)
    with pytest.raises(CheckpointError) as error:
        restore(find(workdir, "last"), TEMPLATE, sharding=REPLICATED)
    message = str(error.value)
    assert f"{newest} is damaged" in message
    assert "there are: last/1, last/2, best/2" in message
    assert contents(workdir) == before
    # What the message offers can be had.
    back = restore(find(workdir, "last/2"), TEMPLATE, sharding=REPLICATED)
    tiny.assert_trees_equal(back, make_state(2))


@pytest.mark.parametrize("place", np.linspace(0, 1, 9))
def test_flipped_byte_is_refused_or_harmless(workdir, place):
    """Some bytes of the file are not read; no flip may come back as other numbers."""
    flip(place)(workdir / "checkpoints" / "last" / "3")
    try:
        back = restore(find(workdir, "last"), TEMPLATE, sharding=REPLICATED)
    except CheckpointError:
        return
    tiny.assert_trees_equal(back, make_state(3))


def test_partial(finished):
    """Inference reads parameters and main statistics, not the optimizer's state."""
    params = TEMPLATE.params
    back = restore(find(finished, "last"), {"params": params}, sharding=REPLICATED, partial=True)
    tiny.assert_trees_equal(back, {"params": make_state(3).params})
    with pytest.raises(CheckpointError, match="params/conv/kernel: .*absent here"):
        restore(find(finished, "last"), {"step": TEMPLATE.step}, sharding=REPLICATED)
    with pytest.raises(CheckpointError, match="extra: absent in the checkpoint"):
        template = {"params": params, "extra": TEMPLATE.step}
        restore(find(finished, "last"), template, sharding=REPLICATED, partial=True)


def test_set_aside_after(workdir):
    folder = workdir / "checkpoints"
    for count in range(2):  # twice, as somebody who tries again from step 1
        with Checkpoints(workdir, keep=3) as saved:
            assert saved.latest_step == 3 and saved.best_score == 20.0
            saved.set_aside_after(1)
            assert saved.latest_step == 1
            assert saved.best_score == -np.inf
            for step in (2, 3):
                saved.save(make_state(step))
            assert saved.save_if_best(make_state(2), 20.0)
        assert names(folder / "last") == ["1", "2", "3"]
        aside = [f"{step}.{n}" for step in (2, 3) for n in range(count + 1)]
        assert names(folder / "set_aside" / "last") == aside
        assert names(folder / "set_aside" / "best") == [f"2.{n}" for n in range(count + 1)]
    back = restore(find(workdir, "set_aside/last/3.0"), TEMPLATE, sharding=REPLICATED)
    tiny.assert_trees_equal(back, make_state(3))


def test_set_aside_leaves_what_is_not_newer(workdir):
    before = contents(workdir)
    with Checkpoints(workdir, keep=3) as saved:
        saved.set_aside_after(3)
        assert saved.latest_step == 3 and saved.best_score == 20.0
    assert contents(workdir) == before


def test_manifest_names_every_array(finished):
    manifest = checkpoints.read_manifest(find(finished, "last"))
    assert set(manifest["arrays"]) == {
        "step",
        "params/conv/kernel",
        "params/conv/bias",
        "params/head/kernel",
        "model_state/batch_stats/bn/mean",
        "opt_state/0/conv/kernel",
        "opt_state/0/conv/bias",
        "opt_state/0/head/kernel",
    }
    entry = manifest["arrays"]["params/head/kernel"]
    assert entry["shape"] == [64, 3] and entry["dtype"] == "float32"


def test_a_damaged_best_does_not_stop_the_run(workdir):
    """Its score cannot be read, so it is set aside whole and the next one is the best so far."""
    manifest = workdir / "checkpoints" / "best" / "2" / "manifest" / "metadata"
    manifest.write_text("{")
    with Checkpoints(workdir, keep=3) as saved:
        assert saved.latest_step == 3
        assert saved.best_score == -np.inf
        assert saved.save_if_best(make_state(4), 1.0)
    aside = workdir / "checkpoints" / "set_aside" / "best" / "2.0"
    assert (aside / "manifest" / "metadata").read_text() == "{"
    assert names(workdir / "checkpoints" / "best") == ["4"]


def test_a_write_that_fails_is_said_and_not_passed_over(tmp_path, monkeypatch):
    def fail():
        raise OSError(errno.ENOSPC, "No space left on device")

    with Checkpoints(tmp_path, keep=2) as saved:
        monkeypatch.setattr(saved._last, "wait_until_finished", fail)
        with pytest.raises(CheckpointError, match="could not be written to .*No space left"):
            saved.wait()
        monkeypatch.undo()


def test_a_checkpoint_that_does_not_fit_is_not_begun(workdir, monkeypatch):
    before = contents(workdir)
    monkeypatch.setattr(checkpoints.files, "free_bytes", lambda folder: 30_000)
    with Checkpoints(workdir, keep=3) as saved:
        for write in (saved.save, lambda state: saved.save_if_best(state, 99.0)):
            with pytest.raises(CheckpointError, match=r"no room .*takes 0\.\d MB, 0\.0 are free"):
                write(make_state(4))
    assert contents(workdir) == before
