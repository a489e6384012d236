"""One training step in PyTorch, timed when asked: the other side of `benchmarks.peers`.

VGG16-BN or EfficientNet-Lite0 with the head, the attack and the losses of this project, as a
PyTorch user would write them: eager, channels last. Needs PyTorch alone. Reads a line for every
step from the standard input, and answers with its seconds.
"""

import argparse
import functools
import time

import torch
import torch.nn.functional as F
from torch import nn

VGG16 = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels, convolutions
# Blocks, channels, side of the depthwise kernel, stride of the first, expansion.
EFFICIENTNET_LITE0 = (
    (1, 16, 3, 1, 1),
    (2, 24, 3, 2, 6),
    (2, 40, 5, 2, 6),
    (3, 80, 3, 2, 6),
    (3, 112, 5, 1, 6),
    (4, 192, 5, 2, 6),
    (1, 320, 3, 1, 6),
)
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


class ConvBlock(nn.Sequential):
    """Convolution, dual batch norm, and an activation or none."""

    def __init__(
        self,
        inputs: int,
        features: int,
        side: int,
        stride: int = 1,
        groups: int = 1,
        activation: type[nn.Module] | None = nn.ReLU,
        bias: bool = True,
    ):
        """Makes them."""
        convolution = nn.Conv2d(inputs, features, side, stride, side // 2, groups=groups, bias=bias)
        layers = [convolution, DualBatchNorm(features)]
        super().__init__(*layers, *([activation(inplace=True)] if activation else []))


class InvertedBottleneck(nn.Sequential):
    """A 1x1 convolution to more channels, a depthwise one, and a linear 1x1 one to fewer."""

    def __init__(self, inputs: int, features: int, side: int, stride: int, expansion: int):
        """Makes the convolutions; the input is added where it has the output's shape."""
        block = functools.partial(ConvBlock, activation=nn.ReLU6, bias=False)
        wide = inputs * expansion
        super().__init__(
            *([block(inputs, wide, 1)] if expansion > 1 else []),
            block(wide, wide, side, stride, wide),
            block(wide, features, 1, activation=None),
        )
        self.shortcut = stride == 1 and inputs == features

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Passes features through."""
        y = super().forward(x)
        return x + y if self.shortcut else y


def vgg16(width: float, stride: int) -> tuple[list[nn.Module], int]:
    """Makes VGG16's trunk with batch norm; returns its layers and channels."""
    layers: list[nn.Module] = []
    inputs = 3
    for number, (channels, count) in enumerate(VGG16, start=1):
        for _ in range(count):
            layers.append(ConvBlock(inputs, inputs := round(channels * width), 3))
        if number < 4 or (number == 4 and stride == 16):
            layers.append(nn.MaxPool2d(2))
    return layers, inputs


def efficientnet_lite0(width: float, stride: int) -> tuple[list[nn.Module], int]:
    """Makes EfficientNet-Lite0's trunk; returns its layers and channels."""
    inputs, reached = round(32 * width), 2
    block = functools.partial(ConvBlock, activation=nn.ReLU6, bias=False)
    layers: list[nn.Module] = [block(3, inputs, 3, 2)]
    for count, channels, side, first, expansion in EFFICIENTNET_LITE0:
        for i in range(count):
            step = first if i == 0 and reached < stride else 1
            reached *= step
            features = round(channels * width)
            layers.append(InvertedBottleneck(inputs, features, side, step, expansion))
            inputs = features
    return [*layers, block(inputs, round(1280 * width), 1)], round(1280 * width)


def network(flags: argparse.Namespace) -> nn.Module:
    """Makes the network, its head, and the classifier of each place of the map."""
    trunk = {"vgg16": vgg16, "efficientnet_lite0": efficientnet_lite0}[flags.network]
    layers, inputs = trunk(flags.width, flags.stride)
    for _ in range(flags.head_convs):
        layers.append(ConvBlock(inputs, inputs := round(1024 * flags.width), 3))
    layers.append(nn.Conv2d(inputs, flags.classes, 1))
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


class Trainer:
    """The network, its optimizer and a batch of noise."""

    def __init__(self, flags: argparse.Namespace):
        """Draws all of them."""
        torch.manual_seed(0)
        self.adversarial = flags.row == "ega"
        self.net = network(flags)
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
    parser.add_argument("--network", choices=["vgg16", "efficientnet_lite0"])
    parser.add_argument("--width", type=float)
    for name in ("batch", "size", "stride", "head_convs", "classes", "threads"):
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
