"""The batches of a DataLoader as something that has a place, so that a replay can begin within an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader

from ticket_sig.errors import bad_input


class Batches:
    """Batches, epoch after epoch: `images, labels = next(batches)`; a part of `OwnTranscript.recording`.

    Its place is the state of the loader's generator when the epoch began, and the batches since then: the
    order of the samples follows from it, and no list of them is stored. To go to a place within an epoch, the
    batches before it are loaded again.

    Args:
        loader: with `generator=`, which `shuffle=True` then draws from, too.

    Raises:
        InputError: without a generator it would draw from torch's random state whenever it is iterated over;
            workers that outlive an epoch have random states that nobody can read.
    """

    def __init__(self, loader: DataLoader[Any]) -> None:
        if not isinstance(loader.generator, torch.Generator):
            raise bad_input("", "loader", "a DataLoader with generator=torch.Generator()", "one without")
        if loader.persistent_workers:
            raise bad_input("", "loader", "persistent_workers=False", "True")
        self._loader, self._generator = loader, loader.generator
        self._begun, self._place = self._generator.get_state(), 0
        self._iterator: Iterator[Any] = iter(())
        self._running = False

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> Any:
        if not self._running or self._place == len(self._loader):
            self._begin()
        batch = next(self._iterator)
        self._place += 1
        return batch

    def state_dict(self) -> dict[str, Any]:
        """Where it stands."""
        return {"epoch": self._begun, "place": self._place}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes there; ValueError where it is no place of this loader."""
        begun, place = state_dict["epoch"], state_dict["place"]
        if type(place) is not int or not 0 <= place <= len(self._loader):
            raise ValueError(f"expected batch 0 to {len(self._loader)}, found {place!r}"[:200])
        if not self._running or place < self._place or not torch.equal(begun, self._begun):
            self._running, self._place = False, 0
            self._generator.set_state(begun)
            self._begin()
        while self._place < place:
            next(self)

    def _begin(self) -> None:
        if self._running and self._place == len(self._loader):
            next(self._iterator, None)  # the sampler draws once more; workers, which read ahead, had it do so
        self._begun, self._place = self._generator.get_state(), 0
        self._iterator, self._running = iter(self._loader), True
