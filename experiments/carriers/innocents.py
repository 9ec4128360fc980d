"""Spread and mirror code: calibration on innocents, networks without the mark, under 10,000 secrets each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from experiments import CHECKPOINTS
from experiments.carriers.many_secrets import MANY, numbered
from experiments.lib.bench import Bench
from experiments.lib.calibration import Curve, distribution, draw, shown
from experiments.lib.sections import table
from experiments.lib.showing import Result
from ticket_sig.cells import Cell, Measured
from ticket_sig.formats import load
from ticket_sig.lottery.prune import prune_ticket
from ticket_sig.marks import MARKS
from ticket_sig.marks.carrier import Carrier
from ticket_sig.marks.embed import embed, options_for
from ticket_sig.mask import Mask
from ticket_sig.models import prunable_names
from ticket_sig.statistics import format_p
from ticket_sig.ticket import Ticket
from ticket_sig.training import Recipe, Steps

TITLE = "Spread and mirror code: calibration on innocents"
MESSAGES = {"spread": "by: Owner", "mirror": "own"}  # of each mark
OTHERS = "him"  # somebody else's message
PRUNED = 0.8  # of the weights, where networks are pruned
OWNER = 1000  # seed of the owner's network; no innocent has it
BATCH = 64  # secrets at once
CIFAR, NEAREST = "resnet20, CIFAR-10, with flips", "from the owner's own dense network"

CLAIMS = ("mark", "the owner's claim on", "kept there, %", "standard deviations", "p", "with all freedom")

Kinds = Mapping[str, Sequence[Ticket]]  # innocents, by what they are


@dataclass(frozen=True)
class Family:
    """Networks of one architecture on digits.

    Attributes:
        seeds: how many are trained; each is read dense, and pruned once.
        further: how many are also retrained after that; as many get somebody else's mark.
        flip: whether they see images mirrored.
    """

    arch: str
    seeds: int
    further: int
    flip: bool = False

    def __str__(self) -> str:
        return f"{self.arch}, digits, {'with' if self.flip else 'without'} flips"


@dataclass(frozen=True)
class Size:
    """How large the calibration is at one scale; the owner's network is of the first family."""

    families: tuple[Family, ...]
    secrets: int
    length: Steps


_FULL = Size(
    (
        Family("resnet20", 110, 10),
        Family("resnet20", 40, 5, flip=True),
        Family("resnet20-proj", 30, 5),
        Family("freezenet", 20, 3),
    ),
    secrets=10_000,
    length=Steps(4),
)
SIZES = {
    "paper": _FULL,
    "quick": _FULL,
    "smoke": Size((Family("resnet20", 2, 1),), 20, Steps(1)),
}


def cells(bench: Bench) -> list[Cell]:
    """All innocents under each mark."""
    return [cell for name in MESSAGES for cell in of_mark(bench, name)]


def of_mark(bench: Bench, name: str) -> list[Cell]:
    """All innocents under one mark."""
    families = SIZES[bench.scale.name].families
    return [
        nearest(bench, name),
        of_shipped(bench, name),
        *(of_family(bench, family, name) for family in families),
    ]


def of_family(bench: Bench, family: Family, name: str) -> Cell:
    """A family, under the claim of an owner who has another network of it."""

    def measure() -> Measured:
        dense = [trained(bench, family, seed) for seed in range(family.seeds)]
        accuracy = [bench.accuracy(one.weights, family.arch, "digits") for one in dense]
        pruned = [prune_ticket(one, PRUNED) for one in dense]
        few = list(enumerate(pruned[: family.further]))
        innocents = {
            "dense": dense,
            "pruned once": pruned,
            "pruned and retrained": [
                bench.train(one, recipe_of(bench, family, seed)).ticket for seed, one in few
            ],
            "with somebody else's mark": [
                embed(one, OTHERS, mark=name, secret=numbered(-1 - seed).value).ticket for seed, one in few
            ],
        }
        of_dense = {"accuracy": [min(accuracy), max(accuracy)]}
        return {**of_dense, **counted(bench, name, owners(bench, family), innocents)}

    return _cell(bench, str(family), name, family, measure, seeds=family.seeds, further=family.further)


