"""FreezeNet, strong tampering: another watermark written over a trained network, which is then retrained."""

from __future__ import annotations

from experiments.freezenet import trained_networks as networks
from experiments.lib.bench import Bench, dense
from experiments.lib.showing import Result, line, summary
from ticket_sig.cells import Cell, Measured

TITLE = "FreezeNet: strong tampering"


def cells(bench: Bench) -> list[Cell]:
    """Every share, retrained and from the beginning, seed by seed."""
    return networks.every_share(bench, networks.size(bench).attacked, retrained, fresh)


def retrained(bench: Bench, share: float, seed: int) -> Cell:
    """The owner's network with a thief's watermark of the same share, before and after retraining."""
    recipe, pretraining = networks.recipe_of(bench, seed, again=True), networks.recipe_of(bench, seed)

    def measure() -> Measured:
        owner = networks.learned(bench, share, seed).weights
        mark = networks.watermark(bench, share, seed, "strong tampering")
        trained = bench.train(dense(owner), recipe, mark=mark)
        kept = networks.changed(bench, owner, mark, trained)
        stands = networks.watermark(bench, share, seed).read(trained.weights).to_json()
        return {"owner": stands, "thief": kept.pop("verifies"), **kept}

    given = pretraining.to_json()
    return bench.cell("freezenet strong", measure, recipe, share=share, seed=seed, pretraining=given)


def fresh(bench: Bench, share: float, seed: int) -> Cell:
    """What the thief reaches without the owner's network, by the same training."""
    recipe = networks.recipe_of(bench, seed, again=True)

    def measure() -> Measured:
        mark = networks.watermark(bench, share, seed, "strong tampering")
        new = dense(bench.initial(networks.ARCH, recipe.dataset, seed))
        return networks.reached(bench, bench.train(new, recipe, mark=mark))

    return bench.cell("freezenet fresh", measure, recipe, share=share, seed=seed)


def result(bench: Bench) -> Result:
    """What the thief gets, beside what the owner had."""
    own, rows, lines = networks.size(bench), [], []
    for share in own.attacked:
        found = networks.of_share(bench, retrained, share)
        values = networks.before_and_after(found)
        scratch = [one["accuracy"] for one in networks.of_share(bench, fresh, share)]
        stands = summary([one["owner"]["matches"] / one["owner"]["length"] for one in found], 4)
        verifies = f"{sum(one['thief'] for one in found)} of {len(found)}"
        rows.append((share, *(summary(v, 3) for v in (*values, scratch)), stands, verifies))
        lines.append(line(f"share {share}", ("owner's", "written over", "retrained"), values))
    length = own.again[0]
    columns = (
        f"share | owner's | written over | retrained, {length} | from the beginning, {length} | "
        "owner's values that stand | thief's verifies"
    )
    notes = [
        "A thief writes a watermark of his own over the owner's, of the same share, and trains on. From the "
        "beginning: the same training of new weights. What a stolen network saves him is the difference.",
    ]
    return networks.shown(columns, rows, notes, lines, "", found=networks.CURVES)
