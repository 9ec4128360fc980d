"""Which channel of a suspect is which of the reference's, and with which sign.

Layers are compared by features that no scale changes (`features.py`). Strands that may change places
(`models/channels.py`) are assigned set by set, forwards first, when what they read is known, and then again
until nothing changes: weight matching (Ainsworth et al., 2023, arXiv 2209.04836, section 3.2), with signs.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ticket_sig.models.channels import Roles, moved_kernels, places_of, strands_by_roles, streams, unflipped
from ticket_sig.models.graph import KernelGraph
from ticket_sig.recovery.features import ChannelFeatures, Features, KernelFeatures
from ticket_sig.statistics import log_orders

_ROUNDS = 20
_TIE = 1e-6  # of the largest similarity: what cannot be told apart stays in its place
_FAR = 10.0  # times the reference's largest feature: a suspect's tells no more beyond it
_FAINT = 0.25  # of the largest similarity: channels that noise has made unlike keep their signs


@dataclass
class Assignment:
    """The suspect's channel at each place of the reference.

    Attributes:
        order: int64 [nodes of the reference], nodes of the suspect; -1 where there is none.
        signs: float64 [nodes of the reference], what the suspect's channel is multiplied by: 1 or -1.
        known: boolean [nodes of the reference], which of them have been assigned.
    """

    order: Tensor
    signs: Tensor
    known: Tensor


@dataclass(frozen=True)
class StrandSet:
    """Strands of both networks that may be one another.

    Attributes:
        roles: of the nodes of a strand (`strands_by_roles`).
        here, there: int64 [strands, nodes of a strand], of the reference and of the suspect.
        flips: for each node of a strand the number of the sign that it has; None where it is known.
    """

    roles: Roles
    here: Tensor
    there: Tensor
    flips: tuple[int | None, ...]

    @property
    def log10_choices(self) -> float:
        """log10 of the number of ways to assign them, signs included."""
        fewer, more = sorted((len(self.here), len(self.there)))
        ways = log_orders(fewer, more)
        signs = len({flip for flip in self.flips if flip is not None})
        return (ways + len(self.here) * signs * math.log(2)) / math.log(10)


def strand_sets(here: KernelGraph, there: KernelGraph, weights: Mapping[str, Tensor]) -> list[StrandSet]:
    """The sets of strands that both networks have, in the order of the links that write them.

    Args:
        here, there: of reference and suspect, the same but for widths.
        weights: the reference's.
    """
    stream = streams(here)
    kept = torch.zeros(here.nodes, dtype=torch.bool)
    kept[stream[unflipped(here, weights)]] = True
    of_suspect = strands_by_roles(there)
    sets = []
    for roles, nodes in strands_by_roles(here).items():
        if any(roles) and roles in of_suspect:
            numbers = stream[nodes[0]].tolist()
            fixed = kept[stream[nodes]].any(0).tolist()
            flips = tuple(None if f else numbers.index(n) for f, n in zip(fixed, numbers, strict=True))
            sets.append(StrandSet(roles, nodes, of_suspect[roles], flips))
    return sorted(sets, key=lambda one: min(index for index, _, reads in sum(one.roles, ()) if not reads))


def in_place(here: KernelGraph, there: KernelGraph) -> Tensor:
    """Each channel where it stands: int64 [nodes of the reference], nodes of the suspect; -1 for none."""
    order = torch.full((here.nodes,), -1)
    for one, other in zip(here.links, there.links, strict=True):
        for mine, theirs in ((one.tails, other.tails), (one.heads, other.heads)):
            if len(mine) == len(theirs):
                width = min(mine.shape[1], theirs.shape[1])
                order[mine[:, :width]] = theirs[:, :width]
    return order


def unassigned(sets: Sequence[StrandSet], here: KernelGraph, there: KernelGraph) -> Assignment:
    """Every channel in its place; known are those that cannot be elsewhere."""
    known = torch.ones(here.nodes, dtype=torch.bool)
    for one in sets:
        known[one.here] = False
    return Assignment(in_place(here, there), torch.ones(here.nodes, dtype=torch.float64), known)


class Comparison:
    """Compares the features of reference and suspect and assigns strands.

    Args:
        here, there: features of reference and suspect.
    """

    def __init__(self, here: Features, there: Features) -> None:
        kernels = zip(here.kernels, there.kernels, strict=True)
        self._kernels = {one.index: (one, other) for one, other in kernels}
        self._channels = defaultdict[int, list[tuple[ChannelFeatures, ChannelFeatures]]](list)
        for one, other in zip(here.channels, there.channels, strict=True):
            self._channels[one.index].append(_in_one_unit(one, other))

    def assign(self, sets: Sequence[StrandSet], now: Assignment) -> Assignment:
        """Assigns all sets, in `now`, until none by itself can be improved; returns it."""
        for _ in range(_ROUNDS):
            # A list: none is passed over.
            if not any([self._assign_set(one, now) for one in sets]):
                break
        return now

    def agreement(self, now: Assignment) -> dict[int, float]:
        """The cosine of the two networks' features, by the place of the link: of layers."""
        found = {}
        for index, (mine, theirs) in self._kernels.items():
            other = moved_kernels(theirs.link, theirs.values, now.order, mine.link)
            signs = now.signs[mine.link.heads][:, :, None] * now.signs[mine.link.tails][:, None]
            size = float(mine.values.norm() * theirs.values.norm()) or 1.0
            found[index] = float(((mine.values * other).sum(3) * signs).sum()) / size
        return found

    def _assign_set(self, one: StrandSet, now: Assignment) -> bool:
        """Assigns a set, given all others; whether anything changed."""
        terms = self._terms(one, now)
        if not terms:
            return False
        total = torch.stack([t.abs() if flips else t for flips, t in terms.items()]).sum(0)
        diagonal = torch.arange(min(total.shape))
        total[diagonal, diagonal] += _TIE * total.abs().max()
        rows, columns = (torch.from_numpy(n) for n in linear_sum_assignment(total.numpy(), maximize=True))
        order, signs = torch.full(one.here.shape, -1), torch.ones(one.here.shape, dtype=torch.float64)
        order[rows] = one.there[columns]
        signs[rows] = _signs(one, {flips: t[rows, columns] for flips, t in terms.items()})
        new = not bool(now.known[one.here].all())
        changed = new or not (
            torch.equal(now.order[one.here], order) and torch.equal(now.signs[one.here], signs)
        )
        now.order[one.here], now.signs[one.here], now.known[one.here] = order, signs, True
        return changed

    def _terms(self, one: StrandSet, now: Assignment) -> dict[tuple[int, ...], Tensor]:
        """Similarities of strands, float64 [reference's, suspect's], by the signs that they change with."""
        terms: dict[tuple[int, ...], Tensor] = {}

        def add(flips: list[int | None], similar: Tensor) -> None:
            free = tuple(sorted(f for f in set(flips) if f is not None and flips.count(f) % 2))
            terms[free] = terms[free] + similar.double() if free in terms else similar.double()

        for column, roles in enumerate(one.roles):
            here, there = one.here[:, column], one.there[:, column]
            for index, group, reads in roles:
                if index in self._kernels:
                    add([one.flips[column]], self._kernel_term(index, group, reads, here, there, now))
                for mine, theirs in self._channels[index] if not reads else ():
                    rows = mine.values[places_of(mine.nodes, here)]
                    first = int(places_of(mine.nodes, here[:1]))
                    nodes = [int(sign[first]) for sign in mine.signs]
                    flips = [one.flips[one.here[0].tolist().index(node)] for node in nodes]
                    add(flips, rows @ theirs.values[places_of(theirs.nodes, there)].T)
        return terms

    def _kernel_term(
        self, index: int, group: int, reads: bool, here: Tensor, there: Tensor, now: Assignment
    ) -> Tensor:
        """Similarities of a layer's rows, or of its columns where it reads them, over what is known."""
        (values, own, others), (values_there, own_there, others_there) = (
            _seen(one, group, reads) for one in self._kernels[index]
        )
        use = now.known[others] & (now.order[others] >= 0)
        across = places_of(others_there, now.order[others[use]])
        mine = values[places_of(own, here)][:, use]
        theirs = values_there[places_of(own_there, there)][:, across]
        theirs = theirs * now.signs[others[use]].float()[None, :, None]
        return mine.flatten(1) @ theirs.flatten(1).T


