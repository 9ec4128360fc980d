"""Table 6 of NeurIPS'21: signed tickets (scheme 2) pruned by magnitude and at random, not retrained."""

from __future__ import annotations

from experiments.lib.bench import Bench
from experiments.lib.judging import Beside
from experiments.lib.scales import Subject
from experiments.lib.showing import Result, line
from experiments.neurips21.attacked import accuracy, at_rate, reading
from ticket_sig.cells import Cell

TITLE = "Table 6: scheme 2 under one-shot pruning"
RATES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)
WHY = (
    "Fewer weights kept, so that magnitude pruning takes larger ones; a shorter schedule. Of random pruning "
    "we do not know why."
)
PUBLISHED = {
    ("resnet20-cifar10", "magnitude"): (91.37, 91.25, 90.72, 88.03, 80.08, 36.62),
    ("resnet20-cifar10", "random"): (91.37, 60.87, 30.49, 11.95, 12.05, 10.00),
    ("resnet18-cifar100", "magnitude"): (72.35, 72.27, 71.42, 69.51, 60.31, 9.24),
    ("resnet18-cifar100", "random"): (72.35, 58.23, 22.67, 3.23, 1.0, 1.0),
}


def group(bench: Bench, subject: Subject, model: str, by: str, rate: float) -> list[Cell]:
    """One attack on a model of every seed."""
    seeds = (0,) if model == "shipped" and by == "magnitude" else bench.scale.seeds
    return at_rate(bench, subject, model, f"{by}-pruning", rate, seeds)


def models(bench: Bench) -> tuple[str, ...]:
    """The shipped ticket, which was trained for longer, and its retrainings at this scale."""
    return ("shipped", "intact") if bench.scale.search is None else ("intact",)


def cells(bench: Bench) -> list[Cell]:
    """Every rate, of magnitude and random pruning."""
    return [
        cell
        for subject in bench.scale.subjects
        for model in models(bench)
        for by in ("magnitude", "random")
        for rate in RATES
        for cell in group(bench, subject, model, by, rate)
    ]


def result(bench: Bench) -> Result:
    """Accuracy and what is read, by rate."""
    rows, lines, x = [], [], [100 * rate for rate in RATES]
    beside = Beside(dict.fromkeys(network for network, _ in PUBLISHED), WHY)
    for subject in bench.scale.subjects:
        for by in ("magnitude", "random"):
            published = PUBLISHED.get((str(subject), by))
            for model in models(bench):
                values = [bench.store.found(group(bench, subject, model, by, rate)) for rate in RATES]
                for index, rate in enumerate(RATES):
                    paper = published[index] if published else ""
                    row = (f"{100 * rate:g} %", accuracy(values[index]), reading(values[index]), paper)
                    rows.append((str(subject), model, by, *row))
                points = [[v["accuracy"] for v in of_rate] for of_rate in values]
                for ours, theirs in zip(points, published or (), strict=bool(published)):
                    beside.number(str(subject), f"{model}, {by}", ours, theirs)
                lines.append(line(f"{subject} {model}, {by}", x, points, panel=subject.dataset))
            if published:
                points = [[value] for value in published]
                lines.append(line(f"paper, {by}", x, points, published=True, panel=subject.dataset))
    columns = "network | model | pruned by | rate | ours | the code | paper"
    notes = [
        "`shipped`, where it is: the ticket of `checkpoints/`; `intact` are retrainings at this scale.",
        "Paper: ResNet-20, 19.4 % kept. The verdict needs no code that decodes: Figure 3.",
    ]
    return Result(columns, rows, notes, lines, "weights pruned in %", beside=beside)
