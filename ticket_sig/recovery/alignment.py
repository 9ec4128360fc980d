"""A suspect's channels brought into the reference's order, signs and scales; it computes what it computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ticket_sig.errors import bad_input, refuse
from ticket_sig.mask import Mask, differences
from ticket_sig.models.channels import moved, scaled
from ticket_sig.models.graph import KernelGraph
from ticket_sig.recovery.assignment import Assignment, Comparison, StrandSet, in_place, strand_sets
from ticket_sig.recovery.features import DEAD, eps_in, features_of
from ticket_sig.recovery.reference import Reference
from ticket_sig.recovery.scales import scales_of
from ticket_sig.recovery.undone import Undone
from ticket_sig.ticket import check_finite, retie

_PARTS = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True)
class Alignment:
    """A suspect in the order, signs and scales of a reference.

    Attributes:
        weights, mask: under the reference's names, in its shapes and order.
        undone: what was undone; nothing where all stood in place.
        log10_choices: log10 of the number of orders and signs that could have been chosen.
        similarity: mean over layers of the cosine of the two networks' features (`features.py`), 0 to 1.
    """

    weights: Mapping[str, Tensor] = field(repr=False)
    mask: Mask
    undone: tuple[Undone, ...]
    log10_choices: float
    similarity: float


def aligned(
    weights: Mapping[str, Tensor],
    mask: Mapping[str, Tensor],
    reference: Reference,
    *,
    without: Collection[str] = (),
) -> Alignment:
    """Brings a suspect's channels into the reference's order, signs and scales.

    Args:
        weights: the suspect's, under the reference's names and in its shapes.
        mask: which of them are kept, of any of them.
        without: names of layers (with or without `.weight`) that take no part in choosing, because they carry
            a mark and so does the reference. They are moved along.

    Raises:
        InputError: a tensor is lacking, has another shape or holds NaN; or the reference's channels cannot be
            followed, and so nothing can be moved.
    """
    own = _checked(weights, reference)
    if reference.graph is None or reference.model is None:
        raise bad_input("reference", "network", "one whose channels can be followed", reference.unread or "none")
    graph, eps_of = reference.graph, eps_in(reference.model)
    ends = {name for layer in without for name in (layer, f"{layer}.weight")}
    sets = strand_sets(graph, graph, reference.ticket.weights)
    here = features_of(graph, reference.ticket.weights, eps_of, ends, 0.0)
    there = features_of(graph, own, eps_of, ends)
    comparison = Comparison(here, there)
    found = comparison.assign(sets, _start(sets, graph))
    turned = _rebuilt(graph, own, found.order, found.signs, eps_of)
    scales = scales_of(graph, reference.ticket.weights, turned, eps_of, ends)
    undone = _rebuilt(graph, own, found.order, found.signs / scales, eps_of)
    agreement = list(comparison.agreement(found).values())
    return Alignment(
        weights=undone,
        mask=_moved_mask(graph, mask, found.order),
        undone=_told(sets, found, scales),
        log10_choices=sum(one.log10_choices for one in sets),
        similarity=max(0.0, sum(agreement) / max(1, len(agreement))),
    )


def _checked(weights: Mapping[str, Tensor], reference: Reference) -> dict[str, Tensor]:
    """The suspect's tensors that the reference has, too, in its order."""
    own = {name: weights[name] for name in reference.ticket.weights if name in weights}
    refuse("suspect", differences(reference.ticket.weights, own))
    check_finite(own, "suspect")
    return own


def _start(sets: list[StrandSet], graph: KernelGraph) -> Assignment:
    """Every channel in its place; known are those that cannot be elsewhere."""
    known = torch.ones(graph.nodes, dtype=torch.bool)
    for one in sets:
        known[one.here] = False
    return Assignment(in_place(graph, graph), torch.ones(graph.nodes, dtype=torch.float64), known)


def _rebuilt(
    graph: KernelGraph,
    weights: Mapping[str, Tensor],
    order: Tensor,
    scales: Tensor,
    eps_of: Callable[[str], float],
) -> dict[str, Tensor]:
    """The tensors with their channels in another order, and multiplied by scales; others stay as they are."""
    new = dict(weights)
    for link in graph.links:
        layer = None if link.name is None else link.name.removesuffix("weight")
        for part in _PARTS if layer is not None else ():
            if (name := f"{layer}{part}") in weights:
                values = moved(link, weights[name].double(), order)
                values = scaled(link, part, values, scales, eps_of(str(link.name)))
                new[name] = values.to(weights[name].dtype)
    return retie(weights, new)


def _moved_mask(graph: KernelGraph, mask: Mapping[str, Tensor], order: Tensor) -> Mask:
    links = {link.name: link for link in graph.links}
    return Mask.of_own({n: moved(links[n], kept, order) if n in links else kept for n, kept in mask.items()})


def _told(sets: list[StrandSet], found: Assignment, scales: Tensor) -> tuple[Undone, ...]:
    """What was undone, of channels: strands that another place, sign or scale had."""
    strands = [one.here for one in sets]
    other = sum(int((found.order[s] != s).any(1).sum()) for s in strands)
    flipped = sum(int((found.signs[s] < 0).any(1).sum()) for s in strands)
    rescaled = sum(int((scales[s] != 1).any(1).sum()) for s in strands)
    told = (("permuted", other), ("signs flipped", flipped), ("rescaled", rescaled))
    return tuple(Undone(what, count, "channels") for what, count in told if count)
