"""What a score may look at, and the face of every score."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from ticket_sig.datasets import Dataset
from ticket_sig.errors import bad_input
from ticket_sig.models.own import plain_copy
from ticket_sig.options import Options
from ticket_sig.ticket import Ticket


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A ticket whose weights are to be scored.

    Attributes:
        ticket: weights and mask; kept weights are scored.
        model: the network, for scores that follow paths or gradients; its own weights do not matter.
        data: for scores that take gradients; a batch of its train split is looked at.
        seed: of everything that is drawn.
    """

    ticket: Ticket
    model: nn.Module | None = None
    data: Dataset | None = None
    seed: int = 0

    def network(self) -> nn.Module:
        """A plain copy of the network; InputError where none was given, or it is none that can be copied."""
        if self.model is None:
            hint = "name it: --arch NAME; or --score omp, which needs no network"
            raise bad_input("score", "network", "one, to follow its paths", "none", hint=hint)
        return plain_copy(self.model)

    def dataset(self) -> Dataset:
        """The data set; InputError where none was given, which asks for a name unless the recipe has one."""
        if self.data is None:
            hint = "give its folder: --data DIR"
            if not (self.ticket.recipe or {}).get("dataset"):
                hint = "name it: --dataset NAME, and its folder: --data DIR (digits needs none)"
            raise bad_input("score", "data", "a data set, to take gradients of", "none", hint=hint)
        return self.data


@dataclass(frozen=True, kw_only=True)
class Score(Options, ABC):
    """How much each kept weight of a ticket matters. A subclass declares its options as fields.

    Attributes:
        uses: what it looks at beside the ticket: some of "network", "data" and "seed". Each subclass
            says it, and nothing else is asked for.
    """

    uses: ClassVar[frozenset[str]]

    @abstractmethod
    def __call__(self, scored: Scored) -> Mapping[str, Tensor]:
        """Scores of the mask's names and shapes: the higher, the more important.

        Pruned weights may have any finite number. Equal scores are ranked by magnitude by whoever selects.

        Raises:
            InputError: something that it uses is missing, or does not fit the ticket.
        """

    def error(self, scored: Scored) -> float | None:
        """How far off sampled scores can be, all at once, with a confidence of 95 %.

        None: nothing was sampled, or that is not known.
        """
        return None
