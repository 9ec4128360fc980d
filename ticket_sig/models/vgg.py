"""VGG-16 in its CIFAR form: batch norm, one linear layer (Simonyan & Zisserman, 2015)."""

from __future__ import annotations

from torch import Tensor, nn

from ticket_sig.models.norm_relu import NormReLU
from ticket_sig.models.resnet import initialise

_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class VGG16(nn.Module):
    """3x3 convolutions in five stages, each closed by a 2x2 pooling, and one linear layer."""

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for widths in _STAGES:
            for width in widths:
                # The identity stands where others have the ReLU: the names of the tensors are theirs.
                layers += [nn.Conv2d(channels, width, 3, 1, 1, bias=False), NormReLU(width), nn.Identity()]
                channels = width
            # Rounded up, so that images smaller than 32x32 pass all five.
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        self.features = nn.Sequential(*layers)
        self.fc = nn.Linear(channels, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [batch, classes] of images [batch, channels, height, width]."""
        return self.fc(self.features(x).mean((2, 3)))  # type: ignore[no-any-return]
