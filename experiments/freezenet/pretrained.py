"""FreezeNet, transfer: a trained network that is given a watermark and trained on, over its share."""

from __future__ import annotations

from experiments.freezenet import trained_networks as networks
from experiments.lib.bench import Bench, dense
from experiments.lib.judging import Beside
from experiments.lib.showing import Result, line, summary
from ticket_sig.cells import Cell, Measured

TITLE = "FreezeNet: transfer from a pretrained network"
_ACCURACIES = (0.879, 0.869, 0.854, 0.817, 0.767, 0.734, 0.625, 0.496, 0.308)
PUBLISHED = dict(zip(networks.ELEVEN[1:-1], _ACCURACIES, strict=True))


def cells(bench: Bench) -> list[Cell]:
    """Every share, seed by seed."""
    return networks.every_share(bench, networks.size(bench).shares, transferred)


def transferred(bench: Bench, share: float, seed: int) -> Cell:
    """The network that learnt without a watermark, trained on with one."""
    recipe, pretraining = networks.recipe_of(bench, seed, again=True), networks.recipe_of(bench, seed)

    def measure() -> Measured:
        before = networks.learned(bench, 0.0, seed).weights
        mark = networks.watermark(bench, share, seed, "transfer")
        trained = bench.train(dense(before), recipe, mark=mark if share else None)
        return networks.changed(bench, before, mark, trained)

    given = pretraining.to_json()
    return bench.cell("freezenet transfer", measure, recipe, share=share, seed=seed, pretraining=given)


def result(bench: Bench) -> Result:
    """Ours beside the paper's."""
    rows, beside, ends, shares = (
        [],
        Beside(why="A short schedule to recover in."),
        [],
        networks.size(bench).shares,
    )
    for share in shares:
        found = networks.of_share(bench, transferred, share)
        ends.append(networks.before_and_after(found))
        if share in PUBLISHED:
            networks.compare(bench, beside, ends[-1][-1], PUBLISHED[share])
        published = f"{PUBLISHED[share]:.3f}" if share in PUBLISHED else ""
        _, *accuracies = (summary(values, 3) for values in ends[-1])
        rows.append((share, *accuracies, networks.verifying(share, found), published))
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
        "(`written in`).",
    ]
    columns = "share | written in | trained on | verifies | paper"
    return networks.shown(columns, rows, notes, lines, beside=beside)
