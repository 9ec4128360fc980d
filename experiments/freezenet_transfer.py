"""FreezeNet, transfer: a trained network that is given a watermark and trained on, over its share.

python experiments/freezenet_transfer.py --scale quick --data DIR --out RUN
"""

from __future__ import annotations

import sys

from bench import Bench
from cells import Cell, Measured
from command import main
from freezenets import (
    SHARES,
    cell,
    changed,
    learned,
    recipe_of,
    shown,
    size,
    trained,
    verifying,
    watermark,
)
from showing import Result, line, summary

TITLE = "FreezeNet: transfer from a pretrained network"
PUBLISHED = (None, 0.879, 0.869, 0.854, 0.817, 0.767, 0.734, 0.625, 0.496, 0.308, None)


def cells(bench: Bench) -> list[Cell]:
    """Every share, seed by seed."""
    return [transferred(bench, share, seed) for seed in size(bench).seeds for share in SHARES]


def transferred(bench: Bench, share: float, seed: int) -> Cell:
    """The network that learnt without a watermark, trained on with one."""
    recipe = recipe_of(bench, seed, again=True)

    def measure() -> Measured:
        before = learned(bench, 0.0, seed).weights
        mark = watermark(bench, share, seed, "transfer")
        network = trained(bench, recipe, before, mark if share else None)
        return changed(bench, before, mark, network)

    given = recipe_of(bench, seed).to_json()
    return cell(
        bench, "freezenet transfer", measure, recipe=recipe, share=share, seed=seed, pretraining=given
    )


def result(bench: Bench) -> Result:
    """Ours beside the paper's."""
    rows, accuracies, written = [], [], []
    for share, published in zip(SHARES, PUBLISHED, strict=True):
        found = bench.store.found(transferred(bench, share, seed) for seed in size(bench).seeds)
        accuracies.append([one["accuracy"] for one in found])
        written.append([one["written"] for one in found])
        verified = verifying(share, found)
        said = "" if published is None else f"{published:.3f}"
        rows.append((share, summary(written[-1], 3), summary(accuracies[-1], 3), verified, said))
    known = [(share, [p]) for share, p in zip(SHARES, PUBLISHED, strict=True) if p is not None]
    lines = [
        line("trained on", SHARES, accuracies),
        line("before training on", SHARES, written),
        line("paper", [share for share, _ in known], [p for _, p in known], True),
    ]
    before = bench.store.found(
        transferred(bench, share, seed) for share in SHARES for seed in size(bench).seeds
    )
    reached = summary(sorted({one["before"] for one in before}), 3)
    notes = [
        f"The pretrained network, one a seed: {reached}. Share 0 is trained on without a watermark, "
        "and gains by that.",
        "Values of up to 1 among weights of a few hundredths leave no more than chance of a network "
        "(`written in`), and 2 epochs are short to recover: most of ours are under the paper's.",
    ]
    columns = ("share", "written in", "trained on", "verifies", "paper")
    return shown(bench, columns, rows, notes, lines, recipe_of(bench, 0, again=True))


if __name__ == "__main__":
    main(sys.modules[__name__])
