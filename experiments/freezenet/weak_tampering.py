"""FreezeNet, weak tampering: another watermark written over a trained network, without retraining."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import curve_fit

from experiments.freezenet.trained_networks import (
    compare,
    learned,
    recipe_of,
    shown,
    size,
    test_accuracy,
    watermark,
)
from experiments.lib.bench import Bench, written_over
from experiments.lib.judging import Beside
from experiments.lib.showing import Line, Result, line, summary
from ticket_sig.cells import Cell, Measured

TITLE = "FreezeNet: weak tampering"
OWNER = 0.1  # share of the owner's own watermark
TAMPERED = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1)
WHY = "A short schedule: there is less to fall."
PUBLISHED_FALL = 67.0  # 0.1 + 0.8 exp(-67 r)


def cells(bench: Bench) -> list[Cell]:
    """Every share, watermark by watermark, seed by seed."""
    own = size(bench)
    return [
        written(bench, share, draw, seed)
        for seed in own.seeds
        for draw in range(own.draws)
        for share in TAMPERED
        if share or not draw  # without another watermark there is one network
    ]


def written(bench: Bench, share: float, draw: int, seed: int) -> Cell:
    """The owner's network, and what is left of it once another watermark stands in it."""
    recipe = recipe_of(bench, seed)

    def measure() -> Measured:
        trained = learned(bench, OWNER, seed)
        other = watermark(bench, share, seed, f"weak tampering {draw}")
        weights = written_over(trained.weights, other)
        return {
            "accuracy": test_accuracy(bench, weights),
            "owner": watermark(bench, OWNER, seed).read(weights).to_json(),
            "thief": other.verify(weights),
            "made_with": trained.made_with,
        }

    return bench.cell("freezenet weak", measure, recipe, share=share, draw=draw, seed=seed, owner=OWNER)


def fall(share: Any, rate: float = PUBLISHED_FALL, height: float = 0.8) -> Any:
    """The paper's form of the fall, for shares of any shape: chance, 0.1, and a part that decays."""
    return 0.1 + height * np.exp(-rate * np.asarray(share))


def result(bench: Bench) -> Result:
    """The fall, and its fit."""
    own, rows, accuracies, beside = size(bench), [], [], Beside(why=WHY)
    for share in TAMPERED:
        draws = range(own.draws if share else 1)
        found = bench.store.found(written(bench, share, d, s) for s in own.seeds for d in draws)
        accuracies.append([one["accuracy"] for one in found])
        compare(bench, beside, accuracies[-1], float(fall(share)))
        stands = [one["owner"]["matches"] / one["owner"]["length"] for one in found]
        rows.append((share, summary(accuracies[-1], 3), summary(stands, 4), f"{fall(share):.3f}"))
    grid, lines = [n / 1000 for n in range(101)], [line("ours", TAMPERED, accuracies)]
    notes = [
        f"The network carries the owner's watermark over a share of {OWNER}; another one of the share r is "
        f"written over it, {own.draws} for each seed, and the owner's no longer verifies."
    ]
    points = [(share, value) for share, values in zip(TAMPERED, accuracies, strict=True) for value in values]
    if len(points) > 2:
        x, y = zip(*points, strict=True)
        (rate, height), _ = curve_fit(fall, x, y, p0=(PUBLISHED_FALL, 0.8))
        notes.append(f"Fit: 0.1 + {height:.2f} exp(-{rate:.0f} r); paper: 0.1 + 0.8 exp(-67 r).")
        lines.append(Line("our fit", grid, fall(grid, rate, height).tolist()))
    lines.append(Line("paper", grid, fall(grid).tolist(), published=True))
    columns = "share r | accuracy | owner's values that stand | paper's fit"
    return shown(columns, rows, notes, lines, "share r", beside=beside, spread="watermarks")
