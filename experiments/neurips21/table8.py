"""Table 8 of NeurIPS'21: add-on, weights put back at pruned positions (scheme 2)."""

from __future__ import annotations

from experiments.lib.bench import Bench
from experiments.lib.judging import Beside
from experiments.lib.scales import Subject
from experiments.lib.showing import Result, line
from experiments.neurips21.attacked import accuracy, at_rate, reading
from ticket_sig.cells import Cell

TITLE = "Table 8: scheme 2 under add-on"
RATES = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1)
SCALES = (1.0, 0.3)  # of the noise, in standard deviations of the layer's kept weights
WHY = "The paper does not say how large its noise is; and fewer weights are kept."
NETWORK = "resnet20-cifar10"
# (accuracy, kept %, decodes / matches)
PUBLISHED = (
    (91.53, 19.369, "yes / yes"),
    (91.04, 19.789, "yes / yes"),
    (90.23, 20.179, "yes / no"),
    (86.64, 21.009, "no / no"),
    (79.49, 23.386, "no / no"),
    (71.06, 27.402, "no / no"),
)


def group(bench: Bench, subject: Subject, rate: float, scale: float = SCALES[0]) -> list[Cell]:
    """One rate on the retrained ticket of every seed."""
    return at_rate(bench, subject, "intact", "add-on", rate, bench.scale.seeds, scale=scale)


def cells(bench: Bench) -> list[Cell]:
    """Every rate and size of the noise."""
    return [
        cell
        for subject in bench.scale.subjects
        for scale in SCALES
        for rate in RATES
        for cell in group(bench, subject, rate, scale)
    ]


def result(bench: Bench) -> Result:
    """Accuracy, weights kept and what is read, by rate."""
    rows, lines, beside = [], [], Beside([NETWORK], WHY)
    x = [100 * rate for rate in RATES]
    for subject in bench.scale.subjects:
        known = str(subject) == NETWORK
        for scale in SCALES:
            values = [bench.store.found(group(bench, subject, rate, scale)) for rate in RATES]
            for rate, of_rate, paper in zip(RATES, values, PUBLISHED, strict=True):
                kept = f"{100 * of_rate[0]['kept'] / of_rate[0]['total']:.3f}" if of_rate else ""
                published = f"{paper[0]}, {paper[1]}, {paper[2]}" if known else ""
                if known:
                    right, decodes = [v["accuracy"] for v in of_rate], [bool(v["message"]) for v in of_rate]
                    beside.number(NETWORK, f"test %, noise {scale:g}", right, paper[0])
                    beside.said(NETWORK, f"decodes, noise {scale:g}", decodes, paper[2].startswith("yes"))
                row = (f"{100 * rate:g} %", accuracy(of_rate), kept, reading(of_rate), published)
                rows.append((str(subject), scale, *row))
            points = [[v["accuracy"] for v in of_rate] for of_rate in values]
            lines.append(line(f"{subject}, noise {scale:g}", x, points, panel=subject.dataset))
        if known:
            theirs = [[paper[0]] for paper in PUBLISHED]
            lines.append(line("paper", x, theirs, published=True, panel=subject.dataset))
    columns = "network | noise | rate | ours | kept % | the code | paper"
    notes = (
        "The rate is a share of the pruned weights; they get Gaussian noise of so many standard "
        "deviations of their layer's kept weights. Paper: decodes / accuracy still within 1 point.",
        "The owner's answer, to drop what is smaller than his own weights, is part of reading here: of "
        "more light kernels than the code has, the strongest are read.",
    )
    label = "weights put back, in % of the pruned ones"
    return Result(columns, rows, notes, lines, label, beside=beside)
