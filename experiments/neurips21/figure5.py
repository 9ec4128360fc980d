"""Figure 5 of NeurIPS'21: forged keys (fake1): random weights as a key, then retrained (scheme 1)."""

from __future__ import annotations

from experiments.lib.bench import Bench
from experiments.lib.judging import Beside
from experiments.lib.scales import NETWORKS
from experiments.lib.showing import Result, line, summary
from experiments.neurips21.retrained import FORGED_BY, forged, intact, intacts, locked
from ticket_sig.cells import Cell
from ticket_sig.verification.fidelity import EPS_F

TITLE = "Figure 5: locked tickets with forged keys (fake1)"


def cells(bench: Bench) -> list[Cell]:
    """Intact, locked and forged at every share, seed by seed."""
    return [
        cell
        for seed in bench.scale.seeds
        for share in bench.scale.shares
        for subject in bench.scale.subjects
        for cell in (
            intact(bench, subject, seed),
            locked(bench, subject, FORGED_BY, share, seed),
            forged(bench, subject, share, seed),
        )
    ]


def result(bench: Bench) -> Result:
    """With the key, without it, and with a forged one."""
    rows, lines, beside = [], [], Beside(NETWORKS)
    for subject in bench.scale.subjects:
        whole = bench.store.numbers(intacts(bench, subject))
        without, fake = [], []
        for share in (shares := sorted(bench.scale.shares)):
            seeds = bench.scale.seeds
            without.append(bench.store.numbers(locked(bench, subject, FORGED_BY, share, s) for s in seeds))
            fake.append(bench.store.numbers(forged(bench, subject, share, s) for s in seeds))
            row = (f"{100 * share:g} %", summary(whole), summary(without[-1]), summary(fake[-1]))
            rows.append((str(subject), *row))
            back = [ours - plain <= EPS_F for ours, plain in zip(fake[-1], without[-1], strict=False)]
            beside.said(str(subject), f"a forged key gives back no more than {EPS_F:g} point", back)
        x = [100 * share for share in shares]
        lines.append(line(f"{subject}, intact", x, [whole] * len(x), panel=subject.dataset))
        lines.append(line(f"{subject}, locked, no key", x, without, panel=subject.dataset))
        lines.append(line(f"{subject}, locked, forged key", x, fake, panel=subject.dataset))
    columns = "network | share of the key | intact | locked, no key | locked, forged key"
    notes = (
        f"Key by {FORGED_BY}. The forged key has as many weights as the true one, at random positions "
        "outside the locked mask, of the size of initial weights; then the whole is retrained.",
        "Paper, as curves: a forged key recovers nothing useful; about 10 % of the weights by OMP are enough "
        "of a key.",
    )
    return Result(columns, rows, notes, lines, "share of the key in %", beside=beside)