def of_shipped(bench: Bench, name: str) -> Cell:
    """The shipped networks of CIFAR-10, under the claim of an owner who has a network of digits."""
    family = SIZES[bench.scale.name].families[0]

    def measure() -> Measured:
        return counted(bench, name, owners(bench, family), from_shipped())

    return _cell(bench, CIFAR, name, family, measure)


def nearest(bench: Bench, name: str) -> Cell:
    """What others pruned from the very dense network that the owner pruned his from."""

    def measure() -> Measured:
        innocents = from_shipped()
        ours = innocents["pruned once, as many kept"][0]
        return {"near": near(name, ours, innocents), **counted(bench, name, ours, innocents)}

    return _cell(bench, NEAREST, name, SIZES[bench.scale.name].families[0], measure)


def trained(bench: Bench, family: Family, seed: int) -> Ticket:
    """A dense network of a family; its mask is of what can be pruned."""
    network = bench.network(family.arch, "digits", seed)
    weights = dict(network.state_dict())
    mask = Mask.full({name: weights[name] for name in prunable_names(network)})
    return bench.train(Ticket(weights=weights, mask=mask), recipe_of(bench, family, seed)).ticket


def recipe_of(bench: Bench, family: Family, seed: int) -> Recipe:
    """A short training on digits."""
    length = SIZES[bench.scale.name].length
    return bench.preset("demo", family.arch, "digits", length=length, seed=seed, flip=family.flip)


def owners(bench: Bench, family: Family) -> Ticket:
    """The owner's network, before he marks it."""
    return prune_ticket(trained(bench, family, OWNER), PRUNED)


def from_shipped() -> Kinds:
    """The shipped dense network, what it can be pruned to, and the shipped ticket, which comes from it."""
    dense, ticket = (load(CHECKPOINTS / f"resnet20-cifar10{end}").ticket for end in ("-dense", ""))
    dense = replace(dense, mask=Mask.full({layer: dense.weights[layer] for layer in ticket.mask}))
    return {
        "dense": [dense],
        "pruned once, as many kept": [prune_ticket(dense, 1 - ticket.mask.density)],
        "pruned once, half kept": [prune_ticket(dense, 0.5)],
        "pruned once, 5 % kept": [prune_ticket(dense, 0.95)],
        "pruned layer by layer": [prune_ticket(dense, PRUNED, scope="layerwise")],
        "pruned at random": [prune_ticket(dense, PRUNED, scope="random")],
        "pruned in rounds, retrained, with a QR code": [ticket],
    }


def near(name: str, ours: Ticket, innocents: Kinds) -> list[dict[str, Any]]:
    """The owner's real claim: what his marked network, and each of the others, has of his mark."""
    owned = embed(ours, MESSAGES[name], mark=name, secret=numbered(0).value)
    told = []
    for what, [suspect] in {"his marked network": [owned.ticket], **innocents}.items():
        both = sum(
            int((kept & (suspect.weights[layer] != 0)).sum()) for layer, kept in owned.ticket.mask.items()
        )
        reading = owned.mark.read(suspect)
        told.append({"what": what, "shared": both / owned.ticket.mask.kept, **reading.to_json()})
    return told


def counted(bench: Bench, name: str, ours: Ticket, innocents: Kinds) -> dict[str, Any]:
    """How many readings have which p-value, of every kind of innocents under the owner's claim."""
    size, suspects = SIZES[bench.scale.name], [one for several in innocents.values() for one in several]
    mark = MARKS[name].make(ours, options_for(name, message=MESSAGES[name]), numbered(0).value)
    assert isinstance(mark, Carrier)
    many = MANY[name](mark, suspects)
    batches = (range(first, min(first + BATCH, size.secrets)) for first in range(0, size.secrets, BATCH))
    bench.engine.progress.begin(f"{name}, {len(suspects)} networks", size.secrets)
    found = np.empty((len(suspects), size.secrets))
    for batch in batches:
        found[:, batch.start : batch.stop] = many.log10_p([numbered(n) for n in batch])
        bench.engine.progress.advance(batch.stop)
    ends = np.cumsum([len(several) for several in innocents.values()])
    parts = dict(zip(innocents, np.split(found, ends[:-1]), strict=True))
    messages = mark.payload.log10_choices
    return {
        "secrets": size.secrets,
        "kinds": {what: distribution(p, messages) for what, p in parts.items()},
        "imbalance": many.imbalance,
    }


