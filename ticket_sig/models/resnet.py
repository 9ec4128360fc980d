"""Residual networks in their CIFAR form (He et al., 2016, section 4.2; NeurIPS'21, section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from ticket_sig.models.norm_relu import NormReLU
from ticket_sig.models.sparse.layout import is_batch_innermost


class PaddedShortcut(nn.Module):
    """Option A of He et al.: every second pixel, and zeros for the channels that are new. No parameters."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        before = (outputs - inputs) // 2
        self.padding = before, outputs - inputs - before
        self.beside_sparse = False  # among sparse layers, which write the batch innermost (`sparsify`)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, height, width] to half the height and width, with the new channels."""
        if self.beside_sparse and is_batch_innermost(x):
            # As it lies in memory, else padding would lay it out anew.
            halved = x.permute(1, 2, 3, 0)[:, ::2, ::2]
            return F.pad(halved, (0, 0, 0, 0, 0, 0, *self.padding)).permute(3, 0, 1, 2)
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, *self.padding))


def _shortcut(inputs: int, outputs: int, stride: int, padded: bool) -> nn.Module:
    """The identity where the shapes allow it; else padding (option A) or a 1x1 convolution (option B)."""
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    if padded:
        return PaddedShortcut(inputs, outputs)
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, padded: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = NormReLU(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = NormReLU(width)
        self.shortcut = _shortcut(inputs, width, stride, padded)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, height, width] to the block's channels, height and width."""
        y = self.bn1(self.conv1(x))
        return self.bn2(self.conv2(y), self.shortcut(x))  # type: ignore[no-any-return]


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut; four times the width leaves."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, padded: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = NormReLU(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = NormReLU(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = NormReLU(4 * width)
        self.shortcut = _shortcut(inputs, 4 * width, stride, padded)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, height, width] to the block's channels, height and width."""
        y = self.bn1(self.conv1(x))
        y = self.bn2(self.conv2(y))
        return self.bn3(self.conv3(y), self.shortcut(x))  # type: ignore[no-any-return]


class ResNet(nn.Module):
    """A 3x3 stem, stages of blocks that halve the image from the second stage on, and a classifier."""

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: Sequence[int],
        widths: Sequence[int],
        classes: int,
        channels: int,
        padded: bool = False,
    ) -> None:
        super().__init__()
        self.stages = len(depths)
        inputs = widths[0]
        self.conv1 = nn.Conv2d(channels, inputs, 3, 1, 1, bias=False)
        self.bn1 = NormReLU(inputs)
        for stage, (depth, width) in enumerate(zip(depths, widths, strict=True), 1):
            blocks = []
            for index in range(depth):
                stride = 2 if stage > 1 and index == 0 else 1
                blocks.append(block(inputs, width, stride, padded))
                inputs = width * block.expansion
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
        self.fc = nn.Linear(inputs, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [batch, classes] of images [batch, channels, height, width]."""
        x = self.bn1(self.conv1(x))
        for stage in range(1, self.stages + 1):
            x = self.get_submodule(f"layer{stage}")(x)
        return self.fc(x.mean((2, 3)))  # type: ignore[no-any-return]


def initialise(model: nn.Module) -> None:
    """Normal weights at He's scale for convolutions and linear layers, as the paper's code has them."""
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight)


# Padded shortcuts: 269,722 parameters for 10 classes, 267,264 of them prunable.
resnet20 = partial(ResNet, BasicBlock, (3, 3, 3), (16, 32, 64), padded=True)
# 1x1 shortcuts: 272,474 parameters for 10 classes.
resnet20_proj = partial(ResNet, BasicBlock, (3, 3, 3), (16, 32, 64))
# A 3x3 stem and no pooling before the stages.
resnet18 = partial(ResNet, BasicBlock, (2, 2, 2, 2), (64, 128, 256, 512))
resnet50 = partial(ResNet, Bottleneck, (3, 4, 6, 3), (64, 128, 256, 512))
