"""One host of several, a process of its own: prints what its batches hold, an example a line.

python -m tests.helpers.stream_host '{"name": "tfds", "root": ..., ...}'
"""

import json
import sys
import zlib

from ega_jax.data.files import folder
from ega_jax.data.pipeline import eval_batches, train_batches
from ega_jax.data.tfds import source as tfds

BATCH, SIZE = 4, 16


def opened(name, root, split, **options):
    """A split, from files or through TFDS."""
    return {"folder": folder, "tfds": tfds}[name].open_split(root, split, **options)


def rows(source, batches):
    """Yields a list for each batch: of each example the id, label, mask and pixels' checksum."""
    for batch in batches:
        yield [
            [source.image_ids[index], int(label), bool(mask), zlib.crc32(image.tobytes())]
            for index, label, mask, image in zip(
                batch["index"], batch["label"], batch["mask"], batch["image"], strict=True
            )
        ]


def train_rows(source, start_step, num_steps, host=0, hosts=1):
    """`rows` of training."""
    batches = train_batches(
        source, batch_size=BATCH, seed=3, start_step=start_step, num_steps=num_steps,
        resize_size=SIZE + 4, crop_size=SIZE, process_index=host, process_count=hosts,
    )  # fmt: skip
    return rows(source, batches)


def eval_rows(source, host=0, hosts=1):
    """`rows` of evaluation."""
    batches = eval_batches(
        source, batch_size=BATCH, image_size=SIZE, process_index=host, process_count=hosts
    )
    return rows(source, batches)


def main():
    """Prints the batches of each data set; or those of training, line by line, without an end."""
    options = json.loads(sys.argv[1])
    share = options["host"], options["hosts"]
    result = []
    for data in options["data"]:
        train = opened(split="train", **data)
        if "forever" in options:
            for batch in train_rows(train, 0, 10**9, *share):
                print(json.dumps(batch), flush=True)
        test = opened(split="test", **data)
        result.append({"train": list(train_rows(train, 0, 5, *share))})
        result[-1]["test"] = list(eval_rows(test, *share))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