def _cell(
    bench: Bench, words: str, name: str, family: Family, measure: Callable[[], Measured], **asked: Any
) -> Cell:
    secrets = SIZES[bench.scale.name].secrets
    recipe = recipe_of(bench, family, OWNER)
    return bench.cell(
        "innocents", measure, recipe, words=[name, words], mark=name, of=words, secrets=secrets, **asked
    )


def result(bench: Bench) -> Result:
    """A row for every kind of innocents, and the distribution of their p-values against the uniform one."""
    rows: list[tuple[object, ...]] = []
    claims, right = list[tuple[object, ...]](), dict[str, None]()
    skew, missing, accepted, readings = list[str](), list[str](), 0, 0
    for name in MESSAGES:
        for cell in of_mark(bench, name):
            found, words = bench.store.measured(cell), cell.asked["asked"]["of"]
            if found is None:
                missing.append(f"{name}, {words}: not run.")
                continue
            for what, kind in found["kinds"].items():
                several = kind["networks"] * found["secrets"]
                rows.append((name, words, what, kind["networks"], several, *shown(kind)))
                accepted, readings = accepted + kind["accepted"], readings + several
            claims += _claims(name, found)
            if "accuracy" in found:
                right["{} {:.1f} to {:.1f}".format(words, *found["accuracy"])] = None  # of both marks
            if found["imbalance"]:
                skew.append("{} {:.2f} to {:.2f}".format(words, *found["imbalance"]))
    columns = "mark | networks | what they are | number | readings | verified | smallest p | with all freedom"
    columns += " | most above uniform | KS test, p"
    size = SIZES[bench.scale.name]
    told = [
        "A reading is one network under one of "
        f"{size.secrets} secrets, which belong to nobody. The smallest p is for one secret and one message; "
        "with all freedom it is multiplied by 2^64 secrets and all messages of that length, and a verdict "
        "needs less than 10^-6.",
        "Most above uniform: the largest excess, in any network, of the share of readings of p or less over "
        "p. KS test: Kolmogorov-Smirnov, one-sided, of each network's p-values against uniform ones; the "
        "smallest, times the number of networks. The p-values are bounds, and so larger than uniform.",
        "The owner's claim is on another network of the same architecture, of which "
        f"{100 * (1 - PRUNED):.0f} % is kept; on CIFAR-10, on one of digits. Networks on digits see mirrored "
        "images only where it is said.",
        f"Second table: the owner's own claim and secret, on his marked network and on networks {NEAREST}. "
        "Kept there: of the weights of the marked network.",
    ]
    if right:
        told.append(f"Test accuracy of the dense networks, in %: {'; '.join(right)}.")
    if skew:
        told.append(
            "Mirror code: squared differences of a pattern and its mirror image, over those of pure chance: "
            f"{'; '.join(skew)}."
        )
    return Result(
        columns,
        rows,
        [*told, *missing],
        draw=partial(_draw, bench) if rows else None,
        shown=[*table(columns.split(" | "), rows), "", *table(CLAIMS, claims)] if claims else [],
        found=f"{accepted} of {readings} readings of innocents are verified",
        limits=f"Networks on digits are trained for {size.length}; of CIFAR-10 there are the shipped ones.",
    )


def _claims(name: str, found: Measured) -> list[tuple[object, ...]]:
    """The owner's own claim, on his marked network and on what others pruned from the same dense one."""
    return [
        (
            name,
            one["what"],
            f"{100 * one['shared']:.0f}",
            f"{one['sigma']:.1f}",
            format_p(one["log10_p_uncorrected"]),
            format_p(one["log10_p"]),
        )
        for one in found.get("near", ())
    ]


def _draw(bench: Bench, path: Path) -> None:
    """Shares of readings with a p-value or less, one line a cell."""
    panels = dict[str, list[Curve]]()
    for name in MESSAGES:
        several = [
            (cell.asked["asked"]["of"], found)
            for cell in of_mark(bench, name)
            if (found := bench.store.measured(cell)) is not None
        ]
        panels[name] = [
            Curve.of(of, found["secrets"], list(found["kinds"].values())) for of, found in several
        ]
    draw(path, panels)
