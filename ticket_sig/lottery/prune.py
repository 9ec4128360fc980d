"""Pruning: exactly round(rate * kept) weights go, by magnitude or at random."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ticket_sig.errors import bad_input
from ticket_sig.mask import Mask
from ticket_sig.options import one_of, share
from ticket_sig.select import lowest
from ticket_sig.ticket import HistoryEntry, Ticket, check_finite, retie
from ticket_sig.training.batches import generator
from ticket_sig.training.recipe import SCOPES


def prune(
    weights: Mapping[str, Tensor], mask: Mask, rate: float, *, scope: str = "global", seed: int = 0
) -> Mask:
    """Returns a mask that keeps round(rate * kept) weights fewer (layerwise: so many fewer of each layer).

    Of equal magnitudes those earlier in the mask's order (then by index in the tensor) go first.

    Args:
        weights: trained weights; tensors that the mask does not name are not looked at.
        mask: what is kept so far.
        rate: share of the kept weights to remove, in (0, 1).
        scope: "global" ranks all layers together by magnitude (the paper's), "layerwise" takes the
            rate from each layer, "random" removes at random over all layers.
        seed: for "random".

    Raises:
        InputError: a rate or scope out of range, a weight that is not finite or not there, or no weights.
    """
    share("rate", rate)
    one_of(SCOPES)("scope", scope)
    if not mask.total:
        raise bad_input("mask", "weights", "some to prune", "none")
    mask.check_shapes(weights, "weights")
    check_finite({name: weights[name] for name in mask}, "weights")
    if scope == "random":
        draw = generator(seed, "random pruning", mask.kept)
        scores = {name: torch.rand(kept.shape, generator=draw) for name, kept in mask.items()}
    else:
        scores = {name: weights[name].abs() for name in mask}
    if scope == "layerwise":
        layers = [Mask({name: kept}) for name, kept in mask.items()]
        return Mask({name: kept for layer in layers for name, kept in _prune(scores, layer, rate).items()})
    return _prune(scores, mask, rate)


def prune_dense(ticket: Ticket, rate: float) -> Ticket:
    """Returns a dense model pruned by magnitude over all its matrices, so that it can be signed."""
    return prune_ticket(replace(ticket, mask=Mask.of_matrices(ticket.weights)), rate)


def prune_ticket(ticket: Ticket, rate: float, *, scope: str = "global", seed: int = 0) -> Ticket:
    """Returns the ticket with round(rate * kept) weights fewer, not retrained; arguments as for `prune`."""
    mask = prune(ticket.weights, ticket.mask, rate, scope=scope, seed=seed)
    weights = retie(ticket.weights, mask.apply(ticket.weights))
    entry = HistoryEntry(step="prune", kept=mask.kept, total=mask.total, rate=rate)
    return replace(ticket, weights=weights, mask=mask, history=(*ticket.history, entry))


def _prune(scores: Mapping[str, Tensor], mask: Mask, rate: float) -> Mask:
    kept = torch.cat([mask[name].flatten() for name in mask])
    # float64 holds every other precision exactly: what differs is never a tie.
    ranked = torch.cat([scores[name].detach().cpu()[mask[name]].double() for name in mask])
    survives = torch.ones_like(ranked, dtype=torch.bool)
    survives[lowest(ranked, round(rate * len(ranked)))] = False
    kept[kept.clone()] = survives
    parts = torch.split(kept, [mask[name].numel() for name in mask])
    return Mask({name: part.view(mask[name].shape) for name, part in zip(mask, parts, strict=True)})
