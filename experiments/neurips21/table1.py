"""Table 1 of NeurIPS'21: dense network and extreme ticket, weights kept, rounds at each rate."""

from __future__ import annotations

from collections import Counter

from experiments.lib.bench import Bench
from experiments.lib.judging import Beside
from experiments.lib.showing import Line, Result
from ticket_sig.cells import Cell

TITLE = "Table 1: dense networks and the tickets found"
WHY = "Our search takes larger steps, rewinds later and trains for less."
# (dense, ticket, kept %, rounds at 0.2, 0.1, 0.05 and 0.01)
PUBLISHED = {
    "resnet20-cifar10": (91.67, 91.66, 19.369, "5, 1, 8, 1"),
    "resnet20-cifar100": (66.36, 66.39, 19.901, "6, 0, 4, 7"),
    "resnet18-cifar10": (93.67, 93.60, 1.236, "18, 3, 0, 6"),
    "resnet18-cifar100": (72.44, 72.59, 2.251, "17, 0, 0, 0"),
    "resnet50-cifar10": (94.38, None, 13.19, "7, 1, 6, 0"),
    "resnet50-cifar100": (75.84, None, 43.926, "2, 3, 0, 6"),
    "vgg16-cifar10": (93.10, None, 1.44, ""),
}


def cells(bench: Bench) -> list[Cell]:
    """None: a search leaves its history in its ticket."""
    return []


def result(bench: Bench) -> Result:
    """The history of every search, beside the paper's table."""
    rows, lines, beside = [], [], Beside(PUBLISHED, WHY)
    ours = {str(subject): bench.known(subject) for subject in bench.scale.published}
    for name in dict.fromkeys([*ours, *PUBLISHED]):
        paper = PUBLISHED.get(name)
        published = "" if paper is None else _in_words(*paper)
        if name not in ours:
            rows.append((name, "not run", "", "", "", published))
            continue
        (dense, *rounds), last = ours[name].history, ours[name].found
        used = Counter(e.rate for e in rounds if e.rate is not None and e.accepted)
        rates = ", ".join(f"{rate:g} x {times}" for rate, times in sorted(used.items(), reverse=True))
        kept = f"{100 * last.density:.3f} %"
        rows.append((name, f"{dense.test:.2f}", f"{last.test:.2f}", kept, rates, published))
        tried = [e for e in (dense, *rounds) if e.step in ("dense", "prune") and e.accepted is not False]
        points = [100 * entry.density for entry in tried], [entry.test or 0.0 for entry in tried]
        dataset = name.partition("-")[2]
        lines.append(Line(name, *points, panel=dataset))
        if paper:
            beside.number(name, "dense, test %", [dense.test or 0.0], paper[0])
            if paper[1]:
                beside.number(name, "ticket, test %", [last.test or 0.0], paper[1])
                points = [100.0, paper[2]], [paper[0], paper[1]]
                lines.append(Line(f"{name}, paper", *points, published=True, panel=dataset))
            beside.number(name, "weights kept, %", [100 * last.density], paper[2])
    columns = "network | dense | ticket | kept | rate x rounds | paper: dense, ticket, kept, (rounds)"
    card = " How the shipped search differs from the paper's, rate by rate, is on its card."
    notes = (
        "One seed each, before signing, accuracies as the training had them (bf16 where the recipe says "
        "so). In the figure: the rounds that the search went on from." + card * (bench.scale.search is None),
    )
    return Result(columns, rows, notes, lines, "weights kept in %", beside=beside)


def _in_words(dense: float, ticket: float | None, kept: float, rounds: str) -> str:
    parts = [f"{dense:.2f}", f"{ticket:.2f}" if ticket else "not given", f"{kept:g} %"]
    return ", ".join([*parts, *([f"({rounds})"] if rounds else [])])
