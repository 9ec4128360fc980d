"""FreezeNet, the hit: a watermark that enters a training which has begun without one.

python experiments/freezenet_hit.py --scale quick --data DIR --out RUN
"""

from __future__ import annotations

import sys

from bench import Bench
from cells import Cell, Measured
from command import main
from freezenets import (
    cell,
    changed,
    halfway,
    learning,
    recipe_of,
    shown,
    size,
    trained,
    watermark,
)
from showing import Result, line, summary

TITLE = "FreezeNet: signature hit during training"


def cells(bench: Bench) -> list[Cell]:
    """Every share, seed by seed."""
    return [hit(bench, share, seed) for seed in size(bench).seeds for share in size(bench).attacked]


def hit(bench: Bench, share: float, seed: int) -> Cell:
    """Accuracy just before, just after, and at the end of the schedule."""
    recipe, at = recipe_of(bench, seed), size(bench).hit

    def measure() -> Measured:
        before = halfway(bench, seed)
        mark = watermark(bench, share, seed, "hit")
        network = trained(bench, recipe, before, mark, at)
        return changed(bench, before, mark, network)

    return cell(bench, "freezenet hit", measure, recipe=recipe, share=share, seed=seed, at=str(at))


def result(bench: Bench) -> Result:
    """The fall and the recovery, beside a watermark held from the beginning."""
    own, rows, lines = size(bench), [], []
    for share in own.attacked:
        found = bench.store.found(hit(bench, share, seed) for seed in own.seeds)
        honest = bench.store.found(learning(bench, share, seed) for seed in own.seeds)
        values = [[one[what] for one in found] for what in ("before", "written", "accuracy")]
        scratch = summary([one["accuracy"] for one in honest], 3)
        rows.append((share, *(summary(v, 3) for v in values), scratch))
        lines.append(line(f"share {share}", ("before", "hit", "at the end"), values))
    columns = (
        "share",
        f"before, after {own.hit}",
        "just after the hit",
        "at the end",
        "held from the beginning",
    )
    notes = [
        f"The training without a watermark is stopped at {own.hit} of its schedule, the watermark is written "
        "in, and the schedule goes on with it held (the optimizer's momentum begins anew).",
        "The paper shows this as curves, without numbers that we know of.",
    ]
    return shown(bench, columns, rows, notes, lines, recipe_of(bench, 0), "")


if __name__ == "__main__":
    main(sys.modules[__name__])
