"""Spread and mirror code: a thief who knows how they work, and not the secret."""

from __future__ import annotations

from experiments.carriers.attack_matrix import own
from experiments.carriers.carried import (
    ALL,
    MIRROR,
    QR,
    RATE,
    SPREAD,
    UNSIGNED,
    Carried,
    Theft,
    half,
    interval,
    of_every_seed,
    some,
    stolen_cell,
    theft,
    told,
)
from experiments.lib.bench import Bench
from experiments.lib.scales import Subject
from experiments.lib.showing import Result, counts, summary
from ticket_sig.cells import Cell

TITLE = "Spread and mirror code: the informed thief"
MOVED = (0.1, 0.2, 0.4)
FROM_PARENT = "prunes the dense parent and retrains it himself"


def thefts(bench: Bench) -> list[tuple[str, Theft]]:
    """What he does without data."""
    return [
        ("patterns evened out", theft("even-out")),
        *(
            (f"random swaps, {100 * rate:g} % moved", theft("noise", rate=rate))
            for rate in some(bench, MOVED)
        ),
        ("a spread mark of his own", own(SPREAD)),
        ("a mirror mark of his own", own(MIRROR)),
    ]


def with_data(bench: Bench, subject: Subject) -> dict[str, Theft]:
    """The same, and he trains on."""
    return {words: done.then(half(bench, subject)) for words, done in some(bench, thefts(bench))}


def cells(bench: Bench) -> list[Cell]:
    """Seed by seed: networks first, then what costs least."""
    return [
        one
        for seed in bench.scale.seeds
        for subject in bench.scale.subjects
        for one in (
            *(stolen_cell(bench, subject, Carried(marks, seed)) for marks in (ALL, UNSIGNED)),
            *(
                stolen_cell(bench, subject, Carried(ALL, seed), done)
                for _, done in (*thefts(bench), *with_data(bench, subject).items())
            ),
        )
    ]


def result(bench: Bench) -> Result:
    """One row a theft: what it costs him, and what is left."""
    rows, stand = list[tuple[object, ...]](), list[tuple[str, bool]]()
    for subject in bench.scale.subjects:
        before, trained = of_every_seed(bench, subject, ALL), with_data(bench, subject)
        listed = [("nothing", "", before)]
        for words, done in thefts(bench):
            listed.append((words, "none", of_every_seed(bench, subject, ALL, done)))
            if words in trained:
                listed.append((words, "all", of_every_seed(bench, subject, ALL, trained[words])))
        listed.append((FROM_PARENT, "all", of_every_seed(bench, subject, UNSIGNED)))
        for words, data, of_row in listed:
            values = bench.store.found(of_row)
            lost = interval([-one for one in bench.store.differences(of_row, before)])
            left = [told(values, mark) for mark in (SPREAD, MIRROR, QR)]
            for mark in (SPREAD, MIRROR, QR) if values else ():
                stand.append((mark, all(v["marks"][mark]["verdict"] == "verified" for v in values)))
            rows.append((subject, words, data, summary([v["accuracy"] for v in values]), lost, *left))
    columns = (
        "network | what he does | his data | test % | lost, in points [95 %] | spread | mirror | QR code"
    )
    epochs = half(bench, bench.scale.subjects[0])
    notes = (
        f"The network carries all three marks. With data he trains on for {epochs} epochs (learning rate "
        f"{RATE:g}); lost: before less after, paired by seed. The network itself was trained for "
        f"{bench.recipe(bench.scale.subjects[0], 0).length}.",
        "Swaps move kept weights at random; what comes back is noise of 1 standard deviation. His own marks "
        "are as strong as the owner's by default. Evened out: of each pattern and its image as many kernels.",
        "Who has the dense parent needs no mark removed: he prunes it himself, pays the whole retraining, "
        "and none of the marks is in his network. It is the parent that must not be handed out.",
    )
    return Result(columns, rows, notes, found=f"rows in which a mark is verified: {counts(stand)}")
