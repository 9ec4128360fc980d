"""Table 3 of NeurIPS'21: what the trigger set costs in accuracy, and how much of it is learnt (scheme 3).

python experiments/table3.py --scale quick --data DIR --out RUN
"""

from __future__ import annotations

import sys

from bench import OTHER_BATCHES, TRIGGER_BATCH, TRIGGERS, Bench, Result, Subject, line, main, not_run, summary
from cells import Cell
from trainings import intact, measured, taught

TITLE = "Table 3: scheme 3, test and trigger accuracy"
# (ticket, its triggers, with code and triggers, its triggers), ResNet-20.
PUBLISHED = {"resnet20-cifar10": (91.66, 16.0, 91.46, 91.0), "resnet20-cifar100": (66.36, 0.0, 65.39, 90.0)}


def cells(bench: Bench) -> list[Cell]:
    """The signed ticket, retrained with triggers and without."""
    return [
        *(
            make(bench, subject, seed)
            for subject in bench.scale.subjects
            for seed in bench.scale.seeds
            for make in (taught, intact)
        ),
        *(tried(bench, subject, size) for subject in bench.scale.subjects for size in OTHER_BATCHES),
    ]


def tried(bench: Bench, subject: Subject, size: int) -> Cell:
    """The first seed with more or fewer triggers in every batch."""
    return taught(bench, subject, bench.scale.seeds[0], size)


def result(bench: Bench) -> Result:
    """With and without triggers, side by side."""
    rows, lines = [], []
    for subject in bench.scale.subjects:
        without = [intact(bench, subject, seed) for seed in bench.scale.seeds]
        paper = PUBLISHED.get(str(subject))
        published = "{:.2f} ({}), {:.2f} ({})".format(*paper) if paper else ""
        groups = {size: [tried(bench, subject, size)] for size in OTHER_BATCHES}
        groups[TRIGGER_BATCH] = [taught(bench, subject, seed) for seed in bench.scale.seeds]
        for size, cells_ in sorted(groups.items()):
            plain, test = measured(bench, without), measured(bench, cells_)
            answers, before = (measured(bench, cells_, what) for what in ("triggers", "before"))
            lost = [a - b for a, b in zip(plain, test, strict=False)]
            row = (summary(plain), summary(before), summary(test), summary(answers), summary(lost), published)
            rows.append((str(subject), size, *row))
            if size == TRIGGER_BATCH and plain and test:
                x = ("without", "with triggers")
                lines.append(line(f"{subject}, test", x, (plain, test)))
                lines.append(line(f"{subject}, triggers", x, (before, answers)))
    columns = (
        "network",
        "triggers a batch",
        "test %",
        "trigger %",
        "test %, taught",
        "trigger %, taught",
        "lost",
        "paper",
    )
    notes = (
        not_run(bench, PUBLISHED),
        f"{TRIGGERS} keyed triggers, appended to batches of 128. `taught`: the signed ticket retrained "
        "with them; the first two accuracies: the same training without them, and the answers of the "
        "ticket that never saw them. Lost: seed by seed. How many a batch was chosen by this very table: "
        f"{', '.join(map(str, OTHER_BATCHES))} were tried first, with one seed each; its rows stay.",
        "The paper's first pair is the ticket before signing, its second with code and triggers.",
    )
    recipe = bench.recipe(bench.scale.subjects[0], 0)
    return Result(columns, rows, notes, lines, "", "accuracy in %", recipe=recipe)


if __name__ == "__main__":
    main(sys.modules[__name__])
