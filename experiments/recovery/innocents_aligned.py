"""Recovery: innocent networks, aligned with the reference, under 1,000 secrets each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from experiments.carriers.innocents import BATCH, MESSAGES
from experiments.carriers.many_secrets import MANY, numbered
from experiments.lib.bench import Bench
from experiments.lib.calibration import Curve, distribution, draw, shown
from experiments.lib.showing import Result
from experiments.recovery.kinds_of_net import with_weights
from experiments.recovery.owned import OWNER, PRUNED, dense, recipe_of
from ticket_sig.cells import Cell, Measured
from ticket_sig.lottery.prune import prune_ticket
from ticket_sig.marks import MARKS
from ticket_sig.marks.carrier import Carrier
from ticket_sig.marks.embed import options_for
from ticket_sig.recovery import Reference, align
from ticket_sig.statistics import LOG10_SECRETS, corrected
from ticket_sig.ticket import Ticket

TITLE = "Recovery: innocents aligned with the reference"
STATES = ("dense", "pruned once")


@dataclass(frozen=True)
class Size:
    """How large the calibration is at one scale.

    Attributes:
        nets: innocent networks of each architecture, from seeds of their own.
        block: networks of one cell.
        epochs: of their training on digits.
    """

    nets: Mapping[str, int]
    block: int
    secrets: int
    epochs: int


_FULL = Size(
    {"resnet20": 110, "with concatenations": 50, "vgg16, a quarter of the channels": 40},
    block=10,
    secrets=1000,
    epochs=4,
)
SIZES = {"paper": _FULL, "quick": _FULL, "smoke": Size({"with concatenations": 1}, 1, 20, 1)}


def cells(bench: Bench) -> list[Cell]:
    """The first block of every architecture, then the second ones."""
    several = [of_net(bench, net) for net in SIZES[bench.scale.name].nets]
    return [cell for blocks in zip_longest(*several) for cell in blocks if cell is not None]


def of_net(bench: Bench, net: str) -> list[Cell]:
    """All networks of an architecture, block by block."""
    size = SIZES[bench.scale.name]
    count = size.nets[net]
    return [
        of_block(bench, net, range(first, min(first + size.block, count)))
        for first in range(0, count, size.block)
    ]


def of_block(bench: Bench, net: str, seeds: range) -> Cell:
    """Some networks, each dense and pruned, aligned with the owner's and read under each mark."""
    size = SIZES[bench.scale.name]

    def measure() -> Measured:
        ours = prune_ticket(dense(bench, net, size.epochs, OWNER), PRUNED)
        reference = Reference.of(with_weights(net, ours.weights))
        full = [dense(bench, net, size.epochs, seed) for seed in seeds]
        pruned = [prune_ticket(one, PRUNED) for one in full]
        several = dict(zip(STATES, (full, pruned), strict=True))
        bench.engine.progress.begin(f"{net}, aligned", 2 * len(seeds))
        found = {state: [align(one, reference) for one in tickets] for state, tickets in several.items()}
        return {
            "similarity": {
                state: [min(values), max(values)]
                for state, aligned in found.items()
                if (values := [round(one.similarity, 4) for one in aligned])
            },
            "marks": {
                name: {
                    state: under(bench, name, ours, [one.ticket for one in aligned])
                    for state, aligned in found.items()
                }
                for name in MESSAGES
            },
        }

    asked: dict[str, Any] = {
        "net": net,
        "first": seeds.start,
        "networks": len(seeds),
        "secrets": size.secrets,
    }
    words = [net, str(seeds.start)]
    return bench.cell("innocents_aligned", measure, recipe_of(size.epochs), words=words, **asked)


def under(bench: Bench, name: str, ours: Ticket, suspects: Sequence[Ticket]) -> dict[str, Any]:
    """The distribution of p-values under many secrets; the condition on the reference is met."""
    secrets = SIZES[bench.scale.name].secrets
    mark = MARKS[name].make(ours, options_for(name, message=MESSAGES[name]), numbered(0).value)
    assert isinstance(mark, Carrier)
    many, found = MANY[name](mark, suspects), np.empty((len(suspects), secrets))
    for first in range(0, secrets, BATCH):
        batch = range(first, min(first + BATCH, secrets))
        found[:, batch.start : batch.stop] = many.log10_p([numbered(n) for n in batch])
    return {**distribution(found, mark.payload.log10_choices), "messages": mark.payload.log10_choices}


def together(several: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The distribution over all blocks."""
    count, best = sum(one["networks"] for one in several), min(one["smallest"] for one in several)
    return {
        "networks": count,
        "accepted": sum(one["accepted"] for one in several),
        "smallest": best,
        "corrected": corrected(best, LOG10_SECRETS, several[0]["messages"]),
        "counts": np.sum([one["counts"] for one in several], axis=0).tolist(),
        "above_uniform": max(one["above_uniform"] for one in several),
        "ks": min(1.0, count * min(one["ks"] / one["networks"] for one in several)),
    }


def result(bench: Bench) -> Result:
    """A row for every mark, architecture and state, and the distribution of p-values."""
    size, rows, accepted, readings = SIZES[bench.scale.name], list[tuple[object, ...]](), 0, 0
    for name in MESSAGES:
        for net in size.nets:
            blocks = bench.store.found(of_net(bench, net))
            for state in STATES if blocks else ():
                kind = together([block["marks"][name][state] for block in blocks])
                alike = max(block["similarity"][state][1] for block in blocks)
                several = kind["networks"] * size.secrets
                accepted, readings = accepted + kind["accepted"], readings + several
                rows.append((name, net, state, kind["networks"], f"{alike:.3f}", several, *shown(kind)))
    columns = "mark | networks | state | number | similarity, most | readings | verified | smallest p | "
    columns += "with all freedom | most above uniform | KS test, p"
    notes = (
        "Every network is aligned with the owner's unsigned "
        "network of the same architecture, of which a fifth is kept, and read under its claim with "
        f"{size.secrets} secrets, which belong to nobody. p-values are those on the condition that the "
        "reference does not depend on the secret.",
        "Smallest p is for one secret and one message; with all freedom it is multiplied by 2^64 secrets and "
        "all messages of that length, and a verdict needs less than 10^-6. Most above uniform: the largest "
        "excess, in any network, of the share of readings of p or less over p. KS test: Kolmogorov-Smirnov, "
        "one-sided, of each network's p-values against uniform ones; the smallest, times the networks.",
    )
    drawn = partial(_draw, bench) if rows else None
    limits = f"Networks on digits, trained for {size.epochs} epochs."
    found = f"{accepted} of {readings} readings of innocents are verified"
    return Result(columns, rows, notes, draw=drawn, limits=limits, found=found)


def _draw(bench: Bench, path: Path) -> None:
    """Shares of readings with a p-value or less, one line an architecture and state."""
    size = SIZES[bench.scale.name]
    found = {net: bench.store.found(of_net(bench, net)) for net in size.nets}
    panels = {
        name: [
            Curve.of(f"{net}, {state}", size.secrets, [block["marks"][name][state] for block in blocks])
            for net, blocks in found.items()
            for state in STATES
            if blocks
        ]
        for name in MESSAGES
    }
    draw(path, panels)
