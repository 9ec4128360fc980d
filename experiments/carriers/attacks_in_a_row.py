"""Attacks in a row: marks of the thief's own and trigger removal, in both orders, on schemes 2 and 3."""

from __future__ import annotations

from experiments.carriers.attack_matrix import own
from experiments.carriers.carried import (
    AS_IT_IS,
    QR,
    SPREAD,
    TRIGGERS,
    Carried,
    Theft,
    half,
    some,
    stolen_cell,
    theft,
    told,
    verified,
)
from experiments.lib.bench import Bench
from experiments.lib.scales import TRIGGERS as COUNT
from experiments.lib.scales import Subject
from experiments.lib.showing import NOTHING, Result, summary
from experiments.neurips21.attack_table import REMOVAL, winner, wins
from experiments.neurips21.attacked import FORGED
from ticket_sig.cells import Cell

TITLE = "Attacks in a row: QR code, spread code and triggers"
MARKS = {QR: "the QR code", SPREAD: "the spread code", TRIGGERS: "the triggers"}
REMOVED = "trigger removal"


def in_a_row(*thefts: Theft) -> Theft:
    """One theft after the other."""
    return Theft(tuple(step for one in thefts for step in one.steps))


def attacks(bench: Bench, subject: Subject) -> list[tuple[str, Theft]]:
    """In words, and what is done: every step by itself, and both in each order."""
    removal = theft("trigger-removal", epochs=half(bench, subject), **REMOVAL)
    code, spread = theft("overwrite", message=FORGED), own(SPREAD)
    written = [
        ("own QR code in its place", code),
        ("own spread over it", spread),
        ("own QR code and own spread", in_a_row(code, spread)),
    ]
    found = [(NOTHING, AS_IT_IS), (REMOVED, removal)]
    for words, done in some(bench, written):
        found += [
            (words, done),
            (f"{words}, then {REMOVED}", in_a_row(done, removal)),
            (f"{REMOVED}, then {words}", in_a_row(removal, done)),
        ]
    return found


def stolen(bench: Bench, subject: Subject, done: Theft, seed: int) -> Cell:
    """The network of a seed after a theft."""
    return stolen_cell(bench, subject, Carried(f"{QR}+{SPREAD}", seed, taught=True), done)


def group(bench: Bench, subject: Subject, done: Theft) -> list[Cell]:
    """A theft on the network of every seed."""
    return [stolen(bench, subject, done, seed) for seed in bench.scale.seeds]


def cells(bench: Bench) -> list[Cell]:
    """The networks, that two processes do not wait for one; then the attacks, seed by seed."""
    return [
        *(one for subject in bench.scale.subjects for one in group(bench, subject, AS_IT_IS)),
        *(
            stolen(bench, subject, done, seed)
            for seed in bench.scale.seeds
            for subject in bench.scale.subjects
            for _, done in attacks(bench, subject)
        ),
    ]


def result(bench: Bench) -> Result:
    """One row after each step."""
    rows: list[tuple[object, ...]] = []
    for subject in bench.scale.subjects:
        before = group(bench, subject, AS_IT_IS)
        for words, done in attacks(bench, subject):
            of_row = group(bench, subject, done)
            values, lost = bench.store.found(of_row), bench.store.differences(before, of_row)
            if not values:
                rows.append((subject, words, "not run", *[""] * 6))
                continue
            left = {mark: [value["marks"][mark] for value in values] for mark in MARKS}
            stands = {
                MARKS[mark]: any(one["verdict"] == "verified" for one in found)
                for mark, found in left.items()
            }
            rows.append(
                (
                    subject,
                    words,
                    summary([value["accuracy"] for value in values]),
                    summary(lost),
                    told(values, QR),
                    told(values, SPREAD),
                    summary([COUNT * one["right"] for one in left[TRIGGERS]]),
                    verified(left[TRIGGERS]),
                    winner(stands, lost),
                )
            )
    first = bench.scale.subjects[0]
    columns = "network | attack | test % | lost | QR code | spread code | trigger % | the triggers | who wins"
    notes = (
        "One network a seed: QR code and spread code in one mask, retrained with triggers. The thief knows "
        f"the QR code's place, and not the owner's secret. Trigger removal: {half(bench, first)} epochs, "
        f"learning rate {REMOVAL['lr']:g}, with {REMOVAL['images']} images of his own; a mark is written "
        "without training. Who wins, by the rule of the attack table.",
    )
    return Result(columns, rows, notes, found=wins((str(row[1]), str(row[-1])) for row in rows))
