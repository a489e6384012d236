"""The cache of a training set: the same pixels, each image read once, and never too much of it."""

import collections
import dataclasses
import logging

import numpy as np
import pytest
from clu import metric_writers
from PIL import Image

from ega_jax.data import cache
from ega_jax.data.files.folder import tree_source
from ega_jax.data.pipeline import eval_batches, train_batches
from ega_jax.data.source import DataError
from ega_jax.data.tf_on_cpu import tf
from ega_jax.modes import train
from ega_jax.runtime import checkpoints
from tests.helpers.runs import final_arrays, tiny

N = 11
TRAIN = dict(batch_size=4, seed=5, start_step=0, num_steps=12, resize_size=40, crop_size=32)


@pytest.fixture
def folder(tmp_path):
    """Eleven noisy JPEG files of several sizes and kinds."""
    rng = np.random.default_rng(0)
    kinds = [dict(subsampling=0), dict(subsampling=2), dict(progressive=True), dict(quality=40)]
    for number in range(N):
        width, height = rng.integers(20, 90, 2)
        image = Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
        image = image.convert(("RGB", "L", "CMYK")[number % 3])
        path = tmp_path / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        image.save(path, **kinds[number % 4])
    return tmp_path


def counting(source, counts):
    """Counts in `counts` how often each image is loaded."""

    def load_image(index):
        def count(index):
            counts[int(index)] += 1
            return index

        index = tf.ensure_shape(tf.numpy_function(count, [index], tf.int64), [])
        return source.load_image(index)

    return dataclasses.replace(source, load_image=load_image)


def assert_same(batches, others):
    for batch, other in zip(batches, others, strict=True):
        assert batch.keys() == other.keys()
        for key in batch:
            np.testing.assert_array_equal(batch[key], other[key])


@pytest.mark.slow
def test_same_batches_and_every_image_loaded_once(folder, caplog):
    source, counts = tree_source(folder), collections.Counter()
    with caplog.at_level(logging.INFO):
        cached = cache.in_memory(counting(source, counts), 40)
    assert f"{folder.name}: 11 images of 40 x 40 pixels in memory, 0.00 GB" in caplog.text
    # More than four epochs; resumed; the second of two processes.
    for change in ({}, {"start_step": 7}, {"process_index": 1, "process_count": 2}):
        settings = TRAIN | change
        assert_same(train_batches(cached, **settings), train_batches(source, **settings))
    for change in ({}, {"resize_size": 40, "ten_crop": True}):
        settings = dict(batch_size=4, image_size=32 if change else 40, **change)
        assert_same(eval_batches(cached, **settings), eval_batches(source, **settings))
    # 64 images are read at a time; what pads the batch is the last one again.
    assert counts == {index: 1 for index in range(N - 1)} | {N - 1: 64 - N + 1}


def test_what_does_not_fit_is_refused(folder, monkeypatch):
    source, counts = tree_source(folder), collections.Counter()
    needed = N * 40 * 40 * 3 + 2**30
    monkeypatch.setattr(cache, "available_memory", lambda: needed)
    cache.check_fits(source, 40)
    monkeypatch.setattr(cache, "available_memory", lambda: needed - 1)
    message = r"11 images of 40 x 40 pixels take 0.0 GB .* 1.1 GB available; set .*cache='none'"
    with pytest.raises(DataError, match=message):
        cache.in_memory(counting(source, counts), 40)
    assert not counts


def test_an_image_that_cannot_be_decoded_is_named(folder):
    source = tree_source(folder)
    (folder / "b" / "5.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"image 'b/5.jpg' cannot be read or decoded"):
        cache.in_memory(source, 40)


def group(folder, limit, current=0, inactive_file=0):
    """Write the memory files of a control group."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{current}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {inactive_file}\nactive_file 7\n")


def test_limits_of_control_groups_count(tmp_path):
    own_group = tmp_path / "cgroup"
    whole = cache.available_memory(tmp_path, own_group)  # no such file: not Linux
    assert whole > 2**20
    own_group.write_text("9:memory:/old\n0::/job/step\n")
    for limits, expected in [
        (("max", "max"), None),
        (("max", 9000), 9000 - 500 + 200),
        ((8000, 9000), 8000 - 500 + 200),
        ((9000, 8000), 8000 - 500 + 200),
        ((100, "max"), 0),  # lowered after it was used
    ]:
        for folder, limit in zip(("job", "job/step"), limits, strict=True):
            group(tmp_path / folder, limit, current=500, inactive_file=200)
        available = cache.available_memory(tmp_path, own_group)
        if expected is None:
            assert abs(available - whole) < 0.5 * whole  # it changes all the time
        else:
            assert available == expected


@pytest.mark.slow
def test_run_with_cache_ends_with_the_same_parameters(tiny_run, tmp_path, monkeypatch):
    config = tiny(**{"data.cache": "memory", "eval.every_epochs": 0.0})
    workdir, _ = tiny_run
    trainer = train.Trainer(config, str(tmp_path))
    with checkpoints.Checkpoints(tmp_path, keep=2) as saved:
        trainer.loop(trainer.start(saved), saved, metric_writers.MultiWriter([]))
    assert final_arrays(tmp_path) == final_arrays(workdir)

    monkeypatch.setattr(cache, "available_memory", lambda: 0)
    with pytest.raises(DataError, match=r"creatures/train: .* available; set config.data.cache"):
        train.Trainer(config, str(tmp_path / "refused"))
