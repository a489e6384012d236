"""One training step in PyTorch, timed when asked: the other side of `benchmarks.peers`.

VGG16-BN with the head, the attack and the losses of this project, as a PyTorch user would write
them: eager, channels last. Needs PyTorch alone. Reads a line for every step from the standard
input, and answers with its seconds.
"""

import argparse
import time

import torch
import torch.nn.functional as F
from torch import nn

TRUNK = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class DualBatchNorm(nn.Module):
    """Batch norm of clean and of adversarial images."""

    def __init__(self, channels: int):
        """Makes both."""
        super().__init__()
        self.main, self.aux = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalizes with the one that is switched on."""
        return (self.aux if self.use_aux else self.main)(x)

    use_aux = False


def network(width: float, stride: int, classes: int) -> nn.Module:
    """Makes VGG16-GAP with batch norm."""
    layers: list[nn.Module] = []
    inputs = 3

    def block(features: int) -> None:
        nonlocal inputs
        layers.extend(
            [
                nn.Conv2d(inputs, features, 3, padding=1),
                DualBatchNorm(features),
                nn.ReLU(inplace=True),
            ]
        )
        inputs = features

    for number, (channels, count) in enumerate(TRUNK, start=1):
        for _ in range(count):
            block(round(channels * width))
        if number < 4 or (number == 4 and stride == 16):
            layers.append(nn.MaxPool2d(2))
    for _ in range(2):
        block(round(1024 * width))
    layers.append(nn.Conv2d(inputs, classes, 1))
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


class Trainer:
    """The network, its optimizer and a batch of noise."""

    def __init__(self, flags: argparse.Namespace):
        """Draws all of them."""
        torch.manual_seed(0)
        self.adversarial = flags.row == "ega"
        self.net = network(flags.width, flags.stride, flags.classes)
        self.optimizer = torch.optim.SGD(
            self.net.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4, nesterov=True
        )
        size = (flags.batch, 3, flags.size, flags.size)
        pixels = torch.randint(0, 256, size, dtype=torch.uint8)
        self.pixels = pixels.contiguous(memory_format=torch.channels_last)
        self.labels = torch.randint(0, flags.classes, (flags.batch,))
        self.mean, self.std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))

    def maps(self, images: torch.Tensor, *, aux: bool) -> torch.Tensor:
        """Returns class maps of images in [0, 1]."""
        DualBatchNorm.use_aux = aux
        return self.net((images - self.mean) / self.std)

    def attack(self, images: torch.Tensor) -> torch.Tensor:
        """Takes one step of 1/255 through the auxiliary batch norm's running statistics."""
        self.net.eval()
        x = images.clone().requires_grad_(True)
        loss = F.cross_entropy(self.maps(x, aux=True).mean((2, 3)), self.labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, x)
        self.net.train()
        return (images + gradient.sign() / 255).clamp(0, 1)

    def loss(self, images: torch.Tensor, *, aux: bool, weight: float) -> torch.Tensor:
        """Returns cross entropy and weighted entropy of the class maps."""
        maps = self.maps(images, aux=aux)
        loss = F.cross_entropy(maps.mean((2, 3)), self.labels)
        if weight:
            log_p = maps.log_softmax(1)
            loss = loss - weight * (log_p.exp() * log_p).sum(1).mean()
        return loss

    def step(self) -> float:
        """Makes an update; returns the loss."""
        images = self.pixels.float() / 255
        self.optimizer.zero_grad()
        if self.adversarial:
            adversarial = self.attack(images)
            # One pass after the other: the gradient of the sum in half the memory.
            clean = self.loss(images, aux=False, weight=1.0)
            clean.backward()
            adv = self.loss(adversarial, aux=True, weight=0.01)
            adv.backward()
            total = clean.item() + adv.item()
        else:
            clean = self.loss(images, aux=False, weight=0.0)
            clean.backward()
            total = clean.item()
        self.optimizer.step()
        return total


def main() -> None:
    """Parses the flags, warms up, and makes a step for every line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--row", choices=["cam", "ega"])
    parser.add_argument("--width", type=float)
    for name in ("batch", "size", "stride", "classes", "threads"):
        parser.add_argument(f"--{name}", type=int)
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    trainer = Trainer(flags)
    trainer.step()
    print("ready", flush=True)
    while True:
        try:
            input()
        except EOFError:
            return
        began = time.perf_counter()
        trainer.step()
        print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main()
