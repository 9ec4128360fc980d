"""Bytes of images to what a network takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ticket_sig.datasets import DATASETS
from ticket_sig.datasets.images import Pixels
from ticket_sig.errors import bad_input


@dataclass(frozen=True)
class Normalisation:
    """What was subtracted from pixels, and what they were divided by, when the network was trained.

    Attributes:
        mean, std: per channel, of pixels scaled to 0..1.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: Pixels) -> NDArray[np.float32]:
        """uint8 [n, height, width, channels] to float32 of the same shape."""
        mean, std = (np.array(values, dtype=np.float32) for values in (self.mean, self.std))
        return np.asarray((images.astype(np.float32) / np.float32(255) - mean) / std)


def normalisation_of(dataset: str, channels: int) -> Normalisation:
    """The normalisation of a data set of the registry.

    Raises:
        InputError: no data set of that name, or its images have another number of channels.
    """
    if dataset not in DATASETS:
        raise bad_input("", "dataset", f"one of {', '.join(DATASETS)}", repr(dataset))
    mean, std = DATASETS[dataset].normalisation or ((0.5,) * channels, (0.5,) * channels)
    if len(mean) != channels:
        raise bad_input(dataset, "channels", f"{channels}, as the triggers'", str(len(mean)))
    return Normalisation(mean, std)
