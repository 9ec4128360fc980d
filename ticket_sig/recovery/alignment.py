"""A suspect's channels brought into the reference's order, signs and scales; it computes what it computed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ticket_sig.errors import about, bad_input, refuse
from ticket_sig.models.channels import eps_in, moved, scaled
from ticket_sig.models.graph import KernelGraph, Link, kernel_graph
from ticket_sig.models.resized import resized
from ticket_sig.recovery.assignment import (
    Assignment,
    Comparison,
    StrandSet,
    in_place,
    strand_sets,
    unassigned,
)
from ticket_sig.recovery.features import features_of
from ticket_sig.recovery.reference import Reference, weights_of
from ticket_sig.recovery.rescaling import log10_scales, scales_of
from ticket_sig.recovery.undone import Undone
from ticket_sig.ticket import check_finite, ties


@dataclass(frozen=True)
class Alignment:
    """A suspect in the order, signs and scales of a reference.

    Attributes:
        weights: under the reference's names, in its shapes and order.
        undone: what was undone; nothing where all stood in place.
        log10_choices: log10 of the number of orders, signs and scales that could have been chosen.
        similarity: mean over layers of the cosine of the two networks' features (`features.py`), 0 to 1.
    """

    weights: Mapping[str, Tensor] = field(repr=False)
    undone: tuple[Undone, ...]
    log10_choices: float
    similarity: float


def aligned(
    weights: Mapping[str, Tensor],
    reference: Reference,
    *,
    without: Collection[str] = (),
) -> Alignment:
    """Brings a suspect's channels into the reference's order, signs and scales.

    Args:
        weights: the suspect's, under the reference's names and in its shapes, but for widths.
        without: names of layers (with or without `.weight`) that take no part in choosing, because they carry
            a mark and so does the reference. They are moved along.

    Raises:
        InputError: a tensor is lacking, has other kernels or is not finite; or the reference's channels
            cannot be followed, and so nothing can be moved.
    """
    own, known = _checked(weights, reference), reference.ticket.weights
    model, graph = reference.followed()
    eps_of, there = eps_in(model), _graph_of(own, model, graph, known)
    marked = weights_of(without)
    sets = strand_sets(graph, there, known)
    features = reference.features, features_of(there, own, eps_of)
    comparison = Comparison(*(one.without(marked) for one in features))
    found = comparison.assign(sets, unassigned(sets, graph, there))
    links = list(zip(graph.links, there.links, strict=True))
    tied = ties(known)
    turned = _rebuilt(links, own, found.order, found.signs, eps_of, tied)
    scales = scales_of(graph, known, turned, eps_of, marked)
    agreement = list(comparison.agreement(found).values())
    return Alignment(
        weights=_rebuilt(links, own, found.order, found.signs / scales, eps_of, tied),
        undone=_told(sets, found, in_place(graph, there), scales, _read(graph, known)),
        log10_choices=sum(one.log10_choices for one in sets) + log10_scales(graph, known),
        similarity=min(1.0, max(0.0, sum(agreement) / max(1, len(agreement)))),
    )


def _checked(weights: Mapping[str, Tensor], reference: Reference) -> dict[str, Tensor]:
    """The suspect's tensors that the reference has, too, in its order."""
    known = reference.ticket.weights
    own = {name: weights[name] for name in known if name in weights}
    lacking = [f"{name}: expected, not found" for name in known if name not in own]
    kernels = [n for n, t in own.items() if t.ndim != known[n].ndim or t.shape[2:] != known[n].shape[2:]]
    differ = [f"{n}: expected shape {list(known[n].shape)}, found {list(own[n].shape)}" for n in kernels]
    refuse("suspect", sorted(lacking + differ))
    check_finite(own, "suspect")
    return own


def _graph_of(
    own: Mapping[str, Tensor], model: nn.Module, graph: KernelGraph, known: Mapping[str, Tensor]
) -> KernelGraph:
    """The suspect's graph; InputError where no network of its widths is built as the reference."""
    if all(t.shape == known[name].shape for name, t in own.items()):
        return graph
    with about("suspect"):
        there = kernel_graph(resized(model, own), norms=True)
    kinds = [[(link.name, link.single) for link in of.links] for of in (graph, there)]
    if kinds[0] != kinds[1]:
        raise bad_input("suspect", "layers", "those of the reference in other widths", "others")
    return there


def _rebuilt(
    links: Sequence[tuple[Link, Link]],
    weights: Mapping[str, Tensor],
    order: Tensor,
    scales: Tensor,
    eps_of: Callable[[str], float],
    tied: Mapping[str, str],
) -> dict[str, Tensor]:
    """The tensors with their channels in the reference's order, times scales; others stay as they are.

    Args:
        links: of reference and suspect.
        tied: names of the reference that are one tensor: {name: first name}.
    """
    new = dict(weights)
    for here, there in links:
        other = any(bool((scales[nodes] != 1).any()) for nodes in (here.tails, here.heads))
        for part, name in there.parts(weights).items():
            values = moved(there, weights[name].double(), order, here)
            if other:
                values = scaled(here, part, values, scales, eps_of(str(here.name)))
            new[name] = _held(values, weights[name].dtype)
    # Tied are those of the reference: a thief may store once what is equal in his network alone.
    same = {name: first for name, first in tied.items() if torch.equal(weights[name], weights[first])}
    return {name: new[same.get(name, name)] for name in new}


def _held(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Float64 values in another type; what it cannot hold is the largest number of it.

    The scale of a channel that nothing reads may be anything. It must not keep the others from being read.
    """
    if not dtype.is_floating_point:
        return values.to(dtype)
    most = torch.finfo(dtype).max
    return values.nan_to_num(0.0).clamp(-most, most).to(dtype)


def _told(
    sets: Sequence[StrandSet], found: Assignment, stood: Tensor, scales: Tensor, read: Tensor
) -> tuple[Undone, ...]:
    """What was undone, of channels: strands that had another place, sign or scale.

    Args:
        stood: int64 [nodes of the reference], the suspect's nodes as they stood.
        read: boolean [nodes of the reference], whether a layer reads them: else nothing shows what they were.
    """
    strands = [one.here[read[one.here].any(1)] for one in sets]
    other = sum(int((found.order[s] != stood[s]).any(1).sum()) for s in strands)
    flipped = sum(int((found.signs[s] < 0).any(1).sum()) for s in strands)
    rescaled = sum(int((scales[s] != 1).any(1).sum()) for s in strands)
    surplus = sum(max(0, len(one.there) - len(one.here)) for one in sets)
    counts = {
        "permuted": other,
        "signs flipped": flipped,
        "rescaled": rescaled,
        "without counterpart": surplus,
    }
    return tuple(Undone(what, count, "channels") for what, count in counts.items() if count)


def _read(graph: KernelGraph, weights: Mapping[str, Tensor]) -> Tensor:
    """The nodes, boolean, that a layer reads with a weight that is not zero."""
    read = torch.zeros(graph.nodes, dtype=torch.bool)
    for link in graph.links:
        if link.name is not None and link.name in weights and not link.norm:
            read[link.tails] |= (link.kernels(weights[link.name]) != 0).any(3).any(1)
    return read
