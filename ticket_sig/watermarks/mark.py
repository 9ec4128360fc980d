"""What every mark of dense weights answers to: embed, hold in training, read, verdict with a p-value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from ticket_sig.claim import Claim
from ticket_sig.digests import tensor_digest
from ticket_sig.errors import bad_input
from ticket_sig.formats.layouts import shared_prefix
from ticket_sig.formats.weights import InMemory, Weights
from ticket_sig.ticket import Round, Ticket, retie
from ticket_sig.training.marks import Held
from ticket_sig.verdict import Verdict

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)  # that can carry a mark

Model = nn.Module | Mapping[str, Tensor] | Weights


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

    @classmethod
    def make(cls, weights: Mapping[str, Tensor], size: int, secret: bytes) -> Mark:
        """A mark for a network, under a secret: `size` values or bits."""

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides the mark."""

    def embed(self, ticket: Ticket) -> Ticket:
        """The network with the mark in it, without training."""

    def bind(self, model: nn.Module) -> Held:
        """What keeps, or teaches, the mark in training (`retrain(..., mark=...)`)."""

    def read(self, model: Model) -> Reading:
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


def signed(ticket: Ticket, written: Mapping[str, Tensor]) -> Ticket:
    """The ticket with these tensors in place of its own, and one more entry of history."""
    entry = Round(step="sign", kept=ticket.mask.kept, total=ticket.mask.total)
    weights = retie(ticket.weights, {**ticket.weights, **written})
    return replace(ticket, weights=weights, history=(*ticket.history, entry))


def as_weights(model: Model) -> Weights:
    """Any model as `Weights`, by plain names: a module's parameters, a state dict; `Weights` as they are."""
    if isinstance(model, nn.Module):
        named = model.named_parameters(remove_duplicate=False)
        # A parameter not yet initialised has no shape.
        model = {n: p for n, p in named if not isinstance(p, nn.UninitializedParameter)}
    if isinstance(model, Mapping):
        prefix = shared_prefix(model)
        return InMemory({name.removeprefix(prefix): t for name, t in model.items()})
    return model


def check_dtype(name: str, dtype: torch.dtype) -> None:
    """Checks that weights of a type can carry a mark.

    Raises:
        InputError: they cannot; names the tensor.
    """
    if dtype not in DTYPES:
        expected = ", ".join(str(d).removeprefix("torch.") for d in DTYPES)
        raise bad_input("watermark", name, f"one of {expected}", str(dtype).removeprefix("torch."))
