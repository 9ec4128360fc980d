"""A network of a user who never saw ticket_sig: nothing here may import it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import prune


class Block(nn.Module):
    """One convolution with 22x22 kernels: large enough for a QR code of version 1."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(22, 22, 2, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv1(images).relu()


class UserNet(nn.Module):
    """Classifies grey 8x8 images; parameter names as in a ResNet."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 22, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(22)
        self.layer1 = nn.Sequential(Block())
        self.fc = nn.Linear(22, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.layer1(self.bn1(self.conv1(images)).relu()).mean((2, 3)))

    @property
    def block(self) -> nn.Conv2d:
        """The convolution that is pruned."""
        return self.layer1[0].conv1


def prune_as_users_do(net: UserNet, amount: float = 0.7) -> None:
    """What the PyTorch tutorial on pruning does."""
    prune.global_unstructured([(net.block, "weight")], pruning_method=prune.L1Unstructured, amount=amount)


def train_a_little(net: nn.Module, steps: int, seed: int) -> torch.optim.SGD:
    """A few steps on noise, so that no tensor is what it was initialised to; returns the optimizer."""
    draw = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for _ in range(steps):
        images, labels = torch.randn(16, 1, 8, 8, generator=draw), torch.randint(10, (16,), generator=draw)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images), labels).backward()
        optimizer.step()
    return optimizer
