"""Spread and mirror code: what strength costs in accuracy, and what it buys."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from experiments.carriers.carried import (
    ALL,
    MIRROR,
    QR,
    SPREAD,
    TWO,
    UNSIGNED,
    Carried,
    interval,
    left,
    network,
    of_every_seed,
    share_moved,
    signed,
    some,
    stolen_cell,
)
from experiments.lib.bench import Bench
from experiments.lib.scales import Subject
from experiments.lib.showing import Result, summary
from experiments.lib.sturdiest import MESSAGE
from ticket_sig.attacks import Scene, attack
from ticket_sig.cells import Cell, Measured
from ticket_sig.marks.message_code import MessageCode

TITLE = "Spread and mirror code: accuracy against strength"
USUAL = "usual margin"
# Standard deviations by which all bits stand together: the same for codes of any length.
STRENGTHS = {SPREAD: (25.0, 51.0, 75.0), MIRROR: (20.0, 28.0, 48.0)}
PRUNED = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
ADDED = (0.01, 0.02, 0.05, 0.1, 0.2)


def networks(bench: Bench, seed: int) -> list[tuple[str, Carried]]:
    """In words, and which."""
    usual = some(bench, (SPREAD, MIRROR, TWO, ALL))
    found = [(f"{marks}, {USUAL}", Carried(marks, seed)) for marks in usual]
    bits = MessageCode(len(MESSAGE)).size
    for marks, strengths in some(bench, list(STRENGTHS.items())):
        for strength in some(bench, strengths):
            margin = round(strength / math.sqrt(bits), 2)
            found.append((f"{marks}, margin {margin:g}", Carried(marks, seed, margin)))
    return [*found, *((marks, Carried(marks, seed)) for marks in some(bench, (QR,), most=0))]


def strength(bench: Bench, subject: Subject, carried: Carried) -> Cell:
    """What a network's marks moved, and how far pruning and add-on may go until a message is lost."""

    def measure() -> Measured:
        ticket, owners = network(bench, subject, carried), signed(bench, subject, carried)
        return {
            "moved": share_moved(bench, subject, carried),
            "accuracy": bench.accuracy(ticket.weights, subject.arch, subject.dataset),
            "sigma": {mark.name: left(mark, ticket, owners)["sigma"] for mark in owners.marks},
            "pruned": _furthest(bench, subject, carried, "magnitude-pruning", PRUNED),
            "added": _furthest(bench, subject, carried, "add-on", ADDED),
        }

    about = {"subject": str(subject), "ticket": bench.known(subject).ticket}
    recipe = bench.recipe(subject, carried.seed)
    at = [carried.marks, f"margin {carried.margin or 'usual'}", f"seed {carried.seed}"]
    return bench.cell("carriers strength", measure, recipe, about=about, words=at, **carried.asked)


def _furthest(
    bench: Bench, subject: Subject, carried: Carried, name: str, rates: Sequence[float]
) -> dict[str, float]:
    """The highest rate at which each mark's message is exact, at this and all lower ones."""
    ticket, owners = network(bench, subject, carried), signed(bench, subject, carried)
    found, lost = {mark.name: 0.0 for mark in owners.marks}, set[str]()
    for rate in some(bench, rates, 2):
        attacked = attack(name, rate=rate)(ticket, Scene(seed=carried.seed))
        for mark in (mark for mark in owners.marks if mark.name not in lost):
            if left(mark, attacked, owners)["exact"]:
                found[mark.name] = rate
            else:
                lost.add(mark.name)
    return found


def cells(bench: Bench) -> list[Cell]:
    """The unsigned network and the signed ones, seed by seed."""
    return [
        one
        for seed in bench.scale.seeds
        for subject in bench.scale.subjects
        for one in (
            stolen_cell(bench, subject, Carried(UNSIGNED, seed)),
            *(strength(bench, subject, carried) for _, carried in networks(bench, seed)),
        )
    ]


def result(bench: Bench) -> Result:
    """One row a network, its accuracy paired with the unsigned one of the same seed."""
    rows: list[tuple[object, ...]] = []
    for subject in bench.scale.subjects:
        unsigned = of_every_seed(bench, subject, UNSIGNED)
        rows.append((subject, "unsigned", "", summary(bench.store.numbers(unsigned)), "", "", "", ""))
        every = [networks(bench, seed) for seed in bench.scale.seeds]
        for of_words in zip(*every, strict=True):
            words, of_row = of_words[0][0], [strength(bench, subject, carried) for _, carried in of_words]
            values = bench.store.found(of_row)
            rows.append(
                (
                    subject,
                    words,
                    summary([v["moved"] for v in values], 1),
                    summary([v["accuracy"] for v in values]),
                    interval(bench.store.differences(of_row, unsigned)),
                    _each(values, "sigma", lambda s: "" if s is None else f"{s:.1f}"),
                    _each(values, "pruned", lambda rate: f"{100 * rate:g} %"),
                    _each(values, "added", lambda rate: f"{100 * rate:g} %"),
                )
            )
    columns = (
        "network | marks | weights moved % | test % | difference to unsigned [95 %] | sigma "
        "| message exact after pruning up to | after add-on up to"
    )
    notes = (
        "The shipped dense parent, pruned once to the density of the shipped ticket, signed, and retrained "
        "as the unsigned one of the same seed was. The margin is that of each bit of the code. Message: 9 "
        "bytes. Secrets are fixed bytes.",
        "Where a network carries several marks each is told apart, in the order of their names; where there "
        "are several seeds, the mean for sigma and the worst for what is still read. Add-on: noise of 1 "
        "standard deviation.",
    )
    usual = [f"{row[1]} {row[4]}" for row in rows if str(row[1]).endswith(USUAL)]
    return Result(columns, rows, notes, found=f"accuracy, signed less unsigned: {', '.join(usual)}")


def _each(values: list[Measured], what: str, words: Any) -> str:
    """For each mark: the mean sigma, or the least rate."""
    if not values:
        return "not run"
    told = []
    for name in values[0][what]:
        numbers = [value[what][name] for value in values]
        if what == "sigma":
            told.append(words(None if None in numbers else sum(numbers) / len(numbers)))
        else:
            told.append(words(min(numbers)))
    return " / ".join(text or "-" for text in told)
