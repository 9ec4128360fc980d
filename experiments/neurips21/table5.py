"""Table 5 of NeurIPS'21: scheme 3 pruned by magnitude: test and trigger accuracy."""

from __future__ import annotations

from experiments.lib.bench import Bench
from experiments.lib.judging import Beside
from experiments.lib.scales import Subject
from experiments.lib.showing import Result, line, summary
from experiments.neurips21.attacked import accuracy, at_rate, reading
from ticket_sig.cells import Cell

TITLE = "Table 5: scheme 3 under one-shot magnitude pruning"
RATES = (0.0, 0.05, 0.1, 0.2, 0.5)
WHY = (
    "Fewer weights kept, a shorter schedule; and triggers made from a secret, with labels by a keyed "
    "function, where the paper takes images of Adi et al."
)
# (test, trigger) accuracy by rate, ResNet-20.
PUBLISHED = {
    "resnet20-cifar10": ((91.46, 91), (91.33, 89), (90.66, 90), (87.86, 81), (33.04, 18)),
    "resnet20-cifar100": ((65.39, 90), (64.78, 91), (62.96, 73), (50.14, 16), (8.56, 0)),
}


def group(bench: Bench, subject: Subject, rate: float) -> list[Cell]:
    """One rate on the taught network of every seed."""
    return at_rate(bench, subject, "taught", "magnitude-pruning", rate, bench.scale.seeds)


def cells(bench: Bench) -> list[Cell]:
    """Every rate."""
    return [
        cell for subject in bench.scale.subjects for rate in RATES for cell in group(bench, subject, rate)
    ]


def result(bench: Bench) -> Result:
    """Test accuracy, trigger accuracy and the code, by rate."""
    rows, lines, beside = [], [], Beside(PUBLISHED, WHY)
    for subject in bench.scale.subjects:
        published = PUBLISHED.get(str(subject), ())
        values = [bench.store.found(group(bench, subject, rate)) for rate in RATES]
        for index, rate in enumerate(RATES):
            paper = "{:.2f} ({})".format(*published[index]) if published else ""
            triggers = summary([v["triggers"] for v in values[index]])
            row = (f"{100 * rate:g} %", accuracy(values[index]), triggers, reading(values[index]), paper)
            rows.append((str(subject), *row))
        x = [100 * rate for rate in RATES]
        for what, field in (("test", "accuracy"), ("triggers", "triggers")):
            points = [[value[field] for value in of_rate] for of_rate in values]
            lines.append(line(f"{subject}, {what}", x, points, panel=subject.dataset))
            for ours, theirs in zip(points, published, strict=bool(published)):
                beside.number(str(subject), f"{what} %", ours, theirs[field == "triggers"])
        for what, accuracies in zip(("test", "triggers"), zip(*published, strict=True), strict=False):
            points = [[float(one)] for one in accuracies]
            lines.append(line(f"paper, {what}", x, points, published=True, panel=subject.dataset))
    columns = "network | rate | test % | trigger % | the code | paper: test (trigger)"
    return Result(columns, rows, (), lines, "weights pruned in %", "accuracy in %", beside=beside)
