"""Table 2 of NeurIPS'21: what the code costs in accuracy (scheme 2)."""

from __future__ import annotations

from experiments.lib.bench import Bench
from experiments.lib.judging import Beside
from experiments.lib.scales import Subject
from experiments.lib.showing import Result, line, summary
from experiments.neurips21.retrained import cell, kept_of
from ticket_sig.cells import Cell, Measured

TITLE = "Table 2: accuracy after embedding the code"
# (signed, lost)
PUBLISHED = {
    "resnet20-cifar10": (91.37, 0.29),
    "resnet20-cifar100": (66.14, 0.25),
    "resnet18-cifar10": (93.56, 0.11),
    "resnet18-cifar100": (72.35, 0.24),
}


def embedding(bench: Bench, subject: Subject, signed: bool, seed: int) -> Cell:
    """The same ticket retrained, signed or not."""

    def measure() -> Measured:
        pair = bench.one_shot(subject)
        ticket = pair.ticket if signed else pair.unsigned
        assert ticket is not None
        return kept_of(bench, subject, bench.train(ticket, bench.recipe(subject, seed)))

    pair = {"signed mask": bench.signed_mask(subject)}
    return cell(bench, "embedding", subject, measure, signed=signed, seed=seed, pair=pair)


def cells(bench: Bench) -> list[Cell]:
    """Both, of every seed."""
    return [
        embedding(bench, subject, signed, seed)
        for subject in bench.scale.published
        for seed in bench.scale.seeds
        for signed in (False, True)
    ]


def result(bench: Bench) -> Result:
    """Before and after, seed by seed."""
    rows, lines, beside = [], [], Beside(PUBLISHED, "A shorter schedule.")
    for subject in bench.scale.published:
        plain, signed = (
            [embedding(bench, subject, kind, seed) for seed in bench.scale.seeds] for kind in (False, True)
        )
        before, after = bench.store.numbers(plain), bench.store.numbers(signed)
        lost, paper, network = bench.store.differences(plain, signed), "", str(subject)
        if published := PUBLISHED.get(network):
            paper = "{:.2f} (lost {:.2f})".format(*published)
            beside.number(network, "signed, test %", after, published[0])
            beside.number(network, "lost", lost, published[1])
        rows.append((network, summary(before), summary(after), summary(lost), paper))
        lines.append(line(str(subject), ("unsigned", "signed"), (before, after), panel=subject.dataset))
    columns = "network | unsigned | signed | lost, seed by seed | paper"
    notes = [
        "`unsigned` and `signed` are one ticket before and after `embed`, both retrained from its rewind "
        "weights.",
        *(_shipped(bench) if bench.scale.search is None else ()),
    ]
    return Result(columns, rows, notes, lines, beside=beside)


def _shipped(bench: Bench) -> list[str]:
    notes = [
        "The unsigned form of a shipped ticket is not kept: here both come from the shipped dense parent, "
        "pruned once by magnitude to the shipped ticket's density."
    ]
    for subject in bench.scale.published:
        known = bench.known(subject)
        unsigned, signed = known.found, known.history[-1]
        notes.append(
            f"The shipped {subject}: {unsigned.test:.2f} % before signing, {signed.test:.2f} % after (one "
            f"seed, {signed.epochs} epochs, {(signed.made_with or {})['precision']})."
        )
    return notes