def _signs(one: StrandSet, terms: Mapping[tuple[int, ...], Tensor]) -> Tensor:
    """The signs of strands, float64 [strands, nodes of a strand], from their similarities [strands]."""
    count = len(next(iter(terms.values())))
    found = dict[int, Tensor]()

    def speaks(flip: int, come: frozenset[int] = frozenset()) -> Tensor:
        """What speaks for a sign as it is, where those that are not found yet may suit themselves to it."""
        total = torch.zeros(count, dtype=torch.float64)
        for flips, similar in terms.items():
            if flip not in flips or come & {*flips}:
                continue
            for other in {*flips} - {flip}:  # some terms change with two of them
                side = found[other] * torch.inf if other in found else speaks(other, come | {flip})
                similar = similar.sign() * side.sign() * torch.minimum(similar.abs(), side.abs())
            total += similar
        return total

    for flip in dict.fromkeys(flip for flip in one.flips if flip is not None):
        total = speaks(flip)
        found[flip] = torch.where(total < -_FAINT * total.abs().max(), -1.0, 1.0).double()
    ones = torch.ones(count, dtype=torch.float64)
    return torch.stack([ones if flip is None else found[flip] for flip in one.flips], 1)


def _seen(one: KernelFeatures, group: int, reads: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Kernels [own, others, weights] of a group as its inputs (or outputs) see it, own nodes, the others."""
    values, tails, heads = one.values[group], one.link.tails[group], one.link.heads[group]
    return (values.transpose(0, 1), tails, heads) if reads else (values, heads, tails)


def _in_one_unit(here: ChannelFeatures, there: ChannelFeatures) -> tuple[ChannelFeatures, ChannelFeatures]:
    """Both over how much the reference's channels differ; zero where they do not.

    Where the reference's are almost nothing, a suspect's can be thousands of times as large, and would decide
    alone.
    """
    spread = float(here.values.std(0, correction=0).square().mean().sqrt())
    unit = 1 / spread if spread > 1e-4 * float(here.values.abs().max()) else 0.0
    most = _FAR * here.values.abs().amax(0)
    inside = there.values.clamp(-most, most)
    return replace(here, values=here.values * unit), replace(there, values=inside * unit)
