"""Batches of a `Source`: a pure function of seed and step, on any number of processes.

Every example of the endless training stream has a global position. Its epoch is `position // n`,
the image is a stateless permutation of that epoch, and the augmentation is keyed by the position.
So nothing has to be saved: the stream from step k on is the stream from 0 without its first k
batches, bit for bit, and the batches of all processes put together are those of a single one.

A batch is a dict of NumPy arrays, read-only, b = examples per process:

| key | | |
| --- | --- | --- |
| `image` | `[b, S, S, 3]` uint8 | `[b, 10, S, S, 3]` with ten-crop |
| `label` | `[b]` int32 | |
| `mask` | `[b]` bool | False on padding |
| `index` | `[b]` int32 | into the source |
"""

import os
from collections.abc import Callable, Generator, Sequence
from typing import Any

import numpy as np

from ega_jax.data import preprocess
from ega_jax.data.files.image_files import reason
from ega_jax.data.source import DataError, Source
from ega_jax.data.tf_on_cpu import tf

Batch = dict[str, np.ndarray]

_MAX_THREADS = 48  # more gains nothing on the hosts of a TPU pod, which have 100 and more cores


def train_batches(
    source: Source,
    *,
    batch_size: int,
    seed: int,
    start_step: int,
    num_steps: int,
    resize_size: int,
    crop_size: int,
    flip: bool = True,
    process_index: int = 0,
    process_count: int = 1,
    prefetch: int = 2,
    num_threads: int | None = None,
) -> Generator[Batch, None, None]:
    """Makes the training batches of steps `start_step` to `num_steps` - 1 for one process.

    Each pass over the data is another permutation; batches run on across its end, so nothing is
    dropped and nothing repeated within a pass.

    Args:
      source: what to train on.
      batch_size: global batch, over all processes.
      seed: chooses permutations and augmentations.
      start_step: first step to make, the number of steps already done.
      num_steps: the step to stop before.
      resize_size: side in pixels that images are resized to before cropping.
      crop_size: S, side in pixels of the random crop.
      flip: whether to mirror every other image at random.
      process_index: which contiguous slice of every global batch to make.
      process_count: number of processes.
      prefetch: batches made ahead.
      num_threads: of this iterator alone; None: one per core, at most 48.

    Returns:
      An iterator of batches; closing or dropping it stops its threads.

    Raises:
      ValueError: sizes that do not fit.
      DataError: on iteration, an image that cannot be decoded, by its id.
    """
    local_batch = _local_batch(batch_size, process_index, process_count)
    if not 0 < crop_size <= resize_size:
        raise ValueError(f"crop_size={crop_size} must be between 1 and resize_size={resize_size}")
    num_images = len(source)
    if not num_images:
        raise ValueError(f"{source.name} has no images to train on")
    shuffle_key, augment_key = tf.unstack(tf.random.split(tf.constant([seed, 0], tf.int64)))

    def index_at(position: Any) -> Any:
        epoch_key = tf.random.fold_in(shuffle_key, position // num_images)
        return tf.random.experimental.index_shuffle(
            position % num_images, epoch_key, tf.constant(num_images - 1, tf.int64)
        )

    def augmented(image: Any, position: Any) -> Any:
        return preprocess.train_image(
            image,
            tf.random.fold_in(augment_key, position),
            resize_size=resize_size,
            crop_size=crop_size,
            flip=flip,
        )

    return _batches(
        source,
        steps=range(start_step, num_steps),
        local_batch=local_batch,
        process_index=process_index,
        process_count=process_count,
        index_at=index_at,
        is_real=lambda position: tf.constant(True),
        transform=augmented,
        prefetch=prefetch,
        num_threads=num_threads,
    )


def eval_batches(
    source: Source,
    *,
    batch_size: int,
    image_size: int,
    resize_size: int | None = None,
    ten_crop: bool = False,
    parts: Sequence[Callable[[Any, Any], Any]] = (),
    process_index: int = 0,
    process_count: int = 1,
    prefetch: int = 2,
    num_threads: int | None = None,
) -> Generator[Batch, None, None]:
    """Makes the evaluation batches for one process: every image once over all processes, in order.

    All processes make the same number of batches of the same shape. The last global batch is
    padded with the source's last image, `mask` False.

    Args:
      source: what to evaluate on.
      batch_size: global batch, over all processes.
      image_size: S, side in pixels of the result.
      resize_size: side in pixels that images are resized to before ten-crop; not used otherwise,
        images are then resized to `image_size`.
      ten_crop: whether to make ten crops of every image, in the order of `preprocess.ten_crop`.
      parts: graph code that takes an image and its shape and returns a part of it; each part is
        resized by itself, and images are `[B, len(parts), S, S, 3]`. Empty: the whole alone.
      process_index: which contiguous slice of every global batch to make.
      process_count: number of processes.
      prefetch: batches made ahead.
      num_threads: of this iterator alone; None: one per core, at most 48.

    Returns:
      An iterator of batches; closing or dropping it stops its threads.

    Raises:
      ValueError: sizes that do not fit.
      DataError: on iteration, an image that cannot be decoded, by its id.
    """
    local_batch = _local_batch(batch_size, process_index, process_count)
    if ten_crop and (resize_size is None or resize_size < image_size):
        raise ValueError(
            f"ten_crop needs a resize_size of at least image_size={image_size}, not {resize_size}"
        )

    def transform(image: Any, position: Any) -> Any:
        del position
        if ten_crop:
            return preprocess.ten_crop(image, resize_size=resize_size, crop_size=image_size)
        if parts:
            shape = tf.shape(image)
            return tf.stack([preprocess.resize(part(image, shape), image_size) for part in parts])
        return preprocess.resize(image, image_size)

    num_images = len(source)
    return _batches(
        source,
        steps=range(-(-num_images // batch_size)),
        local_batch=local_batch,
        process_index=process_index,
        process_count=process_count,
        index_at=lambda position: tf.minimum(position, num_images - 1),
        is_real=lambda position: position < num_images,
        transform=transform,
        prefetch=prefetch,
        num_threads=num_threads,
    )


def _local_batch(batch_size: int, process_index: int, process_count: int) -> int:
    if not 0 <= process_index < process_count:
        raise ValueError(f"process_index={process_index} must be in 0..{process_count - 1}")
    if batch_size < 1 or batch_size % process_count:
        next_multiple = max(1, -(-batch_size // process_count)) * process_count
        raise ValueError(
            f"batch_size={batch_size} is the global batch and must be a positive multiple of the "
            f"{process_count} processes, such as {next_multiple}"
        )
    return batch_size // process_count


def _batches(
    source: Source,
    *,
    steps: range,
    local_batch: int,
    process_index: int,
    process_count: int,
    index_at: Callable[[Any], Any],
    is_real: Callable[[Any], Any],
    transform: Callable[[Any, Any], Any],
    prefetch: int,
    num_threads: int | None,
) -> Generator[Batch, None, None]:
    """Builds the pipeline now, so that mistakes show now, and return its iterator.

    `index_at`, `is_real` and `transform` are graph code that takes an example's global position.
    """
    labels = tf.constant(source.labels, tf.int32)

    def position_of(local: Any) -> Any:
        step, place = local // local_batch, local % local_batch
        return (step * process_count + process_index) * local_batch + place

    @tf.autograph.experimental.do_not_convert  # it is graph code already
    def example(local: Any) -> dict[str, Any]:
        position = position_of(local)
        index = index_at(position)
        return {
            "image": transform(source.load_image(index), position),
            "label": labels[index],
            "mask": is_real(position),
            "index": tf.cast(index, tf.int32),
        }

    options = tf.data.Options()
    options.deterministic = True
    options.threading.private_threadpool_size = num_threads or min(os.cpu_count(), _MAX_THREADS)
    options.threading.max_intra_op_parallelism = 1
    dataset = (
        tf.data.Dataset.range(steps.start * local_batch, steps.stop * local_batch)
        .map(example, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(local_batch, drop_remainder=True)
        .prefetch(prefetch)
        .with_options(options)
    )

    def indices(step: int) -> list[int]:
        places = range(step * local_batch, (step + 1) * local_batch)
        return [int(index_at(position_of(tf.constant(place, tf.int64)))) for place in places]

    return _iterate(source, dataset, steps, indices)


def _iterate(
    source: Source, dataset: Any, steps: range, indices: Callable[[int], list[int]]
) -> Generator[Batch, None, None]:
    iterator = dataset.as_numpy_iterator()
    for step in steps:
        try:
            batch = next(iterator)
        except tf.errors.OpError as error:
            raise _explain(source, indices(step), error) from error
        yield batch


def _explain(source: Source, indices: list[int], error: Exception) -> DataError:
    """Finds the image of a failed batch that cannot be read: TensorFlow's message names none."""
    for index in indices:
        try:
            source.load_image(tf.constant(index, tf.int64))
        except tf.errors.OpError as cause:
            return DataError(
                f"{source.name}: image {source.image_ids[index]!r} cannot be read or decoded; "
                "restore the file or remove it from the data set "
                f"({reason(cause)})"
            )
    return DataError(f"{source.name}: a batch could not be made: {error}")
