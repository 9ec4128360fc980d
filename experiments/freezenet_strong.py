"""FreezeNet, strong tampering: another watermark written over a trained network, which is then retrained.

python experiments/freezenet_strong.py --scale quick --data DIR --out RUN
"""

from __future__ import annotations

import sys

from bench import Bench
from cells import Cell, Measured
from command import main
from freezenets import (
    cell,
    initial,
    learned,
    recipe_of,
    shown,
    size,
    tampered,
    test_accuracy,
    trained,
    watermark,
)
from showing import Result, line, summary

TITLE = "FreezeNet: strong tampering"


def cells(bench: Bench) -> list[Cell]:
    """Every share, retrained and from the beginning, seed by seed."""
    return [
        make(bench, share, seed)
        for seed in size(bench).seeds
        for share in size(bench).attacked
        for make in (retrained, fresh)
    ]


def retrained(bench: Bench, share: float, seed: int) -> Cell:
    """The owner's network with a thief's watermark of the same share, before and after retraining."""
    recipe = recipe_of(bench, seed, again=True)

    def measure() -> Measured:
        owner = learned(bench, share, seed).weights
        mark = watermark(bench, share, seed, "strong tampering")
        network = trained(bench, recipe, owner, mark)
        return {
            "before": test_accuracy(bench, owner),
            "written": test_accuracy(bench, tampered(owner, mark)),
            "accuracy": test_accuracy(bench, network.weights),
            "owner": watermark(bench, share, seed).read(network.weights).to_json(),
            "thief": mark.verify(network.weights),
            "validation": [epoch["validation"] for epoch in network.epochs],
            "made_with": dict(network.made_with),
        }

    given = recipe_of(bench, seed).to_json()
    return cell(bench, "freezenet strong", measure, recipe=recipe, share=share, seed=seed, pretraining=given)


def fresh(bench: Bench, share: float, seed: int) -> Cell:
    """What the thief reaches without the owner's network, by the same training."""
    recipe = recipe_of(bench, seed, again=True)

    def measure() -> Measured:
        mark = watermark(bench, share, seed, "strong tampering")
        network = trained(bench, recipe, initial(bench, seed), mark)
        return {
            "accuracy": test_accuracy(bench, network.weights),
            "made_with": dict(network.made_with),
        }

    return cell(bench, "freezenet fresh", measure, recipe=recipe, share=share, seed=seed)


def result(bench: Bench) -> Result:
    """What the thief gets, beside what the owner had."""
    own, rows, lines = size(bench), [], []
    for share in own.attacked:
        found = bench.store.found(retrained(bench, share, seed) for seed in own.seeds)
        honest = bench.store.found(fresh(bench, share, seed) for seed in own.seeds)
        values = [[one[what] for one in found] for what in ("before", "written", "accuracy")]
        stands = summary([one["owner"]["matches"] / one["owner"]["length"] for one in found], 4)
        verifies = f"{sum(one['thief'] for one in found)} of {len(found)}"
        scratch = summary([one["accuracy"] for one in honest], 3)
        rows.append((share, *(summary(v, 3) for v in values), scratch, stands, verifies))
        lines.append(line(f"share {share}", ("owner's", "written over", "retrained"), values))
    length = own.again[0]
    columns = (
        "share",
        "owner's",
        "written over",
        f"retrained, {length}",
        f"from the beginning, {length}",
        "owner's values that stand",
        "thief's verifies",
    )
    notes = [
        "A thief writes a watermark of his own over the owner's, of the same share, and trains on. From the "
        "beginning: the same training of new weights. What a stolen network saves him is the difference.",
        "The paper shows this as curves, without numbers that we know of.",
    ]
    return shown(bench, columns, rows, notes, lines, recipe_of(bench, 0, again=True), "")


if __name__ == "__main__":
    main(sys.modules[__name__])
