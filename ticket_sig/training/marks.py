"""What a mark does while a network is trained: a penalty beside the loss, values put back after a step."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn


class Held(Protocol):
    """A mark bound to the parameters of one network."""

    def penalty(self) -> Tensor | None:
        """What is added to the loss (float32, a scalar), or None."""

    def put_back(self) -> None:
        """Called after every optimizer step; changes parameters in place."""


class KeptMark(Protocol):
    """A mark that training keeps, or teaches."""

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides the mark."""

    def bind(self, model: nn.Module) -> Held | None:
        """Binds it to a network, on its device; None: it asks nothing of training."""
