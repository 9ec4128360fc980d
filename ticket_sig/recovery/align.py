"""A suspect under the reference's names, in its shapes, order, signs and scales."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from math import log10

import torch
from torch import Tensor, nn

from ticket_sig.errors import InputError, bad_input
from ticket_sig.formats.names import names_in
from ticket_sig.mask import Mask, described
from ticket_sig.models.own import ticket_of
from ticket_sig.recovery.alignment import aligned
from ticket_sig.recovery.by_shape import found_by_shape
from ticket_sig.recovery.matching import matched
from ticket_sig.recovery.reduction import log10_reductions, reduced
from ticket_sig.recovery.reference import Reference
from ticket_sig.recovery.rounding import without_residues
from ticket_sig.recovery.undone import Undone
from ticket_sig.ticket import Ticket, check_finite

_LARGEST = 1e140  # of which squares of squares stay finite
_COMPUTED = {"linear chain folded", "merged"}  # what leaves sums of numbers that were rounded
_ALIKE = 0.97  # a network that is less alike under its own names is searched for the reference's layers


@dataclass(frozen=True)
class Aligned:
    """What `align` returns.

    Attributes:
        ticket: the suspect under the reference's names and in its shapes, with its recipe; of the tensors of
            the reference's mask, what is not zero is kept.
        undone: what was undone, in order.
        log10_choices: log10 of the number of ways in which layers, channels, signs and scales could have been
            chosen, by any reference of this network.
        similarity: of suspect and reference, 0 to 1: mean over layers of the cosine of what scales leave.
    """

    ticket: Ticket
    undone: tuple[Undone, ...]
    log10_choices: float
    similarity: float


def align(
    suspect: Ticket | nn.Module | Mapping[str, Tensor],
    reference: Reference | Ticket | nn.Module,
    *,
    without: Collection[str] = (),
) -> Aligned:
    """Undoes what leaves a network's answers as they are: names, storage, redundant channels, order, scales.

    Layers are looked for under any name where the reference's names and shapes do not fit, or where what
    they name is not alike. What cannot be undone stays as it is. Nothing that is handed in is changed.

    Args:
        reference: best the unsigned ticket, with a recipe, or the network.
        without: names of layers (with or without `.weight`) that take no part in choosing, because they carry
            a mark and so does the reference. Where layers are looked for, each of these must be told by its
            shape alone, and no layer may read it.

    Raises:
        InputError: the suspect is not finite, lacks layers of the reference, or has far too many; or the
            reference's channels cannot be followed, and names and shapes do not tell which tensor is which;
            or layers had to be looked for, and one of `without` is not told by its shape.
    """
    reference = reference if isinstance(reference, Reference) else Reference.of(reference)
    weights = _tensors(suspect)
    check_finite(weights, "suspect")
    if reference.graph is None:
        return _by_shape(weights, reference, without)
    weights = _as_numbers(weights, reference)
    named = _named(weights, reference)
    first = None if named is None else _aligned(named, reference, without)
    if first is not None and first.similarity >= _ALIKE:
        return first
    try:
        second = _searched(weights, reference, without)
    except InputError:
        if first is None:
            raise
        return first
    return second if first is None or second.similarity > first.similarity else first


def _tensors(suspect: Ticket | nn.Module | Mapping[str, Tensor]) -> dict[str, Tensor]:
    if isinstance(suspect, nn.Module):
        suspect = ticket_of(suspect)
    if isinstance(suspect, Ticket):
        return dict(suspect.weights)
    if not isinstance(suspect, Mapping) or not all(isinstance(t, Tensor) for t in suspect.values()):
        raise bad_input("", "suspect", "a ticket, a module or tensors by name", described(suspect))
    return {name: t.detach().cpu() for name, t in suspect.items()}


def _as_numbers(weights: Mapping[str, Tensor], reference: Reference) -> dict[str, Tensor]:
    """Tensors that can be computed with: integers and 8-bit floats as float32.

    Not where the reference has integers, too.
    """
    whole = {t.shape for t in reference.ticket.weights.values() if not t.is_floating_point()}

    def number(t: Tensor) -> Tensor:
        if t.dtype == torch.float64:
            return t.clamp(-_LARGEST, _LARGEST)
        ready = t.is_floating_point() and t.dtype.itemsize > 1
        return t if ready or t.is_complex() or t.shape in whole else t.float()

    return {name: number(t) for name, t in weights.items()}


def _named(weights: Mapping[str, Tensor], reference: Reference) -> dict[str, Tensor] | None:
    """The tensors under the reference's names, without wrappers; None unless all are there, and no others."""
    known = reference.ticket.weights
    try:
        found = names_in(
            {name: t.shape for name, t in known.items()}, {name: t.shape for name, t in weights.items()}
        )
    except InputError:
        return None
    if any(name not in found or not _fits(weights[found[name]], t) for name, t in known.items()):
        return None
    others = weights.keys() - set(found.values())
    if reference.graph is not None and any(
        weights[name].ndim and weights[name].is_floating_point() for name in others
    ):
        return None
    return {name: weights[found[name]] for name in known}


def _fits(one: Tensor, known: Tensor) -> bool:
    return one.shape == known.shape and one.is_floating_point() == known.is_floating_point()


def _searched(weights: Mapping[str, Tensor], reference: Reference, without: Collection[str]) -> Aligned:
    """A suspect whose layers are found by what is in them."""
    match = matched(weights, reference, without)
    fewer, merged = reduced(match.weights, reference)
    last = _aligned(fewer, reference, without)
    if _COMPUTED & {one.what for one in (*match.undone, *merged)}:
        prunable = {name: without_residues(last.ticket.weights[name]) for name in reference.ticket.mask}
        last = replace(last, ticket=_ticket({**last.ticket.weights, **prunable}, reference))
    undone = (*match.undone, *merged, *last.undone)
    choices = match.log10_choices + log10_reductions(reference) + last.log10_choices
    return replace(last, undone=undone, log10_choices=choices)


def _aligned(weights: Mapping[str, Tensor], reference: Reference, without: Collection[str]) -> Aligned:
    """Channels brought into the reference's order, signs and scales."""
    done = aligned(weights, reference, without=without)
    choices = done.log10_choices + log10(2)  # under its own names, or searched
    return Aligned(_ticket(done.weights, reference), done.undone, choices, done.similarity)


def _by_shape(weights: Mapping[str, Tensor], reference: Reference, without: Collection[str]) -> Aligned:
    """A suspect of a network that cannot be followed: by names, or by shapes and what is in the tensors."""
    named = _named(weights, reference)
    source = weights if named is None else named
    found = found_by_shape(source, reference, without)
    renamed = sum(name != there for name, there in found.names.items())
    undone = (Undone("renamed", renamed, "tensors"),) if renamed else ()
    tensors = {name: source[there] for name, there in found.names.items()}
    return Aligned(_ticket(tensors, reference), undone, found.log10_choices, found.similarity)


def _ticket(weights: Mapping[str, Tensor], reference: Reference) -> Ticket:
    mask = Mask.of_own({name: weights[name] != 0 for name in reference.ticket.mask})
    return Ticket(weights=weights, mask=mask, recipe=reference.ticket.recipe)
