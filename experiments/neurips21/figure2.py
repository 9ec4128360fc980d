"""Figure 2 of NeurIPS'21: locked tickets retrained without their key, by score and share (scheme 1)."""

from __future__ import annotations

from experiments.lib.bench import Bench
from experiments.lib.judging import Beside
from experiments.lib.scales import NETWORKS, Subject
from experiments.lib.showing import Result, line, summary
from experiments.neurips21.retrained import intact, intacts, locked
from ticket_sig.cells import Cell

TITLE = "Figure 2: locked tickets retrained without their key"
PAPERS = ("omp", "ewp", "betweenness")
SCORES = (*PAPERS, "random")


def cells(bench: Bench) -> list[Cell]:
    """Seed by seed: the intact ticket, and every score at every share."""
    return [
        cell
        for seed in bench.scale.seeds
        for subject in bench.scale.published
        for cell in (
            intact(bench, subject, seed),
            *(locked(bench, subject, by, share, seed) for share in bench.scale.shares for by in SCORES),
        )
    ]


def result(bench: Bench) -> Result:
    """Accuracy against the share of the key."""
    rows, lines, beside, shares = [], [], Beside(NETWORKS), sorted(bench.scale.shares)
    for subject in bench.scale.published:
        whole = bench.store.numbers(intacts(bench, subject))
        for by in SCORES:
            values = [bench.store.numbers(of_share(bench, subject, by, share)) for share in shares]
            rows.append((str(subject), by, summary(whole), *(summary(found) for found in values)))
            x = [0, *(100 * s for s in shares)]
            lines.append(line(f"{subject}, {by}", x, [whole, *values], panel=subject.dataset))
            if by in PAPERS:
                means = lines[-1].mean
                falls = list(means) == sorted(means, reverse=True)
                seeds = min(map(len, filter(None, values)), default=0)
                beside.said(str(subject), "accuracy falls as the share grows", [falls] * seeds)
    columns = " | ".join(["network", "key by", "intact", *(f"{100 * s:g} % key" for s in shares)])
    notes = [
        "Paper: the accuracy falls as the share grows; it publishes curves, and no table.",
        *(lost(bench, subject) for subject in bench.scale.published),
    ]
    return Result(columns, rows, notes, lines, "share of the key in %", beside=beside)


def of_share(bench: Bench, subject: Subject, by: str, share: float) -> list[Cell]:
    """The locked ticket of a score and share, with every seed."""
    return [locked(bench, subject, by, share, seed) for seed in bench.scale.seeds]


def lost(bench: Bench, subject: Subject) -> str:
    """What the first share costs, as a note."""
    share, whole = bench.scale.shares[0], intacts(bench, subject)
    costs = [bench.store.differences(whole, of_share(bench, subject, by, share)) for by in SCORES]
    words = ", ".join(f"{by} {summary(values)}" for by, values in zip(SCORES, costs, strict=True))
    return f"Ours, points lost without a key of {100 * share:g} %, seed by seed, {subject}: {words}."
