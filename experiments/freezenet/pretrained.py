"""FreezeNet, transfer: a trained network that is given a watermark and trained on, over its share."""

from __future__ import annotations

from experiments.freezenet.networks import (
    before_and_after,
    changed,
    every_share,
    learned,
    of_share,
    recipe_of,
    shown,
    size,
    verifying,
    watermark,
)
from experiments.lib.bench import Bench, dense
from experiments.lib.cells import Cell, Measured
from experiments.lib.showing import Result, line, summary

TITLE = "FreezeNet: transfer from a pretrained network"
PUBLISHED = {
    0.1: 0.879,
    0.2: 0.869,
    0.3: 0.854,
    0.4: 0.817,
    0.5: 0.767,
    0.6: 0.734,
    0.7: 0.625,
    0.8: 0.496,
    0.9: 0.308,
}


def cells(bench: Bench) -> list[Cell]:
    """Every share, seed by seed."""
    return every_share(bench, size(bench).shares, transferred)


def transferred(bench: Bench, share: float, seed: int) -> Cell:
    """The network that learnt without a watermark, trained on with one."""
    recipe, pretraining = recipe_of(bench, seed, again=True), recipe_of(bench, seed).to_json()

    def measure() -> Measured:
        before = learned(bench, 0.0, seed).weights
        mark = watermark(bench, share, seed, "transfer")
        return changed(bench, before, mark, bench.train(dense(before), recipe, mark=mark if share else None))

    asked = {"share": share, "seed": seed, "pretraining": pretraining}
    return bench.cell("freezenet transfer", measure, recipe, **asked)


def result(bench: Bench) -> Result:
    """Ours beside the paper's."""
    rows, ends, shares = [], [], size(bench).shares
    for share in shares:
        found = of_share(bench, transferred, share)
        ends.append(before_and_after(found))
        published = f"{PUBLISHED[share]:.3f}" if share in PUBLISHED else ""
        _, written, after = (summary(values, 3) for values in ends[-1])
        rows.append((share, written, after, verifying(share, found), published))
    before, written, after = zip(*ends, strict=True)
    known = [share for share in shares if share in PUBLISHED]
    lines = [
        line("trained on", shares, after),
        line("before training on", shares, written),
        line("paper", known, [[PUBLISHED[share]] for share in known], True),
    ]
    reached = summary(sorted({one for values in before for one in values}), 3)
    notes = [
        f"The pretrained network, one a seed: {reached}. Share 0 is trained on without a watermark, "
        "and gains by that.",
        "Values of up to 1 among weights of a few hundredths leave no more than chance of a network "
        "(`written in`), and 2 epochs are short to recover: most of ours are under the paper's.",
    ]
    columns = ("share", "written in", "trained on", "verifies", "paper")
    return shown(bench, columns, rows, notes, lines, recipe_of(bench, 0, again=True))
