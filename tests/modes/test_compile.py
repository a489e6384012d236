"""What steps need on TPUs that are not here; the largest batch that fits."""

import json
import os
import re
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ega_jax.aot import batch_size, hlo, lower, tpu
from ega_jax.data.source import DataError
from ega_jax.modes import compile
from ega_jax.runtime.errors import ConfigError
from ega_jax.runtime.sharding import Placement
from tests.helpers.paths import ROOT
from tests.helpers.platforms import plain_operations
from tests.helpers.runs import TINY, tiny

FACTS = lower.DataFacts(num_classes=10, num_images=20)

# Shapes, layouts and comments as compilers for TPUs (one slice and two) and GPUs write them.
HLO = """
HloModule jit_train_step, entry_computation_layout={(f32[8]{0})->f32[8]{0}}
%body (p: f32[8]) -> f32[8] {
  ROOT %all-reduce.9 = f32[8]{0:T(128)S(1)} all-reduce(%p), channel_id=1, to_apply=%add
}
ENTRY %main {
  %all-reduce.1 = (f32[2]{0:T(128)S(1)}, bf16[3,4]{1,0:T(8,128)(2,1)}, f32[], f32[2]{0}, f32[2]{0},
  /*index=5*/pred[7]{0}) all-reduce(%a, %b, %c, %d, %e, /*index=5*/%f), channel_id=2
  %fusion.1 = f32[64]{0} fusion(%g), kind=kLoop, metadata={op_name="x = f32[9] all-reduce("}
  %all-gather.2 = f32[3,3,8,8]{3,1,0,2:T(4,128)S(1)} all-gather(%h), dimensions={2}
  %all-gather-start = (f32[4]{0}, f32[16]{0}) all-gather-start(%i), dimensions={0}
  %all-gather-done = f32[16]{0} all-gather-done(%all-gather-start)
  %all-reduce-start = (f32[4]{0}, s32[2]{0}) all-reduce-start(%j, %k), to_apply=%add
  %all-reduce-done = (f32[4]{0}, s32[2]{0}) all-reduce-done(%all-reduce-start)
  %cp = (u8[6]{0}, u8[6]{0}, u32[], u32[]) collective-permute-start(%l)
  %cp-done = u8[6]{0} collective-permute-done(%cp)
  %send = (f32[1,1,128]{2,1,0:T(1,128)}, u32[], token[]) send(%m, %after-all), channel_id=3
  %send-done = token[] send-done(%send)
  %get-tuple-element.3 = f32[2]{0} get-tuple-element(%all-reduce.1), index=0
}
"""


def test_collectives_of_a_program():
    tuple_bytes = 2 * 4 + 12 * 2 + 4 + 2 * 4 + 2 * 4 + 7
    assert hlo.collectives(HLO) == {
        "all-gather": {"count": 2, "bytes": 3 * 3 * 8 * 8 * 4 + 16 * 4},
        "all-reduce": {"count": 3, "bytes": 8 * 4 + tuple_bytes + 4 * 4 + 2 * 4},
        "collective-permute": {"count": 1, "bytes": 6},
        "send": {"count": 1, "bytes": 512},
    }
    assert hlo.collectives("ENTRY %main {\n  ROOT %a = f32[2]{0} add(%b, %c)\n}") == {}


def test_collectives_that_a_compiler_has_put_in():
    placement = Placement()
    total = jax.jit(
        lambda x: x.sum(axis=0),
        in_shardings=placement.by_example,
        out_shardings=placement.replicated,
    )
    compiled = total.lower(jax.ShapeDtypeStruct((8, 5), jnp.float32)).compile()
    assert hlo.collectives(compiled.as_text()) == {"all-reduce": {"count": 1, "bytes": 20}}


