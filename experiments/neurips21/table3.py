"""Table 3 of NeurIPS'21: what the trigger set costs in accuracy, and how much of it is learnt (scheme 3)."""

from __future__ import annotations

from experiments.lib.bench import Bench
from experiments.lib.judging import Beside
from experiments.lib.scales import TRIGGERS
from experiments.lib.showing import Result, line, summary
from experiments.neurips21.retrained import intact, taught
from ticket_sig.cells import Cell
from ticket_sig.training.batches import TRIGGER_BATCH

TITLE = "Table 3: scheme 3, test and trigger accuracy"
WHY = "A shorter schedule; and keyed triggers, where the paper takes images of Adi et al."
# (ticket, its triggers, with code and triggers, its triggers), ResNet-20.
PUBLISHED = {"resnet20-cifar10": (91.66, 16.0, 91.46, 91.0), "resnet20-cifar100": (66.36, 0.0, 65.39, 90.0)}


def cells(bench: Bench) -> list[Cell]:
    """The signed ticket, retrained with triggers and without; then what was tried before."""
    chosen = [
        make(bench, subject, seed, teaching=True)
        for subject in bench.scale.published
        for seed in bench.scale.seeds
        for make in (taught, intact)
    ]
    tried = [
        taught(bench, subject, seed, size, teaching=False)
        for seed in bench.scale.seeds
        for subject in bench.scale.subjects
        for size in bench.scale.tried
    ]
    return [*chosen, *tried]


def result(bench: Bench) -> Result:
    """With and without triggers, side by side."""
    rows, lines, beside = [], [], Beside(PUBLISHED, WHY)
    seeds = bench.scale.seeds
    for subject in bench.scale.published:
        published = PUBLISHED.get(str(subject))
        paper = "{:.2f} ({}), {:.2f} ({})".format(*published) if published else ""
        tried = bench.scale.tried if subject in bench.scale.subjects else ()
        for teaching, size in (*((False, size) for size in tried), (True, TRIGGER_BATCH)):
            plain = [intact(bench, subject, seed, teaching=teaching) for seed in seeds]
            with_them = [taught(bench, subject, seed, size, teaching=teaching) for seed in seeds]
            accuracies = [bench.store.numbers(cells) for cells in (plain, with_them)]
            before, answers = (bench.store.numbers(with_them, what) for what in ("before", "triggers"))
            lost = bench.store.differences(plain, with_them)
            length = bench.recipe(subject, 0, teaching=teaching).length
            row = (summary(accuracies[0]), summary(before), summary(accuracies[1]), summary(answers))
            rows.append((str(subject), length, size, *row, summary(lost), paper))
        kinds = ("test %", "trigger %", "test %, taught", "trigger %, taught")
        ours = (accuracies[0], before, accuracies[1], answers)
        for kind, values, theirs in zip(kinds, ours, published or (), strict=False):
            beside.number(str(subject), kind, values, theirs)
        x = ("without", "with triggers")
        lines.append(line(f"{subject}, test", x, accuracies, panel=subject.dataset))
        lines.append(line(f"{subject}, triggers", x, (before, answers), panel=subject.dataset))
    columns = (
        "network | length | triggers a batch | test % | trigger % | test %, taught | trigger %, taught "
        "| lost | paper"
    )
    notes = [
        f"{TRIGGERS} keyed triggers. `taught`: the signed ticket retrained with them; the first two "
        "accuracies: the same training without them, and the answers of the ticket that never saw them. "
        "Lost: seed by seed.",
        "The last row is the one that the other tables go on with. Where there are others, they were tried "
        "before, and taught too little or cost too much: length and triggers a batch were chosen by this "
        "very table.",
        "The paper's first pair is the ticket before signing, its second with code and triggers.",
    ]
    return Result(columns, rows, notes, lines, "", "accuracy in %", beside=beside)
