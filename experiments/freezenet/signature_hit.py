"""FreezeNet, the hit: a watermark that enters a training which has begun without one."""

from __future__ import annotations

from dataclasses import replace

from experiments.freezenet import trained_networks as networks
from experiments.lib.bench import Bench, dense
from experiments.lib.showing import Result, line, summary
from ticket_sig.cells import Cell, Measured

TITLE = "FreezeNet: signature hit during training"


def cells(bench: Bench) -> list[Cell]:
    """Every share, seed by seed."""
    return networks.every_share(bench, networks.size(bench).attacked, hit)


def hit(bench: Bench, share: float, seed: int) -> Cell:
    """Accuracy just before, just after, and at the end of the schedule."""
    recipe, at = networks.recipe_of(bench, seed), str(networks.size(bench).hit)

    def measure() -> Measured:
        before = networks.learned(bench, 0.0, seed).halfway
        mark = networks.watermark(bench, share, seed, "hit")
        trained = bench.train(dense(before), replace(recipe, retrain="rewind"), mark=mark)
        return networks.changed(bench, before, mark, trained)

    return bench.cell("freezenet hit", measure, recipe, share=share, seed=seed, at=at)


def result(bench: Bench) -> Result:
    """The fall and the recovery, beside a watermark held from the beginning."""
    own, rows, lines = networks.size(bench), [], []
    for share in own.attacked:
        values = networks.before_and_after(networks.of_share(bench, hit, share))
        honest = [one["accuracy"] for one in networks.of_share(bench, networks.learning, share)]
        rows.append((share, *(summary(v, 3) for v in (*values, honest))))
        lines.append(line(f"share {share}", ("before", "hit", "at the end"), values))
    columns = f"share | before, after {own.hit} | just after the hit | at the end | held from the beginning"
    notes = [
        f"The training without a watermark is stopped at {own.hit} of its schedule, the watermark is written "
        "in, and the schedule goes on with it held (the optimizer's momentum begins anew).",
    ]
    return networks.shown(columns, rows, notes, lines, "", found=networks.CURVES)
