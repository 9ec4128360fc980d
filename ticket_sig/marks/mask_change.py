"""A ticket under another mask: which values the weights have that come back."""

from __future__ import annotations

import torch
from torch import Tensor

from ticket_sig.mask import Mask, in_parts
from ticket_sig.prf import keyed_words
from ticket_sig.ticket import HistoryEntry, Ticket, retie

_SAMPLED = 1 << 20  # kept weights of a layer whose magnitudes are looked at


def with_mask(ticket: Ticket, mask: Mask, secret: bytes, *, in_place: bool = False) -> Ticket:
    """The ticket under a mask that a mark was written into, and one more entry of history.

    Weights that come back hold their rewind value; where none is known, the secret decides on small ones of
    the layer's own magnitudes. In a signed model kept means not zero, so that the bare weights tell the mask.

    Args:
        in_place: change the ticket's own weights: nobody looks at them again. Else each is copied, once.
    """
    weights, rewind = dict(ticket.weights), None if ticket.rewind is None else dict(ticket.rewind)
    for name, kept in mask.items():
        layer = weights[name].detach()
        back = (layer == 0).logical_and_(kept)
        values = _values(layer, None if rewind is None else rewind[name], name, back, secret)
        weights[name] = _changed(layer if in_place else layer.clone(), kept, back, values)
        if rewind is not None and (empty := back & (rewind[name] == 0)).any():
            rewind[name] = rewind[name].masked_scatter(empty, values[empty[back]].to(rewind[name].dtype))
    return Ticket(
        weights=retie(ticket.weights, weights),
        mask=mask,
        rewind=rewind,
        recipe=ticket.recipe,
        history=(*ticket.history, HistoryEntry(step="sign", kept=mask.kept, total=mask.total)),
    )


def moved(before: Mask, after: Mask) -> int:
    """How many weights came back while a mark was written; as many others went."""
    return after.outside(before)


def _changed(layer: Tensor, kept: Tensor, back: Tensor, values: Tensor) -> Tensor:
    """A layer with values where weights come back, and 0 where they are pruned; changed in place."""
    layer.masked_scatter_(back, values)
    for part, still in zip(in_parts(layer), in_parts(kept), strict=True):
        part.copy_(torch.where(still, part, part.new_zeros(())))
    return layer


def _values(weights: Tensor, rewind: Tensor | None, name: str, back: Tensor, key: bytes) -> Tensor:
    """Values for the kept weights that are zero, in the layer's dtype: not zero, so that they can be read."""
    known = weights.new_zeros(int(torch.count_nonzero(back)))
    if rewind is not None:
        known = rewind[back].to(weights.dtype)
    if known.all():
        return known
    count = len(known)
    low, high = _small_magnitudes(weights)
    chance = torch.from_numpy(keyed_words(key, f"value {name}", 2 * count) / 2.0**64).view(2, count)
    sizes = low + (high - low) * chance[0]
    values = torch.where(chance[1] < 0.5, sizes, -sizes).to(weights.dtype)
    return torch.where(known != 0, known, values)


def _small_magnitudes(weights: Tensor) -> tuple[float, float]:
    """A band of small magnitudes: the first decile and the fourth of the layer's kept weights.

    Small, so that the accuracy is left alone, but not the first to be pruned; and a band, since one
    value for all would point at every weight that came back.
    """
    if not (count := int(torch.count_nonzero(weights))):
        return 1e-3, 2e-3
    step = -(-count // _SAMPLED)
    sampled = torch.cat([part[part != 0][::step].abs() for part in in_parts(weights)])
    sizes = sampled.to(torch.promote_types(weights.dtype, torch.float32)).numpy()
    places = [min(tenths * len(sizes) // 10, len(sizes) - 1) for tenths in (1, 4)]
    sizes.partition(places)
    return float(sizes[places[0]]), float(sizes[places[1]])
