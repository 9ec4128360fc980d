"""What every mark of dense weights answers to: embed, hold in training, read, verdict with a p-value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from ticket_sig.claim import Claim
from ticket_sig.digests import tensor_digest
from ticket_sig.formats.weights import InMemory, Weights
from ticket_sig.ticket import Ticket
from ticket_sig.training.marks import Held
from ticket_sig.verdict import Verdict


class Reading(Protocol):
    """What stands in a model."""

    @property
    def log10_p(self) -> float:
        """log10 of the chance of as much in an unrelated network, corrected for all that could be tried."""

    def verdict(self) -> Verdict:
        """What it proves."""

    def to_json(self) -> dict[str, Any]:
        """The reading as JSON."""


class Mark(Protocol):
    """A watermark: one file of this folder, and one line of `WATERMARKS`."""

    scheme: ClassVar[str]

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides the mark."""

    def embed(self, ticket: Ticket) -> Ticket:
        """The network with the mark in it, without training."""

    def bind(self, model: nn.Module) -> Held:
        """What keeps, or teaches, the mark in training (`retrain(..., mark=...)`)."""

    def read(self, weights: Weights) -> Reading:
        """What stands in a model."""

    def to_json(self) -> dict[str, Any]:
        """The scheme's own fields of a claim."""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Mark:
        """Reads them."""


def claim_of(mark: Mark, weights: Mapping[str, Tensor], accuracy: float | None = None) -> Claim:
    """The claim on a marked network. It holds the mark's secrets: to be kept until there is a dispute."""
    return Claim(
        scheme=mark.scheme, signature=mark.to_json(), subject=tensor_digest(weights), accuracy=accuracy
    )


def as_weights(weights: Mapping[str, Tensor] | Weights) -> Weights:
    """A state dict as `Weights`; `Weights` as they are."""
    return InMemory(weights) if isinstance(weights, Mapping) else weights
