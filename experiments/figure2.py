"""Figure 2 of NeurIPS'21: locked tickets retrained without their key, by score and share (scheme 1).

python experiments/figure2.py --scale quick --data DIR --out RUN
"""

from __future__ import annotations

import sys

from bench import Bench
from cells import Cell
from command import main
from scales import Subject
from showing import Result, line, summary
from trainings import differences, intact, locked, measured, seeds_for

TITLE = "Figure 2: locked tickets retrained without their key"
SCORES = ("omp", "ewp", "betweenness", "random")


def cells(bench: Bench) -> list[Cell]:
    """The intact ticket, and every score at every share; one seed of all before the next of any."""
    first, *others = bench.scale.shares
    asked = [(first, seed) for seed in bench.scale.seeds]
    asked += [(share, seed) for seed in seeds_for(bench, 1) for share in others]
    return [
        *(intact(bench, subject, seed) for subject in bench.scale.subjects for seed in bench.scale.seeds),
        *(
            locked(bench, subject, by, share, seed)
            for share, seed in asked
            for subject in bench.scale.subjects
            for by in SCORES
        ),
    ]


def result(bench: Bench) -> Result:
    """Accuracy against the share of the key."""
    rows, lines = [], []
    for subject in bench.scale.subjects:
        whole = measured(bench, [intact(bench, subject, seed) for seed in bench.scale.seeds])
        shares = sorted(bench.scale.shares)
        for by in SCORES:
            values = [
                measured(
                    bench,
                    [
                        locked(bench, subject, by, share, seed)
                        for seed in seeds_for(bench, bench.scale.shares.index(share))
                    ],
                )
                for share in shares
            ]
            rows.append((str(subject), by, summary(whole), *(summary(found) for found in values)))
            lines.append(line(f"{subject}, {by}", [0, *(100 * s for s in shares)], [whole, *values]))
    columns = ("network", "key by", "intact", *(f"{100 * s:g} % key" for s in sorted(bench.scale.shares)))
    notes = [
        "Paper: the accuracy falls as the share grows, and the scores differ little; it publishes no table.",
        *(lost(bench, subject) for subject in bench.scale.subjects),
    ]
    return Result(
        columns, rows, notes, lines, "share of the key in %", recipe=bench.recipe(bench.scale.subjects[0], 0)
    )


def lost(bench: Bench, subject: Subject) -> str:
    """What the first share costs, as a note."""
    share, seeds = bench.scale.shares[0], bench.scale.seeds
    whole = [intact(bench, subject, seed) for seed in seeds]
    costs = {
        by: differences(bench, whole, [locked(bench, subject, by, share, seed) for seed in seeds])
        for by in SCORES
    }
    words = ", ".join(f"{by} {summary(values)}" for by, values in costs.items())
    return f"Ours, points lost without a key of {100 * share:g} %, seed by seed, {subject}: {words}."


if __name__ == "__main__":
    main(sys.modules[__name__])
