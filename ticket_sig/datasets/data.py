"""A data set in memory: decoded once, kept as bytes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ticket_sig.digests import tensor_digest
from ticket_sig.errors import bad_input


@dataclass(frozen=True)
class Split:
    """Images uint8 [n, height, width, channels] and labels int64 [n]."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: slice | Tensor) -> Split:
        return Split(self.images[rows], self.labels[rows])

    def shuffled(self) -> Split:
        """The same images in one fixed order: a validation split cut from its end holds every class."""
        return self[torch.from_numpy(np.random.RandomState(0).permutation(len(self)))]


def by_name(train: Split, test: Split) -> dict[str, Tensor]:
    """The tensors of two splits, for digests and files."""
    images = {"train.images": train.images, "test.images": test.images}
    return {**images, "train.labels": train.labels, "test.labels": test.labels}


@dataclass(frozen=True)
class Dataset:
    """Train and test split, and what a network needs to know of them.

    Attributes:
        name: as in the registry.
        classes: number of classes.
        mean, std: per channel, of pixels scaled to 0..1.

    Raises:
        InputError: labels out of range, no images, or other counts of images and labels.
    """

    name: str
    train: Split
    test: Split
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        for part, split in (("train", self.train), ("test", self.test)):
            images, labels = split.images, split.labels
            if images.dtype != torch.uint8 or images.ndim != 4 or not len(images) == len(labels) > 0:
                found = f"{images.dtype} {list(images.shape)} and {len(labels)}"
                raise bad_input(self.name, part, "uint8 images [n, h, w, c] and n labels", found)
            low, high = int(labels.min()), int(labels.max())
            if low < 0 or high >= self.classes:
                expected = f"0 to {self.classes - 1}"
                raise bad_input(self.name, f"{part} labels", expected, f"{low} to {high}")

    @property
    def channels(self) -> int:
        """Channels of an image."""
        return self.train.images.shape[-1]

    @property
    def size(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        height, width, channels = self.train.images.shape[1:]
        return height, width, channels

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all images and labels: two runs on the same data have the same."""
        return tensor_digest(by_name(self.train, self.test))

    def hold_out(self, share: float) -> tuple[Split, Split]:
        """Returns (training, validation): the last `share` of the train split is held out."""
        rows = len(self.train) - round(share * len(self.train))
        return self.train[:rows], self.train[rows:]
