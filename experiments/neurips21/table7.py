"""Table 7 of NeurIPS'21: the ambiguity attacks, what each needs to know, and what it achieves."""

from __future__ import annotations

from typing import Any

from experiments.lib.bench import Bench
from experiments.lib.judging import Beside
from experiments.lib.scales import Subject
from experiments.lib.showing import Result, summary
from experiments.neurips21.attacked import FORGED, accuracy, attacked, reading
from experiments.neurips21.retrained import forged, intacts
from ticket_sig.cells import Cell

TITLE = "Table 7: ambiguity attacks"
SHARE, NOISE = 0.05, 0.02
PUBLISHED = {"resnet20-cifar10": (91.37, 57.00)}  # before and after another code in a place that is known
WHY = (
    "The paper's code covers most of a small layer, ours a part of a large one, late in the network; and "
    "kernels come back at their largest rewind weight here, at a random one there."
)
# Name, what the thief knows, the attack, its options.
ATTACKS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("fake2: noise", "nothing", "noise", {"rate": NOISE}),
    ("fake3: another code", "encoding", "overwrite", {"message": FORGED}),
    ("fake3: another code", "encoding and place", "overwrite", {"message": FORGED, "insider": True}),
)


def group(bench: Bench, subject: Subject, index: int) -> list[Cell]:
    """One attack on the retrained ticket of every seed."""
    _, _, attack, options = ATTACKS[index]
    return [attacked(bench, subject, "intact", attack, seed, **options) for seed in bench.scale.seeds]


def cells(bench: Bench) -> list[Cell]:
    """Every attack."""
    attacks = [
        cell
        for subject in bench.scale.subjects
        for index in range(len(ATTACKS))
        for cell in group(bench, subject, index)
    ]
    return [*attacks, *(cell for subject in bench.scale.subjects for cell in forged_keys(bench, subject))]


def forged_keys(bench: Bench, subject: Subject) -> list[Cell]:
    """A forged key on the locked ticket of every seed."""
    return [forged(bench, subject, SHARE, seed) for seed in bench.scale.seeds]


def result(bench: Bench) -> Result:
    """What each attack costs, and whose claim is verified after it."""
    rows, beside = list[tuple[object, ...]](), Beside(PUBLISHED, WHY)
    for subject in bench.scale.subjects:
        whole = summary(bench.store.numbers(intacts(bench, subject)))
        keys = summary(bench.store.numbers(forged_keys(bench, subject)))
        known, said = "encoding, locked ticket", "no key: not the claim's commitment"
        rows.append((subject, "fake1: random key", known, whole, keys, said, "", ""))
        for index, (name, knows, _, options) in enumerate(ATTACKS):
            values = bench.store.found(group(bench, subject, index))
            own = {value["forged"] for value in values if value["forged"]}
            published, paper = PUBLISHED.get(str(subject), ()) if options.get("insider") else (), ""
            if published:
                paper = "{:.2f} to {:.2f}".format(*published)
                after = [value["accuracy"] for value in values]
                beside.number(str(subject), "test %, place known", after, published[1])
            row = (whole, accuracy(values), reading(values), ", ".join(sorted(own)), paper)
            rows.append((subject, name, knows, *row))
    columns = "network | attack | the thief knows | before | after | the owner's code | his own | paper"
    notes = (
        f"fake1: {100 * SHARE:g} % key by OMP, forged, then retrained (Figure 5); unlocking checks a key "
        f"against the claim's commitment. fake2: {100 * NOISE:g} % of the kept weights move. fake3: "
        f"`{FORGED}`, not retrained.",
        "Where both codes stand, the older claim decides: have yours dated before the dispute. What "
        "fine-tuning gives back is in the attack table.",
    )
    return Result(columns, rows, notes, beside=beside)