# Of 1024 floats in memory and on the chip, S(1): copies, slices, a fusion, a loop, a reduction.
MOVES = """
HloModule jit_train_step, is_scheduled=true
%fused (p: f32[1024]) -> f32[1024] {
  ROOT %inside = f32[1024]{0:T(1024)} negate(%p)
}
%body (arg: (s32[], f32[1024])) -> (s32[], f32[1024]) {
  %arg = (s32[]{:T(128)}, f32[1024]{0:T(1024)}) parameter(0)
  %old = f32[1024]{0:T(1024)} get-tuple-element(%arg), index=1
  ROOT %new = f32[1024]{0:T(1024)} negate(%old)
}
ENTRY %main (a: f32[1024], b: f32[1024]) -> f32[] {
  %a = f32[1024]{0:T(1024)} parameter(0)
  %b = f32[1024]{0:T(1024)S(1)} parameter(1)
  %copy-start = (f32[1024]{0:T(1024)S(1)}, f32[1024]{0:T(1024)}, u32[]{:S(2)}) copy-start(%a)
  %copy-done = f32[1024]{0:T(1024)S(1)} copy-done(%copy-start)
  %slice-start = ((f32[1024]{0:T(1024)}), f32[256]{0:T(256)S(1)}, s32[]{:S(2)}) slice-start(%a)
  %slice-done = f32[256]{0:T(256)S(1)} slice-done(%slice-start)
  %both = (f32[1024]{0:T(1024)}, /*index=1*/bf16[1024]{0:T(1024)S(1)}) fusion(%a, %copy-done),
  %while = (s32[]{:T(128)}, f32[1024]{0:T(1024)}) while(%tuple), condition=%check, body=%body
  ROOT %sum = f32[]{:T(128)} reduce(%b, %a), dimensions={0}, to_apply=%add
}
%check (arg: (s32[], f32[1024])) -> pred[] {
  ROOT %less = pred[]{:T(128)} compare(%old, %old)
}
"""


def test_bytes_to_and_from_memory():
    copy, piece, fusion, body = 4096, 1024, 2 * 4096, 2 * 4096
    condition, reduction = 1 + 2 * 4096, 4 + 4096
    assert hlo.memory_bytes(MOVES) == copy + piece + fusion + body + condition + reduction
    assert hlo.memory_bytes(MOVES.replace("S(1)", "")) > 2 * copy + hlo.memory_bytes(MOVES)


@pytest.mark.parametrize(
    ("name", "chip", "shape", "slices", "chips"),
    [
        ("v5e:16x16", "v5e", (16, 16), 1, 256),
        ("2xv5e:16x16", "v5e", (16, 16), 2, 512),
        ("v4:2x2x4", "v4", (2, 2, 4), 1, 16),
        ("v5p:4x4x4", "v5p", (4, 4, 4), 1, 64),
        ("v6e:1x1", "v6e", (1, 1), 1, 1),
    ],
)
def test_names_of_slices(name, chip, shape, slices, chips):
    topology = tpu.parse(name)
    assert topology == tpu.Topology(chip, shape, slices)
    assert topology.num_chips == chips
    assert topology.slice_name == name.removeprefix("2x")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("v5e-16", "must be like v5e:16x16"),
        ("v5litepod-16", "must be like"),
        ("v9z:2x2", "chips: v4, v5e, v5p, v6e"),
        ("v5e:0x4", "must be like"),
        ("0xv5e:2x2", "must be like"),
        ("v5e:2x2x1", "v5e chips are joined in 2 dimensions, as in v5e:2x2"),
        ("v4:4x4", "v4 chips are joined in 3 dimensions, as in v4:2x2x1"),
    ],
)
def test_names_of_no_slice(name, message):
    with pytest.raises(ConfigError, match=message):
        tpu.parse(name)


