"""A ticket under another mask: which values the weights have that come back."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ticket_sig.mask import Mask
from ticket_sig.prf import keyed_words
from ticket_sig.ticket import HistoryEntry, Ticket, put_back, retie


def with_mask(ticket: Ticket, mask: Mask, secret: bytes) -> Ticket:
    """The ticket under a mask that a mark was written into, and one more entry of history.

    Weights that come back hold their rewind value; where none is known, the secret decides on small ones of
    the layer's own magnitudes. In a signed model kept means not zero, so that the bare weights tell the mask.
    """
    back = {name: zero for name, kept in mask.items() if (zero := kept & (ticket.weights[name] == 0)).any()}
    values = {name: _values(ticket, name, zero, secret) for name, zero in back.items()}
    return Ticket(
        weights=retie(ticket.weights, mask.apply(put_back(ticket.weights, back, values))),
        mask=mask,
        rewind=ticket.rewind and _put_where_zero(ticket.rewind, back, values),
        recipe=ticket.recipe,
        history=(*ticket.history, HistoryEntry(step="sign", kept=mask.kept, total=mask.total)),
    )


def moved(before: Mask, after: Mask) -> int:
    """How many weights came back while a mark was written; as many others went."""
    return sum(int((kept & ~before[name]).sum()) for name, kept in after.items())


def _values(ticket: Ticket, name: str, back: Tensor, key: bytes) -> Tensor:
    """Values for the kept weights that are zero, in the layer's dtype: not zero, so that they can be read."""
    weights, count = ticket.weights[name], int(back.sum())
    low, high = _small_magnitudes(weights)
    chance = torch.from_numpy(keyed_words(key, f"value {name}", 2 * count) / 2.0**64).view(2, count)
    sizes = low + (high - low) * chance[0]
    values = torch.where(chance[1] < 0.5, sizes, -sizes).to(weights.dtype)
    if ticket.rewind is None:
        return values
    known = ticket.rewind[name][back].to(weights.dtype)
    return torch.where(known != 0, known, values)


def _small_magnitudes(weights: Tensor) -> tuple[float, float]:
    """A band of small magnitudes: the first decile and the fourth of the layer's kept weights.

    Small, so that the accuracy is left alone, but not the first to be pruned; and a band, since one
    value for all would point at every weight that came back.
    """
    sizes = weights[weights != 0].abs().double()
    if not len(sizes):
        return 1e-3, 2e-3
    low, high = (
        float(sizes.kthvalue(min(1 + tenths * len(sizes) // 10, len(sizes))).values) for tenths in (1, 4)
    )
    return low, high


def _put_where_zero(
    tensors: Mapping[str, Tensor], back: Mapping[str, Tensor], values: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Fills zero entries of the rewind weights with `values`; nonzero entries are unchanged."""
    put = put_back(tensors, back, values)
    return {name: torch.where(t == 0, put[name], t) if name in back else t for name, t in tensors.items()}
