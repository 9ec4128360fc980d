"""Batches made by tensors on the training device: shuffled, cropped and flipped per sample, all seeded."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ticket_sig.datasets import Dataset
from ticket_sig.datasets.data import Split
from ticket_sig.digests import tensor_digest
from ticket_sig.errors import bad_input
from ticket_sig.training.recipe import Recipe
from ticket_sig.training.steps import Steps

TRIGGER_BATCH = 4  # chosen by our Table 3: more cost accuracy, fewer are not learnt in a short schedule


def generator(seed: int, *labels: object) -> torch.Generator:
    """A CPU random generator of its own for each use: any epoch can be drawn without those before it."""
    digest = hashlib.sha256("/".join(map(str, (seed, *labels))).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def batches_per_epoch(images: int, batch_size: int) -> int:
    """The last batch may be smaller; an image alone, too little for batch norm, joins the batch before.

    Raises:
        InputError: there are no images.
    """
    if not images:
        raise bad_input("recipe", "validation", "a share that leaves an image to train on", "none left")
    full, rest = divmod(images, batch_size)
    return full + (rest > 1 or (rest == 1 and not full))


def iterations_of(length: Steps, recipe: Recipe, data: Dataset) -> int:
    """A length in iterations of a recipe on a data set."""
    training, _ = data.hold_out(recipe.validation)
    return length.iterations(batches_per_epoch(len(training), recipe.batch_size))


def rows_of(step: int, images: int, batch_size: int) -> tuple[int, slice]:
    """The epoch of an iteration, counted from 0, and its rows in the order of that epoch."""
    per_epoch = batches_per_epoch(images, batch_size)
    epoch, index = divmod(step, per_epoch)
    first = index * batch_size
    return epoch, slice(first, images if index == per_epoch - 1 else first + batch_size)


def draw_epoch(recipe: Recipe, images: int, epoch: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Order, crops (down, right) and flips of an epoch; each [images], on the CPU."""
    draw = generator(recipe.seed, "epoch", epoch)
    order = torch.randperm(images, generator=draw)
    down, right = torch.randint(2 * recipe.crop + 1, (2, images), generator=draw)
    return order, down, right, torch.rand(images, generator=draw) < 0.5


class Normaliser:
    """Turns uint8 pixels [n, channels, height, width] into normalised floats, channels last in memory."""

    def __init__(self, data: Dataset, device: torch.device) -> None:
        mean, std = (torch.tensor(v, device=device).view(1, -1, 1, 1) for v in (data.mean, data.std))
        self._scale, self._shift = 1 / (255 * std), -mean / std

    def __call__(self, pixels: Tensor) -> Tensor:
        return pixels.to(torch.float32, memory_format=torch.channels_last).mul_(self._scale).add_(self._shift)


@dataclass(frozen=True)
class TriggerBatch:
    """Trigger images of which `size` are appended to every batch (scheme 3; NeurIPS'21, section 3.4).

    Adi et al. (2018, section 5) append 2 to 100. Triggers are neither cropped nor flipped.

    Raises:
        InputError: the size is out of range.
    """

    split: Split
    size: int = TRIGGER_BATCH

    def __post_init__(self) -> None:
        if not 1 <= self.size <= len(self.split):
            raise bad_input("triggers", "batch", f"1 to {len(self.split)} images", str(self.size))

    def check(self, data: Dataset) -> None:
        """Checks that the triggers are images of the data's size and classes; else InputError."""
        if (size := tuple(self.split.images.shape[1:])) != data.size:
            raise bad_input("triggers", "size", f"the data's {list(data.size)}", str(list(size)))
        if (highest := int(self.split.labels.max())) >= data.classes:
            raise bad_input("triggers", "labels", f"0 to {data.classes - 1}", str(highest))

    @property
    def digest(self) -> str:
        """SHA-256 of images, labels and size."""
        size = torch.tensor(self.size)
        return tensor_digest({"images": self.split.images, "labels": self.split.labels, "size": size})