def test_without_libtpu_it_says_where_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr(tpu.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install -r requirements-tpu-compile.txt"):
        compile.compile_steps(tiny(), str(tmp_path), "v5e:2x2")
    assert (ROOT / "requirements-tpu-compile.txt").exists()
    assert list(tmp_path.iterdir()) == []


def test_batches_must_divide_over_the_chips(tmp_path):
    with pytest.raises(ConfigError, match="batch_size=8: does not divide over 16 devices"):
        compile.compile_steps(tiny(), str(tmp_path), "v5e:4x4")
    with pytest.raises(ConfigError, match="eval.batch_size=8: does not divide over 16"):
        compile.compile_steps(tiny(batch_size="auto"), str(tmp_path), "v5e:4x4")


@pytest.mark.parametrize("value", [0, -4, 8.0, "8", "all", None])
def test_impossible_batch_sizes(value):
    from ega_jax.config.check import check
    from ega_jax.runtime.errors import ConfigError

    with pytest.raises(ConfigError, match="config.batch_size=.*: must be at least 1, or auto"):
        check(tiny(batch_size=value))


def test_data_are_needed_only_for_what_the_config_leaves_open(tmp_path):
    known = {"steps": 100, "data.num_classes": 7, "data.name": "folder"}
    assert lower.data_facts(tiny(**known)) == lower.DataFacts(7, None)
    assert lower.data_facts(tiny(steps=None)) == lower.DataFacts(10, 20)
    with pytest.raises(DataError, match="no image folder.*set config.steps and config.data.num_c"):
        lower.data_facts(tiny(**known | {"data.num_classes": None}))


class Compiled:
    """A compiled step as `figures` sees it."""

    def memory_analysis(self):
        return types.SimpleNamespace(
            peak_memory_in_bytes=3 << 30, argument_size_in_bytes=1 << 20, temp_size_in_bytes=2 << 30
        )

    def as_text(self):
        return "  %a = f32[6]{0} all-reduce(%b), to_apply=%add\n"


def test_figures_and_table():
    """On 8 v5e chips 1.97e12 operations take 10 ms, 16.38e9 bytes take 20 ms."""
    cost = {"flops": 1.97e12, "bytes_accessed": 16.38e9, "hbm_bytes": 8.19e9}
    found = compile.figures(Compiled(), cost, tpu.parse("v5e:2x4"), 256)
    assert found == {
        "chips": 8,
        "batch_size": 256,
        "batch_size_per_chip": 32,
        "peak_hbm_bytes": 3 << 30,
        "argument_bytes": 1 << 20,
        "temporary_bytes": 2 << 30,
        "flops": 1.97e12,
        "bytes_accessed": 16.38e9,
        "hbm_bytes": 8.19e9,
        "collectives": {"all-reduce": {"count": 1, "bytes": 24}},
        "flops_seconds": pytest.approx(0.01),
        "bytes_seconds": pytest.approx(0.02),
        "hbm_seconds": pytest.approx(0.01),
        "images_per_second": pytest.approx(12800),
    }
    silent = found | {"collectives": {}, "images_per_second": 0.5}
    lines = compile.table({"train": found, "eval": silent}).splitlines()
    cells = {line.split()[0]: line.split()[1:] for line in lines[1:]}
    assert lines[0].split() == ["train", "eval"]
    assert cells["peak_hbm_bytes"] == ["3,221,225,472", "3,221,225,472"]
    assert cells["flops_seconds"] == ["0.01", "0.01"]
    assert cells["images_per_second"] == ["12,800", "0.5"]
    assert cells["collectives/all-reduce/bytes"] == ["24"]
    assert len({len(line) for line in lines}) == 1


def test_a_loop_is_counted_as_often_as_it_runs():
    cost, without = {"flops": 110.0, "hbm_bytes": 12.0}, {"flops": 80.0, "hbm_bytes": 10.0}
    assert compile.repeated(cost, without, 1) == cost
    assert compile.repeated(cost, without, 4) == {"flops": 200.0, "hbm_bytes": 18.0}


@pytest.mark.slow
def test_parts_of_a_batch_and_attack_steps_are_counted():
    """A batch in two parts takes what it takes at once; each of three attack steps as much."""

    def flops(**fields):
        config = tiny(**fields)
        with plain_operations():
            compiled = lower.lower_steps(config, FACTS, Placement())["train"].compile()
            cost = compile.cost_of(compiled)
            return compile._with_loops(cost, config, FACTS, Placement())["flops"]

    plain = flops(**{"ega.num_steps": 1})
    in_parts = flops(**{"ega.num_steps": 1, "accumulate": 2})
    both = flops(**{"ega.num_steps": 3, "accumulate": 2})
    without = flops(**{"ega.adversarial": False, "ega.lambda_adv": 0.0})
    assert in_parts == pytest.approx(plain, rel=0.05)
    # Forward and backward to the images, beside forward and backward to parameters, twice.
    assert both - in_parts == pytest.approx(2 * 2 / 3 * without, rel=0.25)


@pytest.mark.parametrize("limit", [1, 2, 3, 31, 64, 100, 4095, 4096, 10**6])
def test_the_largest_power_that_fits_is_found_in_few_tries(limit):
    tried = []

    def fits(power):
        tried.append(power)
        return power <= limit

    assert batch_size.largest_power(fits) == min(4096, 2 ** (limit.bit_length() - 1))
    assert len(tried) <= 4


def test_a_copy_with_another_batch_size_leaves_the_config():
    for before in ("auto", 8):
        config = tiny(batch_size=before)
        assert batch_size.with_batch_size(config, 16).batch_size == 16
        assert config.batch_size == before


def test_not_even_one_image_fits():
    with pytest.raises(ConfigError, match="not even one image on each device fits"):
        batch_size.largest_power(lambda power: False)


def test_a_program_that_needs_too_much_does_not_fit():
    lowered = jax.jit(lambda x: x @ x).lower(jax.ShapeDtypeStruct((256, 256), jnp.float32))
    needed = lowered.compile().memory_analysis().peak_memory_in_bytes
    assert needed >= 2 * 256 * 256 * 4
    lower.compile_within(lowered, needed)
    with pytest.raises(lower.DoesNotFitError, match=r"it needs 0\.\d\d of 0\.\d\d GiB"):
        lower.compile_within(lowered, needed - 1)


def test_auto_uses_the_memory_of_the_devices(monkeypatch, tmp_path):
    """A training step that needs 3 bytes per image on each of 4 devices of 100 bytes."""
    asked = []

    def lower_steps(config, facts, placement):
        asked.append(config.batch_size)
        return {"train": config.batch_size // placement.num_devices * 3}

    def compile_within(lowered, memory_bytes):
        if lowered > memory_bytes >> 20:
            raise lower.DoesNotFitError("too much")

    monkeypatch.setattr(batch_size, "lower_steps", lower_steps)
    monkeypatch.setattr(batch_size, "compile_within", compile_within)
    device = types.SimpleNamespace(memory_stats=lambda: {"bytes_limit": (100 << 20) + 5})
    monkeypatch.setattr(batch_size.jax, "local_devices", lambda: [device] * 4)
    config = tiny(batch_size="auto")
    found = batch_size.settle(config, FACTS, Placement())
    assert found.batch_size == 32 * 4
    assert len(asked) <= 4 and config.batch_size == "auto"
    in_parts = tiny(batch_size="auto", accumulate=3)
    assert batch_size.largest(in_parts, FACTS, Placement(), 100 << 20) == 8 * 3 * 4


def test_auto_where_the_memory_is_not_known(tmp_path):
    from ega_jax.modes import train

    with pytest.raises(ConfigError, match="of the kind 'cpu' does not say how much memory"):
        train.train(tiny(batch_size="auto"), str(tmp_path))


def operations(lowered):
    """The operations of a program in order, by what they compute, whatever their names are.

    JAX before 0.8 numbers them, and broadcasts scalars to themselves, as it has met them before.
    """
    nameless = re.sub(r"%[\w#:]+|@\w+", "%", lowered.as_text())
    itself = "% = stablehlo.broadcast_in_dim %, dims = [] : (tensor<f32>) -> tensor<f32>"
    return [line for line in nameless.splitlines() if line.strip() != itself]


@pytest.mark.slow
def test_steps_are_lowered_as_training_and_evaluation_run_them(tmp_path):
    from ega_jax.evaluation.evaluator import variables_of
    from ega_jax.modes import train

    config = tiny(**{"predict.size": 48, "predict.scales": (1.0, 1.5)})
    with plain_operations():
        lowered = lower.lower_steps(config, FACTS, Placement())
        trainer = train.Trainer(config, str(tmp_path))
        state = jax.eval_shape(trainer.init, jax.random.key(0))
        batch = {
            "image": np.zeros((8, 32, 32, 3), np.uint8),
            "label": np.zeros(8, np.int32),
            "mask": np.ones(8, bool),
        }
        assert operations(lowered["train"]) == operations(trainer.step.lower(state, batch))
        step = trainer.evaluator.step
        batch["image"] = np.zeros((8, 72, 72, 3), np.uint8)  # of the largest view
        assert operations(lowered["eval"]) == operations(step.lower(variables_of(state), batch))


@pytest.mark.slow
def test_for_a_tpu_from_the_command_line(tmp_path):
    pytest.importorskip("libtpu", reason="needs libtpu: requirements-tpu-compile.txt")
    fields = TINY | {
        "model.name": "vgg16",
        "steps": 5,
        "data.num_classes": 7,
        "ega.adversarial": False,
    }
    done = subprocess.run(
        [
            *(sys.executable, "-m", "ega_jax.main", "--mode=compile", "--topology=v5e:2x4"),
            *("--config=configs/quickstart.py", f"--workdir={tmp_path}"),
            *[f"--config.{name}={value}" for name, value in fields.items()],
        ],
        cwd=ROOT,
        env=os.environ | {"XLA_FLAGS": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "compile.json").read_text())
    assert {path.name for path in tmp_path.iterdir()} == {"compile.json"}
    assert results["topology"] == "v5e:2x4" and results["config"]["batch_size"] == 8
    train, test = results["train"], results["eval"]
    for step in (train, test):
        assert step["chips"] == 8 and step["batch_size_per_chip"] == 1
        assert 0 < step["peak_hbm_bytes"] < results["chip_hbm_bytes"] == 16 << 30
        assert 0 < step["images_per_second"]
        assert f"{step['peak_hbm_bytes']:,}" in done.stderr
    assert train["flops"] > 2 * test["flops"]  # forward and backward
    assert train["collectives"]["all-reduce"]["bytes"] > 0
    assert test["collectives"] == {}  # each chip looks at its own images
