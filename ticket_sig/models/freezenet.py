"""The network of FreezeNet (Bouvard, 2020): four double convolutions and two linear layers."""

from __future__ import annotations

from torch import Tensor, nn

from ticket_sig.models.norm_relu import NormReLU
from ticket_sig.models.resnet import initialise

_WIDTHS = (32, 64, 128, 256)
_HIDDEN = 128


class FreezeNet(nn.Module):
    """Four times two 3x3 convolutions and a pooling, then two linear layers; batch norm after all but one.

    1,306,922 trainable parameters for 10 classes of 3 channels.
    """

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in _WIDTHS:
            for _ in range(2):
                layers += [nn.Conv2d(channels, width, 3, 1, 1), NormReLU(width)]
                channels = width
            # Rounded up, so that images smaller than 32x32 pass all four.
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        # Of 32x32 images 2x2 are left, and this changes nothing.
        layers.append(nn.AdaptiveMaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.hidden = nn.Linear(4 * channels, _HIDDEN)
        self.norm = nn.BatchNorm1d(_HIDDEN)
        self.fc = nn.Linear(_HIDDEN, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [batch, classes] of images [batch, channels, height, width]."""
        x = self.hidden(self.features(x).flatten(1))
        return self.fc(self.norm(x).relu())  # type: ignore[no-any-return]
