"""Batches: a pure function of seed and step, on any number of processes."""

import gc
import itertools
import os
import sys
import time

import numpy as np
import pytest
from PIL import Image

from ega_jax.data.files.class_folders import tree_source
from ega_jax.data.pipeline import eval_batches, train_batches
from ega_jax.data.preprocess import resize, ten_crop
from ega_jax.data.source import DataError, Source, array_loader

N = 13
TRAIN = dict(batch_size=4, seed=5, start_step=0, num_steps=10, resize_size=10, crop_size=8)


def source(n=N):
    """`n` images of 9 x 11 pixels; image i has label i % 3."""
    images = np.random.default_rng(0).integers(0, 256, (n, 9, 11, 3), np.uint8)
    return Source(
        name="noise",
        image_ids=tuple(f"{i}.png" for i in range(n)),
        labels=np.arange(n, dtype=np.int32) % 3,
        class_names=("a", "b", "c"),
        load_image=array_loader(images),
    )


def train(**changes):
    return list(train_batches(source(), **TRAIN | changes))


def assert_same(batches, others):
    assert len(batches) == len(others)
    for batch, other in zip(batches, others, strict=True):
        assert batch.keys() == other.keys()
        for key in batch:
            np.testing.assert_array_equal(batch[key], other[key])


def joined(per_process):
    """Put together the batches of several processes as one process would make them."""
    return [
        {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}
        for batches in zip(*per_process, strict=True)
    ]


def indices(batches):
    return np.concatenate([batch["index"] for batch in batches])


def test_train_batch():
    batches = train()
    assert len(batches) == 10
    for batch in batches:
        assert {key: (value.shape, value.dtype) for key, value in batch.items()} == {
            "image": ((4, 8, 8, 3), np.uint8),
            "label": ((4,), np.int32),
            "mask": ((4,), bool),
            "index": ((4,), np.int32),
        }
        assert batch["mask"].all()
        np.testing.assert_array_equal(batch["label"], batch["index"] % 3)


def test_train_images_are_the_indexed_ones():
    data = source()
    for batch in train(resize_size=8, flip=False, num_steps=3):
        for image, index in zip(batch["image"], batch["index"], strict=True):
            np.testing.assert_array_equal(image, resize(data.load_image(index), 8))


def test_every_epoch_is_another_permutation():
    order = indices(train(num_steps=N))  # four epochs; batches run across their borders
    epochs = order.reshape(4, N)
    for epoch in epochs:
        assert sorted(epoch) == list(range(N))
    for epoch, other in itertools.combinations(epochs.tolist(), 2):
        assert epoch != other


def test_augmentation_differs_between_epochs():
    seen = {}
    for batch in train(num_steps=40):
        for image, index in zip(batch["image"], batch["index"], strict=True):
            seen.setdefault(int(index), set()).add(image.tobytes())
    assert min(map(len, seen.values())) > 3


def test_same_seed_same_stream():
    assert_same(train(), train())
    assert_same(train(), train(num_threads=1, prefetch=0))
    assert indices(train()).tolist() != indices(train(seed=6)).tolist()


@pytest.mark.parametrize("start", [1, 3, 4, 9, 10])
def test_resumes_at_any_step(start):
    assert_same(train(start_step=start), train()[start:])


