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

    def places(self, numbers: Tensor) -> Tensor:
        """The rows of `images` and `labels` in which the samples of these numbers lie."""
        return numbers


@dataclass(frozen=True)
class PartialSplit(Split):
    """A split of `count` samples, of which images and labels hold some alone.

    Attributes:
        numbers: of these, int64 [n], ascending.
    """

    numbers: Tensor
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, rows: slice | Tensor) -> PartialSplit:
        wanted = torch.arange(self.count)[rows]
        held = torch.isin(wanted, self.numbers)
        places = self.places(wanted[held])
        return PartialSplit(self.images[places], self.labels[places], held.nonzero().flatten(), len(wanted))

    def places(self, numbers: Tensor) -> Tensor:
        """As of any split; of a sample that is not there, a row behind the last one."""
        rows = torch.full((self.count,), len(self.numbers))
        rows[self.numbers] = torch.arange(len(self.numbers))
        return rows[numbers]


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
            fits = images.dtype == torch.uint8 and images.ndim == 4 and len(images) == len(labels)
            if not (fits and len(split)):
                found = f"{images.dtype} {list(images.shape)} and {len(labels)}"
                raise bad_input(self.name, part, "uint8 images [n, h, w, c] and n labels", found)
            low, high = map(int, labels.aminmax()) if len(labels) else (0, 0)
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
