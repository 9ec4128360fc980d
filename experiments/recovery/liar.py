"""Recovery: a liar who makes a reference from an innocent suspect, so that alignment finds his mark in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments.carriers.many_secrets import numbered
from experiments.lib.bench import Bench
from experiments.lib.showing import Result
from experiments.recovery.kinds_of_net import with_weights
from experiments.recovery.owned import MESSAGE, PRUNED, SPREAD, dense, recipe_of
from ticket_sig.cells import Cell, Measured
from ticket_sig.claim import Claim
from ticket_sig.digests import tensor_digest
from ticket_sig.lottery.prune import prune_ticket
from ticket_sig.marks import MARKS, claim_of
from ticket_sig.marks.embed import options_for
from ticket_sig.marks.spread.mark import Spread
from ticket_sig.marks.spread.signs import signs_of
from ticket_sig.mask import Mask
from ticket_sig.models.channels import moved
from ticket_sig.models.graph import KernelGraph
from ticket_sig.recovery import Reference
from ticket_sig.recovery.assignment import Assignment, Comparison, in_place, strand_sets
from ticket_sig.recovery.features import Features, KernelFeatures
from ticket_sig.statistics import format_p
from ticket_sig.ticket import Ticket
from ticket_sig.verification import verify

TITLE = "Recovery: a liar's reference"
SUSPECT = 500  # seed of the first innocent suspect


@dataclass(frozen=True)
class Size:
    """How much is tried at one scale.

    Attributes:
        suspects: of every architecture.
        starts: orders of channels from which the search for the best one begins.
        epochs: of a suspect's training on digits.
    """

    nets: tuple[str, ...]
    suspects: int
    starts: int
    epochs: int


_FULL = Size(("resnet20", "with concatenations", "vgg16, a quarter of the channels"), 3, 20, 4)
SIZES = {"paper": _FULL, "quick": _FULL, "smoke": Size(("with concatenations",), 1, 1, 1)}


def cells(bench: Bench) -> list[Cell]:
    """Every suspect."""
    size = SIZES[bench.scale.name]
    return [of_suspect(bench, net, number) for net in size.nets for number in range(size.suspects)]


def of_suspect(bench: Bench, net: str, number: int) -> Cell:
    """What the liar reaches with one suspect, and what the verdict says."""
    size = SIZES[bench.scale.name]

    def measure() -> Measured:
        suspect = prune_ticket(dense(bench, net, size.epochs, SUSPECT + number), PRUNED)
        reference = Reference.of(with_weights(net, suspect.weights))
        assert reference.graph is not None
        secret = numbered(number)
        mark = MARKS[SPREAD].make(suspect, options_for(SPREAD, message=MESSAGE), secret.value)
        assert isinstance(mark, Spread)
        order = best_order(reference.graph, suspect, mark, number, size.starts)
        shaped = in_order(reference.graph, suspect, order)
        his = Reference.of(with_weights(net, shaped.weights))
        claim = claim_of((mark,), shaped.weights, reference=tensor_digest(his.ticket.weights))
        honest = prune_ticket(dense(bench, net, size.epochs, SUSPECT + number + 100), PRUNED)
        return {
            "plain": told(suspect, claim, None, secret),
            "aligned": told(suspect, claim, his, secret),
            "another": told(honest, claim, his, secret),
        }

    asked: dict[str, Any] = {"net": net, "suspect": number, "starts": size.starts}
    return bench.cell("liar", measure, recipe_of(size.epochs), words=[net, str(number)], **asked)


def best_order(graph: KernelGraph, suspect: Ticket, mark: Spread, seed: int, starts: int) -> Tensor:
    """The order of channels in which most of the claimed code is found, int64 [nodes].

    Each set of channels that may change places is given its best order, all others as they are, until none
    can be improved; this from several random orders on.
    """
    wanted, stands = claimed_signs(mark, seed), standing(suspect, mark)
    comparison = Comparison(_features(graph, wanted), _features(graph, stands))
    sets = [
        replace(one, flips=(None,) * len(one.flips)) for one in strand_sets(graph, graph, suspect.weights)
    ]
    draw = torch.Generator().manual_seed(seed)
    best, most = in_place(graph, graph), -np.inf
    for _ in range(starts):
        order = in_place(graph, graph)
        for one in sets:
            order[one.here] = one.there[torch.randperm(len(one.there), generator=draw)]
        known = torch.ones(graph.nodes, dtype=torch.bool)
        start = Assignment(order, torch.ones(graph.nodes, dtype=torch.float64), known)
        found = comparison.assign(sets, start).order
        shaped = in_order(graph, suspect, found)
        total = sum(float((wanted[n] * one).sum()) for n, one in standing(shaped, mark).items())
        best, most = (found, total) if total > most else (best, most)
    return best


def claimed_signs(mark: Spread, seed: int) -> dict[str, Tensor]:
    """What the claimed code wants of every weight: 1, -1, or 0 where it is not used; by layer."""
    signs = signs_of(mark.stream(numbered(seed)), mark.layers, mark.code.size)
    sent = mark.code.encode(mark.payload.data)
    wanted, cuts = {}, np.cumsum([len(at) for at in signs.places])[:-1]
    for layer, at, own in zip(
        mark.layers, signs.places, np.split(signs.signs * sent[signs.groups], cuts), strict=True
    ):
        flat = torch.zeros(layer.shape).flatten()
        flat[torch.from_numpy(at)] = torch.from_numpy(own).float()
        wanted[layer.name] = flat.reshape(layer.shape)
    return wanted


def standing(ticket: Ticket, mark: Spread) -> dict[str, Tensor]:
    """Kept or not, less the share of its layer that is kept; by layer."""
    kept = {layer.name: (ticket.weights[layer.name] != 0).float() for layer in mark.layers}
    return {name: one - one.mean() for name, one in kept.items()}


def _features(graph: KernelGraph, values: dict[str, Tensor]) -> Features:
    return Features(
        tuple(
            KernelFeatures(link.name, index, link, link.kernels(values[link.name]))
            for index, link in enumerate(graph.links)
            if link.name in values
        ),
        (),
    )


def in_order(graph: KernelGraph, ticket: Ticket, order: Tensor) -> Ticket:
    """The network with its channels in another order; it computes the same."""
    weights = dict(ticket.weights)
    for link in graph.links:
        for name in link.parts(weights).values():
            weights[name] = moved(link, ticket.weights[name], order)
    kept = {name: weights[name] != 0 for name in ticket.mask}
    return replace(ticket, weights=weights, mask=Mask.of_own(kept))


def told(suspect: Ticket, claim: Claim, reference: Reference | None, secret: Any) -> dict[str, Any]:
    """What `verify` says, as JSON."""
    found = verify(suspect, claim, reference=reference, secret=secret).to_json()
    evidence = found["evidence"]
    keys = ("verdict", "log10_p", "condition", "log10_p_unconditional")
    return {
        **{key: found.get(key) for key in keys},
        "sigma": evidence.get("sigma"),
        "log10_choices": (found.get("reference") or {}).get("log10_choices"),
    }


def result(bench: Bench) -> Result:
    """A row for every suspect."""
    size, rows = SIZES[bench.scale.name], list[tuple[str, ...]]()
    for net in size.nets:
        for number in range(size.suspects):
            for found in bench.store.found([of_suspect(bench, net, number)]):
                plain, aligned, another = (found[one] for one in ("plain", "aligned", "another"))
                without = aligned["log10_p_unconditional"]
                rows.append(
                    (
                        net,
                        str(number),
                        _sigma(plain),
                        _sigma(aligned),
                        f"{aligned['verdict']}, {format_p(aligned['log10_p'])}",
                        "" if without is None else format_p(without),
                        f"10^{aligned['log10_choices']:.0f}",
                        another["verdict"],
                    )
                )
    columns = "network | suspect | sigma as it stands | sigma aligned | verdict, p on the condition | "
    columns += "p without it | ways to align | another innocent"
    notes = (
        "The liar has the innocent network of somebody else. He takes a secret, binds his spread mark to no "
        "reference, and puts the channels of "
        "a copy into the order in which most of his spread mark stands in it: each set of channels gets "
        f"its best order by assignment, in turn, until none can be improved, from {size.starts} random "
        "orders on. The copy is what he calls his reference.",
        "What `verify` says first is the condition: that the reference is older than the suspect. It is "
        "not: it was made from the suspect, and a claim that commits to it has a later date. The p-value "
        "without the condition counts all ways to align, and is what remains where dates are not known. "
        "Another innocent: the verdict on a network that the reference was not made from.",
    )
    limits = "Suspects are trained on digits and pruned once, a fifth kept."
    conditional, another = (sum(row[at].startswith("verified") for row in rows) for at in (4, -1))
    shows = f"of {len(rows)} suspects verified on the condition {conditional}, another innocent {another}"
    return Result(columns, rows, notes, limits=limits, found=shows)


def _sigma(one: Measured) -> str:
    return "" if one["sigma"] is None else f"{one['sigma']:.1f}"