class Batches:
    """The training split as batches; batch `step` is the same whatever was drawn before.

    Shuffling, crops and flips of an epoch are drawn on the CPU, so that every device sees the same.
    """

    def __init__(
        self,
        split: Split,
        data: Dataset,
        recipe: Recipe,
        device: torch.device,
        triggers: TriggerBatch | None = None,
    ) -> None:
        self._recipe = recipe
        self._normalise = Normaliser(data, device)
        self._split, self._labels = split, split.labels.to(device)
        height, width = split.images.shape[1:3]
        if (pad := recipe.crop) > (side := max(height, width)):
            raise bad_input("recipe", "crop", f"at most {side}, the side of an image", str(pad))
        padded = F.pad(split.images.to(device), (0, 0, pad, pad, pad, pad))
        # A view of every crop of every image: [n, 2 * pad + 1, 2 * pad + 1, channels, height, width].
        self._crops = padded.unfold(1, height, 1).unfold(2, width, 1)
        self._epoch = 0
        # Order, crops and flips of the epoch: filled anew, so that a captured step finds them.
        self._draw = tuple(t.to(device) for t in self._draw_epoch(self._epoch))
        self._triggers = None
        if triggers is not None:
            triggers.check(data)
            self._triggers = _TriggerQueue(triggers, self._normalise, recipe.seed, device)

    def __len__(self) -> int:
        """Batches per epoch; the last one may be smaller."""
        return batches_per_epoch(len(self._split), self._recipe.batch_size)

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        """Returns (images, labels) of an iteration, counted from the start of training."""
        first, count = self.begin(step)
        return self.take(slice(first, first + count))

    def begin(self, step: int) -> tuple[int, int]:
        """Draws the epoch of an iteration; returns the iteration's first row in it, and how many it has."""
        epoch, rows = rows_of(step, len(self._split), self._recipe.batch_size)
        if epoch != self._epoch:
            for kept, drawn in zip(self._draw, self._draw_epoch(epoch), strict=True):
                kept.copy_(drawn)
            self._epoch = epoch
        if self._triggers is not None:
            self._triggers.begin(step)
        return rows.start, rows.stop - rows.start

    def take(self, rows: slice | Tensor) -> tuple[Tensor, Tensor]:
        """Returns these rows of the epoch, then the step's triggers.

        Images float32 [n, channels, height, width], labels int64 [n].
        """
        order, down, right, flip = (draw[rows] for draw in self._draw)
        pixels = self._crops[order, down, right]
        if self._recipe.flip:
            pixels = torch.where(flip.view(-1, 1, 1, 1), pixels.flip(3), pixels)
        images, labels = self._normalise(pixels), self._labels[order]
        return (images, labels) if self._triggers is None else self._triggers.append(images, labels)

    def _draw_epoch(self, epoch: int) -> tuple[Tensor, ...]:
        order, *others = draw_epoch(self._recipe, len(self._split), epoch)
        return self._split.places(order), *others


class _TriggerQueue:
    """Trigger images in an endless queue: each is seen once before any is seen again."""

    def __init__(
        self, triggers: TriggerBatch, normalise: Normaliser, seed: int, device: torch.device
    ) -> None:
        self._images = normalise(triggers.split.images.to(device).permute(0, 3, 1, 2))
        self._labels = triggers.split.labels.to(device)
        self._seed, self._size = seed, triggers.size
        # Filled anew by every step, so that a captured step finds its own.
        self._rows = torch.zeros(triggers.size, dtype=torch.int64, device=device)

    def begin(self, step: int) -> None:
        """Draws the triggers of an iteration."""
        first, count = step * self._size, len(self._labels)
        rounds = range(first // count, (first + self._size - 1) // count + 1)
        orders = [torch.randperm(count, generator=generator(self._seed, "triggers", r)) for r in rounds]
        start = first - rounds[0] * count
        self._rows.copy_(torch.cat(orders)[start : start + self._size])

    def append(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The batch with the triggers of the step behind it."""
        images = torch.cat([images, self._images[self._rows]]).contiguous(memory_format=torch.channels_last)
        return images, torch.cat([labels, self._labels[self._rows]])
