"""Images in the channels of a network that was made for others: grey as colour, colour as grey."""

from __future__ import annotations

from dataclasses import replace

import torch

from ticket_sig.datasets.data import Dataset, Split
from ticket_sig.errors import bad_input

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def with_channels(data: Dataset, channels: int) -> Dataset:
    """Returns the data set with so many channels: grey is repeated, colour becomes its luma.

    A network keeps its first convolution that way, whatever it is trained on next.

    Raises:
        InputError: neither from one channel nor from three to one.
    """
    if data.channels == channels:
        return data
    if data.channels == 1:
        train, test = (repeated(split, channels) for split in (data.train, data.test))
        return replace(data, train=train, test=test, mean=data.mean * channels, std=data.std * channels)
    if (data.channels, channels) == (3, 1):
        train = _grey(data.train)
        mean, std = _normalisation(train)
        return replace(data, train=train, test=_grey(data.test), mean=mean, std=std)
    raise bad_input(data.name, "channels", f"{channels}, as the network's first layer", str(data.channels))


def repeated(split: Split, channels: int) -> Split:
    """Grey images as images of so many equal channels; images that have so many as they are."""
    return Split(split.images.expand(*split.images.shape[:3], channels).contiguous(), split.labels)


def _grey(split: Split) -> Split:
    luma = torch.tensor(_LUMA)
    parts = [(part.float() @ luma).round().to(torch.uint8) for part in torch.split(split.images, 4096)]
    return Split(torch.cat(parts).unsqueeze(3), split.labels)


def _normalisation(split: Split) -> tuple[tuple[float], tuple[float]]:
    """Mean and standard deviation of pixels scaled to 0..1; 1 where all are the same: nothing to scale."""
    counts = torch.bincount(split.images.flatten(), minlength=256).double()
    share, level = counts / counts.sum(), torch.arange(256, dtype=torch.float64) / 255
    mean = share @ level
    std = (share @ (level - mean) ** 2).sqrt()
    return (float(mean),), (float(std) or 1.0,)
