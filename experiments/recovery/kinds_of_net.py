"""The networks that free attacks are tried on, of every shape that the kernel graph follows."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ticket_sig.models import build, ends
from ticket_sig.models.resized import resized
from ticket_sig.models.resnet import BasicBlock, ResNet

CLASSES, CHANNELS = 10, 1  # of digits
_NARROW = 4  # a narrow network has so many times fewer channels


class DenseLayer(nn.Module):
    """Norm, ReLU and a 3x3 convolution, whose output stands beside its input."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, inputs, height, width] to as many channels and `growth` more."""
        return torch.cat([x, self.conv(F.relu(self.norm(x)))], 1)


class DenseNet(nn.Module):
    """Two blocks with a transition between them (Huang et al., 2017; small)."""

    def __init__(self, channels: int = CHANNELS, growth: int = 24, layers: int = 4) -> None:
        super().__init__()
        width = 2 * growth
        self.stem = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.block1 = nn.Sequential(*(DenseLayer(width + n * growth, growth) for n in range(layers)))
        width += layers * growth
        self.norm, self.transition = nn.BatchNorm2d(width), nn.Conv2d(width, width // 2, 1, bias=False)
        width //= 2
        self.block2 = nn.Sequential(*(DenseLayer(width + n * growth, growth) for n in range(layers)))
        width += layers * growth
        self.last, self.classifier = nn.BatchNorm2d(width), nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [batch, classes] of images [batch, channels, height, width]."""
        x = self.block1(self.stem(x))
        x = F.avg_pool2d(self.transition(F.relu(self.norm(x))), 2)
        x = F.relu(self.last(self.block2(x)))
        return self.classifier(F.adaptive_avg_pool2d(x, 1).flatten(1))  # type: ignore[no-any-return]


class Inverted(nn.Module):
    """1x1 to a wider layer, 3x3 depth-wise, 1x1 back; added to its input where the shapes allow it."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        wide = 3 * inputs
        self.adds = stride == 1 and inputs == outputs
        self.body = nn.Sequential(
            nn.Conv2d(inputs, wide, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU6(),
            nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU6(),
            nn.Conv2d(wide, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[batch, inputs, height, width] to `outputs` channels."""
        y: Tensor = self.body(x)
        return x + y if self.adds else y


class MobileNet(nn.Module):
    """A stem, three inverted blocks and a classifier (Sandler et al., 2018; small)."""

    def __init__(self, channels: int = CHANNELS, width: int = 48, stride: int = 1) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU6()
        )
        self.blocks = nn.Sequential(
            Inverted(width, width, 1), Inverted(width, 2 * width, 2), Inverted(2 * width, 2 * width, 1)
        )
        self.classifier = nn.Linear(2 * width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [batch, classes] of images [batch, channels, height, width]."""
        return self.classifier(self.blocks(self.stem(x)).mean([2, 3]))  # type: ignore[no-any-return]


class Perceptron(nn.Module):
    """Fully connected, with biases, for images of 8x8 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64 * CHANNELS, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 128)
        )
        self.classifier = nn.Linear(128, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [batch, classes] of images [batch, channels, 8, 8]."""
        return self.classifier(F.relu(self.layers(x.flatten(1))))  # type: ignore[no-any-return]


def narrow_resnet18() -> nn.Module:
    """ResNet-18 with a quarter of its channels."""
    widths = [width // _NARROW for width in (64, 128, 256, 512)]
    return ResNet(BasicBlock, (2, 2, 2, 2), widths, CLASSES, CHANNELS)


def narrow_vgg16() -> nn.Module:
    """VGG-16 with a quarter of its channels."""
    wide = build("vgg16", CLASSES, CHANNELS)
    first, last = (wide.get_submodule(name.removesuffix(".weight")) for name in ends(wide))
    weights = dict[str, Tensor]()
    for name, tensor in wide.state_dict().items():
        module = wide.get_submodule(name.rpartition(".")[0])
        rows = tensor.shape[:1] if module is last else [size // _NARROW for size in tensor.shape[:1]]
        columns = tensor.shape[1:2] if module is first else [size // _NARROW for size in tensor.shape[1:2]]
        cut = [slice(size) for size in (*rows, *columns)]
        weights[name] = tensor[tuple(cut)].clone()
    return resized(wide, weights)


MAKE: dict[str, Callable[[], nn.Module]] = {
    "resnet20": lambda: build("resnet20", CLASSES, CHANNELS),
    "resnet18, a quarter of the channels": narrow_resnet18,
    "vgg16, a quarter of the channels": narrow_vgg16,
    "with concatenations": DenseNet,
    "with depth-wise convolutions": MobileNet,
    "fully connected": Perceptron,
}
WHOLE: dict[str, Callable[[], nn.Module]] = {  # in their full width
    "resnet18": lambda: build("resnet18", CLASSES, CHANNELS),
    "vgg16": lambda: build("vgg16", CLASSES, CHANNELS),
}


def initial(name: str, seed: int) -> nn.Module:
    """A network for digits with its initial weights; PyTorch's own random state is left as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return (MAKE | WHOLE)[name]()


def with_weights(name: str, weights: Mapping[str, Tensor]) -> nn.Module:
    """A network for digits with these weights, for evaluation."""
    network = initial(name, 0)
    network.load_state_dict(dict(weights))
    return network.eval()
