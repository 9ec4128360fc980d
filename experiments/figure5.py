"""Figure 5 of NeurIPS'21: forged keys (fake1): random weights in place of the key, then retrained (scheme 1).

python experiments/figure5.py --scale quick --data DIR --out RUN
"""

from __future__ import annotations

import sys

from bench import Bench
from cells import Cell
from command import main
from scales import Subject
from showing import Result, line, summary
from trainings import intact, locked, measured, parts_of, seeds_for

from ticket_sig.attacks import Scene
from ticket_sig.attacks.fake_key import FakeKey

TITLE = "Figure 5: locked tickets with forged keys (fake1)"
SCORE = "omp"


def forged(bench: Bench, subject: Subject, share: float, seed: int) -> Cell:
    """A locked ticket with a random key of the true one's size, retrained."""

    def measure() -> dict[str, object]:
        parts = parts_of(bench, subject, SCORE, share, seed)
        ticket = FakeKey(count=len(parts.key))(parts.locked, Scene(seed=seed))
        return bench.of_training(bench.train(ticket, bench.recipe(subject, seed)), subject)

    return bench.cell("forged", subject, measure, score=SCORE, share=share, seed=seed)


def cells(bench: Bench) -> list[Cell]:
    """Intact, locked and forged at every share."""
    return [
        cell
        for index, share in enumerate(bench.scale.shares)
        for seed in seeds_for(bench, index)
        for subject in bench.scale.subjects
        for cell in (
            intact(bench, subject, seed),
            locked(bench, subject, SCORE, share, seed),
            forged(bench, subject, share, seed),
        )
    ]


def result(bench: Bench) -> Result:
    """With the key, without it, and with a forged one."""
    rows, lines = [], []
    for subject in bench.scale.subjects:
        whole = measured(bench, [intact(bench, subject, seed) for seed in bench.scale.seeds])
        without, fake = [], []
        for share in (shares := sorted(bench.scale.shares)):
            seeds = seeds_for(bench, bench.scale.shares.index(share))
            without.append(measured(bench, [locked(bench, subject, SCORE, share, seed) for seed in seeds]))
            fake.append(measured(bench, [forged(bench, subject, share, seed) for seed in seeds]))
            row = (f"{100 * share:g} %", summary(whole), summary(without[-1]), summary(fake[-1]))
            rows.append((str(subject), *row))
        x = [100 * share for share in shares]
        lines += [
            line(f"{subject}, intact", x, [whole] * len(x)),
            line(f"{subject}, locked, no key", x, without),
        ]
        lines.append(line(f"{subject}, locked, forged key", x, fake))
    columns = ("network", "share of the key", "intact", "locked, no key", "locked, forged key")
    notes = (
        f"Key by {SCORE}. The forged key has as many weights as the true one, at random positions outside "
        "the locked mask, of the size of initial weights; then the whole is retrained.",
        "Paper: a forged key recovers nothing useful; about 10 % of the weights by OMP are enough of a key.",
    )
    recipe = bench.recipe(bench.scale.subjects[0], 0)
    return Result(columns, rows, notes, lines, "share of the key in %", recipe=recipe)


if __name__ == "__main__":
    main(sys.modules[__name__])
