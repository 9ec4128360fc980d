"""Table 8 of NeurIPS'21: add-on, weights put back at pruned positions, and the owner's answer (scheme 2).

python experiments/table8.py --scale quick --data DIR --out RUN
"""

from __future__ import annotations

import sys

from attacked import GIVEN_UP, accuracy, attacked, found, reading
from bench import Bench, Result, Subject, line, main
from cells import Cell

TITLE = "Table 8: scheme 2 under add-on"
RATES = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1)
SCALES = (1.0, 0.3)  # of the noise, in standard deviations of the layer's kept weights
# (accuracy, kept %, decodes / matches)
PUBLISHED = (
    (91.53, 19.369, "yes / yes"),
    (91.04, 19.789, "yes / yes"),
    (90.23, 20.179, "yes / no"),
    (86.64, 21.009, "no / no"),
    (79.49, 23.386, "no / no"),
    (71.06, 27.402, "no / no"),
)


def group(
    bench: Bench, subject: Subject, rate: float, scale: float = SCALES[0], drop: bool = False
) -> list[Cell]:
    """One rate on the retrained ticket of every seed, as it is or after the owner dropped what is small."""
    if not rate:
        return [attacked(bench, subject, "intact", None, seed) for seed in bench.scale.seeds]
    options = {"rate": rate, "scale": scale, **({"drop": True} if drop else {})}
    return [attacked(bench, subject, "intact", "add-on", seed, **options) for seed in bench.scale.seeds]


def cells(bench: Bench) -> list[Cell]:
    """Every rate and scale, with the owner's answer and without."""
    return [
        cell
        for subject in bench.scale.subjects
        for drop in (False, True)
        for scale in SCALES
        for rate in RATES
        for cell in group(bench, subject, rate, scale, drop)
    ]


def result(bench: Bench) -> Result:
    """Accuracy, weights kept and what is read, by rate."""
    rows, lines = [], []
    x = [100 * rate for rate in RATES]
    for subject in bench.scale.subjects:
        known = str(subject) == "resnet20-cifar10"
        for scale in SCALES:
            plain = [found(bench, group(bench, subject, rate, scale)) for rate in RATES]
            answered = [found(bench, group(bench, subject, rate, scale, drop=True)) for rate in RATES]
            for rate, values, dropped, paper in zip(RATES, plain, answered, PUBLISHED, strict=True):
                kept = f"{100 * values[0]['kept'] / values[0]['total']:.3f}" if values else ""
                published = f"{paper[0]}, {paper[1]}, {paper[2]}" if known else ""
                row = (
                    f"{100 * rate:g} %",
                    accuracy(values),
                    kept,
                    reading(values),
                    reading(dropped),
                    published,
                )
                rows.append((str(subject), scale, *row))
            points = [[v["accuracy"] for v in of_rate] for of_rate in plain]
            lines.append(line(f"{subject}, noise {scale:g}", x, points))
        if known:
            lines.append(line("paper", x, [[paper[0]] for paper in PUBLISHED], published=True))
    columns = ("network", "noise", "rate", "ours", "kept %", "the code", "after the owner's answer", "paper")
    notes = (
        "The rate is a share of the pruned weights; they get Gaussian noise of so many standard "
        "deviations of their layer's kept weights. Paper: decodes / accuracy still within 1 point; how "
        "large its noise is it does not say.",
        "Reading takes only as many light kernels as the code has, the strongest, so that small noise "
        "hides nothing.",
        f"The owner's answer: drop every weight under t, the size that {100 * GIVEN_UP:g} % of the "
        "layer's own kept weights lie under; noise as large as the weights themselves is not caught by "
        "it.",
    )
    return Result(columns, rows, notes, lines, "weights put back, in % of the pruned ones")


if __name__ == "__main__":
    main(sys.modules[__name__])
