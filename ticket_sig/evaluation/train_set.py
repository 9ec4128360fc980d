"""A training under a method that steps by itself: batches, learning rate and random numbers of a recipe."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from ticket_sig.datasets import Dataset
from ticket_sig.mask import Mask
from ticket_sig.progress import Progress
from ticket_sig.training.batches import Batches, Normaliser, generator
from ticket_sig.training.iteration import optimizer_of, set_rate
from ticket_sig.training.recipe import Recipe


class TrainSet:
    """The training split in batches, as a `DataLoader` gives them; it knows how far the training is.

    To iterate goes on where the last batch was, to the end of its epoch. So whoever takes all batches in one
    call trains an epoch a call, and whoever takes one trains a step a call. With a batch comes what belongs
    to its step: the learning rate, and the seed of what is drawn. The mask holds after every step.

    Attributes:
        optimizer: of the model, as the recipe has it.
        step, total: batches that were given, of all of the training.
        batch_size: of all batches but the last of an epoch.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Dataset,
        recipe: Recipe,
        device: torch.device,
        mask: Mask,
        progress: Progress,
    ) -> None:
        self._split, _ = data.hold_out(recipe.validation)
        self._data, self._recipe, self._device, self._progress = data, recipe, device, progress
        self._batches = Batches(self._split, data, recipe, device)
        self.optimizer = optimizer_of(model, recipe, device)
        hold = mask.bind(dict(model.named_parameters(remove_duplicate=False)))
        self.optimizer.register_step_post_hook(lambda *_: hold())
        self.step, self.total = 0, recipe.length.iterations(len(self._batches))
        self.batch_size = recipe.batch_size

    def __len__(self) -> int:
        """Batches of an epoch."""
        return len(self._batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Images float32 [n, channels, height, width], normalised, and labels int64 [n]; on the device."""
        while self.step < self.total:
            set_rate(self.optimizer, self._recipe.learning_rate(self.step, len(self)))
            torch.manual_seed(generator(self._recipe.seed, "step", self.step).initial_seed())
            images, labels = self._batches[self.step]
            self.step += 1
            self._progress.advance(self.step, "")
            yield images.contiguous(), labels  # in the usual order, so that `view` can be called
            if self.step % len(self) == 0:
                return

    @cached_property
    def dataset(self) -> TensorDataset:
        """The images as they are, normalised, and their labels."""
        images = Normaliser(self._data, self._device)(self._split.images.to(self._device).permute(0, 3, 1, 2))
        return TensorDataset(images.contiguous(), self._split.labels.to(self._device))
