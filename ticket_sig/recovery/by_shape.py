"""Which tensor is which where the network cannot be followed: by shape, and by what is in it as it stands."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import log, log10

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ticket_sig.errors import bad_input, some
from ticket_sig.recovery.reference import UNSIGNED, Reference, weights_of
from ticket_sig.statistics import log_orders

_MOST = 4096  # tensors of one shape
_SLICE = 2**24  # numbers that are compared at once


@dataclass(frozen=True)
class ByShape:
    """What was found.

    Attributes:
        names: the suspect's name by the reference's.
        log10_choices: log10 of the number of ways to assign tensors of one shape.
        similarity: mean cosine of the matrices, 0 to 1.
    """

    names: dict[str, str]
    log10_choices: float
    similarity: float


def found_by_shape(
    weights: Mapping[str, Tensor], reference: Reference, without: Collection[str] = ()
) -> ByShape:
    """Assigns the tensors of each shape.

    Args:
        without: names of layers that take no part in choosing.

    Raises:
        InputError: there are fewer of a shape than in the reference, or far too many; or several of the shape
            of a layer that takes no part.
    """
    marked = weights_of(without)
    ours, theirs = _by_shapes(weights), _by_shapes(reference.ticket.weights)
    names, cosines, choices = dict[str, str](), list[float](), 0.0
    for shape, wanted in theirs.items():
        found = ours.get(shape, [])
        if not len(wanted) <= len(found) <= max(_MOST, len(wanted)):
            hint = f"channels not followed: {reference.unread}"
            expected = f"{len(wanted)} of shape {list(shape[0])}, as {some(wanted, at_most=1)}"
            raise bad_input("suspect", "tensors", expected, str(len(found)), hint=hint)
        if len(found) == 1 or all(name in found for name in wanted):
            pairs = {name: name if name in found else found[0] for name in wanted}
        elif lost := [name for name in wanted if name in marked]:
            expected = "one tensor of its shape, as it carries the mark"
            raise bad_input("suspect", lost[0], expected, str(len(found)), hint=UNSIGNED)
        else:
            pairs = _assigned(wanted, found, reference.ticket.weights, weights)
            choices += log_orders(len(wanted), len(found)) / log(10) + log10(2)  # or by their names
        names |= pairs
        matrices = {n: there for n, there in pairs.items() if len(shape[0]) > 1 and n not in marked}
        cosines += [
            float(_cosines([reference.ticket.weights[n]], [weights[there]])) for n, there in matrices.items()
        ]
    order = {name: names[name] for name in reference.ticket.weights}
    return ByShape(order, choices, max(0.0, sum(cosines) / max(1, len(cosines))))


def _by_shapes(weights: Mapping[str, Tensor]) -> dict[tuple[tuple[int, ...], bool], list[str]]:
    shapes = defaultdict[tuple[tuple[int, ...], bool], list[str]](list)
    for name, t in weights.items():
        shapes[tuple(t.shape), t.is_floating_point()].append(name)
    return shapes


def _assigned(
    wanted: list[str], found: list[str], theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor]
) -> dict[str, str]:
    """Which is which, so that all together are as alike as can be."""
    cosines = _cosines([theirs[name] for name in wanted], [ours[name] for name in found])
    rows, columns = linear_sum_assignment(cosines.numpy(), maximize=True)
    return {wanted[row]: found[column] for row, column in zip(rows, columns, strict=True)}


def _cosines(ones: list[Tensor], others: list[Tensor]) -> Tensor:
    """Of each pair of equal shape, [ones, others]; each tensor is read once, in slices."""
    sides = [[(t, _inverse_length(t)) for t in map(_flat, side)] for side in (ones, others)]
    size, length = ones[0].numel(), max(1, _SLICE // (len(ones) + len(others)))
    total = torch.zeros(len(ones), len(others), dtype=torch.float64)
    for start in range(0, size, length):
        one, other = (
            torch.stack([t[start : start + length].double() * factor for t, factor in side]) for side in sides
        )
        total += one @ other.T
    return total


def _flat(t: Tensor) -> Tensor:
    return (t.real if t.is_complex() else t).flatten()


def _inverse_length(t: Tensor) -> float:
    """1 / the length of a vector, however large it is; 0 of one of zeros."""
    largest = float(t.abs().max()) if t.numel() else 0.0
    return 1 / (largest * float((t.double() / largest).norm())) if largest else 0.0
