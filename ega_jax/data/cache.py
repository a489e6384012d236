"""Keeps a small training set in memory, decoded and resized, so that cropping is all that is left.

Two thirds of the input pipeline's time go into decoding and resizing, which come out the same in
every epoch. The pixels of a batch are the same with and without the cache, bit for bit.
"""

import dataclasses
import logging
import pathlib
import time

import psutil

from ega_jax.data.pipeline import eval_batches
from ega_jax.data.source import DataError, Source
from ega_jax.data.tf_on_cpu import tf

logger = logging.getLogger(__name__)

_BATCH = 64  # images resized at a time when the cache is filled
_SPARE = 2**30  # bytes left to the rest of the program


def check_fits(source: Source, size: int) -> None:
    """Looks whether the images of a split fit into memory.

    Args:
      source: the split.
      size: side in pixels of the squares to keep.

    Raises:
      DataError: they do not.
    """
    needed, available = _num_bytes(source, size), available_memory()
    if needed + _SPARE > available:
        raise DataError(
            f"{source.name}: {len(source)} images of {size} x {size} pixels take "
            f"{needed / 1e9:.1f} GB of memory, and with {_SPARE / 1e9:.1f} GB for the rest of the "
            f"program that is more than the {available / 1e9:.1f} GB available; set "
            "config.data.cache='none'"
        )


def in_memory(source: Source, size: int) -> Source:
    """Reads, decodes and resizes every image of a split once, now, and keeps the result.

    Args:
      source: the split.
      size: side in pixels of the squares to keep, the `resize_size` of the batches to be made.

    Returns:
      The same split with another `load_image`: scalar int64 index -> `[size, size, 3]` uint8.

    Raises:
      DataError: they do not fit into memory, or an image cannot be decoded, by its id.
    """
    check_fits(source, size)
    began = time.monotonic()
    # A variable, not a tensor: every pipeline would have a copy of a tensor.
    images = tf.Variable(tf.zeros([len(source), size, size, 3], tf.uint8), trainable=False)
    for batch in eval_batches(source, batch_size=_BATCH, image_size=size):
        # What pads the last batch is its last image once more.
        images.scatter_update(tf.IndexedSlices(batch["image"], batch["index"]))
    logger.info(
        "%s: %d images of %d x %d pixels in memory, %.2f GB, after %.0f s.",
        source.name,
        len(source),
        size,
        size,
        _num_bytes(source, size) / 1e9,
        time.monotonic() - began,
    )
    return dataclasses.replace(source, load_image=lambda index: tf.gather(images, index))


def available_memory(
    groups: pathlib.Path = pathlib.Path("/sys/fs/cgroup"),
    own_group: pathlib.Path = pathlib.Path("/proc/self/cgroup"),
) -> int:
    """Returns how many bytes this process can still take.

    That is what the machine has left, or less where a container or a batch job has a limit.

    Args:
      groups: where Linux shows the control groups (version 2).
      own_group: names that of this process.
    """
    available = psutil.virtual_memory().available
    if own_group.exists():
        for line in own_group.read_text().splitlines():
            number, _, name = line.split(":", 2)
            if number == "0":
                group = groups / name.strip("/")
                for folder in (group, *group.parents):
                    available = min(available, _left_in_group(folder, available))
    return available


def _left_in_group(folder: pathlib.Path, available: int) -> int:
    """Returns the limit of a control group less what is in use and cannot be dropped."""
    try:
        limit = (folder / "memory.max").read_text().strip()
        used = int((folder / "memory.current").read_text())
        statistics = dict(map(str.split, (folder / "memory.stat").read_text().splitlines()))
    except FileNotFoundError:  # the root of all groups, or no group at all
        return available
    if limit == "max":
        return available
    return max(0, int(limit) - used + int(statistics["inactive_file"]))


def _num_bytes(source: Source, size: int) -> int:
    return len(source) * size * size * 3