def test_resumes_far_out_at_once():
    begin = time.monotonic()
    assert len(train(start_step=10**12, num_steps=10**12 + 1)) == 1
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize("count", [1, 2, 4])
def test_processes_together_make_the_single_stream(count):
    shards = [train(process_index=i, process_count=count) for i in range(count)]
    assert all(len(batch["image"]) == 4 // count for batch in shards[0])
    assert_same(joined(shards), train())


def test_batch_larger_than_the_data_set():
    batches = list(train_batches(source(n=1), **TRAIN | dict(num_steps=2)))
    assert indices(batches).tolist() == [0] * 8
    order = indices(list(train_batches(source(n=3), **TRAIN | dict(num_steps=3))))
    assert [sorted(epoch) for epoch in order.reshape(4, 3).tolist()] == [[0, 1, 2]] * 4


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("n", [1, 4, 8, N])
def test_eval_gives_every_image_once_in_order(n, count):
    data = source(n)
    shards = [
        list(eval_batches(data, batch_size=4, image_size=8, process_index=i, process_count=count))
        for i in range(count)
    ]
    batches = joined(shards)
    assert len(batches) == -(-n // 4)
    assert all(batch["image"].shape == (4 // count, 8, 8, 3) for batch in shards[-1])
    mask = np.concatenate([batch["mask"] for batch in batches])
    assert indices(batches)[mask].tolist() == list(range(n))
    assert mask.tolist() == [True] * n + [False] * (len(mask) - n)
    assert (indices(batches)[~mask] == n - 1).all()  # padding repeats the last image
    for batch in batches:
        np.testing.assert_array_equal(batch["label"], batch["index"] % 3)
        for image, index in zip(batch["image"], batch["index"], strict=True):
            np.testing.assert_array_equal(image, resize(data.load_image(index), 8))


def test_eval_ten_crop():
    data = source()
    options = dict(batch_size=4, image_size=8, resize_size=10)
    batch = next(eval_batches(data, **options, ten_crop=True))
    assert batch["image"].shape == (4, 10, 8, 8, 3) and batch["image"].dtype == np.uint8
    for image, index in zip(batch["image"], batch["index"], strict=True):
        expected = ten_crop(data.load_image(index), resize_size=10, crop_size=8)
        np.testing.assert_array_equal(image, expected)
    assert_same(  # without ten-crop, resize_size plays no part
        list(eval_batches(data, **options)), list(eval_batches(data, batch_size=4, image_size=8))
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(process_count=3), "batch_size=4 is the global batch .* 3 processes, such as 6"),
        (dict(batch_size=0), "batch_size=0 .* such as 1"),
        (dict(process_index=2, process_count=2), r"process_index=2 must be in 0..1"),
        (dict(crop_size=11), "crop_size=11 must be between 1 and resize_size=10"),
    ],
)
def test_impossible_arguments(changes, message):
    with pytest.raises(ValueError, match=message):
        train_batches(source(), **TRAIN | changes)  # on the call, before the first batch


def test_impossible_arguments_of_eval():
    for resize_size in (None, 7):
        with pytest.raises(ValueError, match="ten_crop needs a resize_size of at least"):
            eval_batches(
                source(), batch_size=4, image_size=8, resize_size=resize_size, ten_crop=True
            )
    with pytest.raises(ValueError, match="noise has no images"):
        train_batches(source(n=0), **TRAIN)
    assert list(eval_batches(source(n=0), batch_size=4, image_size=8)) == []


def test_an_image_that_cannot_be_decoded_is_named(tmp_path):
    (tmp_path / "c").mkdir()
    for number in range(6):
        Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "c" / f"{number}.jpg")
    data = tree_source(tmp_path)
    whole = (tmp_path / "c" / "4.jpg").read_bytes()
    sizes = dict(batch_size=2, image_size=8)
    for damage in (whole[: len(whole) // 2], b"no image", None):
        (tmp_path / "c" / "4.jpg").unlink()
        if damage is not None:
            (tmp_path / "c" / "4.jpg").write_bytes(damage)
        batches = eval_batches(data, **sizes)
        assert indices([next(batches), next(batches)]).tolist() == [0, 1, 2, 3]
        with pytest.raises(DataError, match=rf"{tmp_path.name}: image 'c/4.jpg' cannot be read"):
            next(batches)
        with pytest.raises(DataError, match=r"image 'c/4.jpg' cannot be read or decoded; restore"):
            list(train_batches(data, **TRAIN))
        (tmp_path / "c" / "4.jpg").write_bytes(b"")


def test_an_error_elsewhere_is_not_blamed_on_an_image():
    images = np.zeros((2, 9, 9, 3), np.uint8)
    data = Source("short", ("a", "b", "c"), np.zeros(2, np.int32), ("x",), array_loader(images))
    with pytest.raises(DataError, match="short: "):
        list(eval_batches(data, batch_size=3, image_size=8))


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
@pytest.mark.parametrize("way", ["closed", "dropped", "used up"])
def test_threads_are_released(way):
    def threads():
        return len(os.listdir("/proc/self/task"))

    def settled():
        """The number of threads once those of earlier pipelines have ended."""
        gc.collect()
        count, since = threads(), time.monotonic()
        while time.monotonic() < since + 0.5:
            time.sleep(0.05)
            if threads() != count:
                count, since = threads(), time.monotonic()
        return count

    def run(steps):
        batches = train_batches(source(), **TRAIN | dict(num_steps=steps), num_threads=20)
        next(batches)
        return batches

    run(1).close()  # TensorFlow's own threads start with the first pipeline and stay
    before = settled()
    batches = run(1 if way == "used up" else 10**6)
    assert threads() >= before + 20
    if way == "closed":
        batches.close()
    elif way == "dropped":
        del batches
        gc.collect()
    else:
        assert list(batches) == []
    deadline = time.monotonic() + 10
    while threads() > before + 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert threads() <= before + 2


@pytest.mark.parametrize(
    "images",
    [np.zeros((2, 4, 4), np.uint8), np.zeros((2, 4, 4, 1), np.uint8), np.zeros((2, 4, 4, 3))],
)
def test_array_loader_takes_uint8_rgb(images):
    with pytest.raises(ValueError, match=r"expected \[N, H, W, 3\] uint8, got"):
        array_loader(images)
