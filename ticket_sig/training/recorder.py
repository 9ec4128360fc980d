"""What a training tells whoever records it (see `transcripts`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ticket_sig.datasets import Dataset
from ticket_sig.mask import Mask
from ticket_sig.ticket import Ticket
from ticket_sig.training.recipe import Recipe


class Standing(Protocol):
    """Where a training stands.

    Attributes:
        losses: sum of the losses over images and number of images, since the epoch began; float64 [2].
        step: how many are done; `start` of them were not done here, and it ends after `total`.
        per_epoch: steps of an epoch.
    """

    model: nn.Module
    recipe: Recipe
    optimizer: torch.optim.Optimizer
    losses: Tensor
    step: int
    start: int
    total: int
    per_epoch: int


@dataclass(frozen=True)
class Plan:
    """What is to be trained and recorded.

    Attributes:
        initial: weights that the first training starts from.
        mask: of the first training.
        made_with: of the engine.
        derived: whether the weights follow from the recipe's seed and data.
        search: whether rounds of pruning may follow.
        fresh: whether nothing was trained yet: what began without a record cannot be recorded.
        kept: digests of marks and triggers that are trained with.
    """

    recipe: Recipe
    data: Dataset
    initial: Mapping[str, Tensor]
    mask: Mask
    made_with: Mapping[str, Any]
    _: KW_ONLY
    derived: bool
    search: bool
    fresh: bool
    kept: tuple[str, ...] = ()


class Recorder(Protocol):
    """Records a search, or one training; told the same again, as after a kill, it records nothing twice."""

    def begin(self, plan: Plan, note: Callable[[str], None]) -> None:
        """Before the first step.

        Args:
            note: told what a person should know of it.

        Raises:
            InputError: another training was recorded there, or this one began without.
        """

    def level(
        self, start: Mapping[str, Tensor], mask: Mask, rate: float | None, sparse: Sequence[str]
    ) -> None:
        """A training under a mask begins, from these weights; `sparse` names the weights of sparse layers."""

    def step(self, run: Standing) -> None:
        """A training stands at its first step, or has done one more."""

    def flush(self) -> None:
        """Returns once all told so far is on the disk: no checkpoint may be ahead of the record."""

    def end(self, ticket: Ticket) -> None:
        """This is what came out."""
