"""What happens to a run: it is stopped, and it reports its progress."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from torch import Tensor, nn

_TRIAL = 2  # images on which a user's network is tried before it is trained


class Stopped(Exception):
    """What a kill is to a test."""


def at_forward(model: nn.Module, number: int, act: Callable[[nn.Module], None]) -> nn.Module:
    """Has something happen in the model's forward pass of this number, counted from 0; a trial is none."""
    count = itertools.count()

    def hook(module: nn.Module, given: tuple[Tensor]) -> None:
        if len(given[0]) > _TRIAL and next(count) == number:
            act(module)

    model.register_forward_pre_hook(hook)
    return model


def stop(_: nn.Module) -> None:
    raise Stopped


class Notes:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, int]] = []
        self.done: list[int] = []
        self.notes: list[str] = []

    def begin(self, label: str, total: int) -> None:
        self.begun.append((label, total))

    def advance(self, done: int, detail: str = "") -> None:
        self.done.append(done)

    def note(self, text: str) -> None:
        self.notes.append(text)
