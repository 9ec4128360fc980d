"""FreezeNet, learning ability: accuracy of a network that is trained with a watermark, over its share."""

from __future__ import annotations

from experiments.freezenet import trained_networks as networks
from experiments.lib.bench import Bench
from experiments.lib.judging import Beside
from experiments.lib.showing import Result, line, summary
from ticket_sig.cells import Cell

TITLE = "FreezeNet: learning ability"
WHY = (
    "At small shares our schedule is too short: twice as long gives more. At large shares the size of the "
    "values costs most, on (-1, 1) as in the paper; no larger than initial weights they cost far less. The "
    "author's first code also trains with dropout, which costs as much again; ours has none, which may be "
    "why it lies above. The next table tries each change alone."
)
_ACCURACIES = (0.882, 0.867, 0.844, 0.830, 0.805, 0.784, 0.737, 0.655, 0.396, 0.377, 0.100)
PUBLISHED = dict(zip(networks.ELEVEN, _ACCURACIES, strict=True))


def cells(bench: Bench) -> list[Cell]:
    """Every share, seed by seed."""
    return networks.every_share(bench, networks.size(bench).shares, networks.learning)


def result(bench: Bench) -> Result:
    """Ours beside the paper's."""
    rows, beside, accuracies, shares = [], Beside(why=WHY), [], networks.size(bench).shares
    for share in shares:
        found = networks.of_share(bench, networks.learning, share)
        accuracies.append([cell["accuracy"] for cell in found])
        networks.compare(bench, beside, accuracies[-1], PUBLISHED[share])
        verified = networks.verifying(share, found)
        rows.append((share, summary(accuracies[-1], 3), verified, f"{PUBLISHED[share]:.3f}"))
    published = [[PUBLISHED[share]] for share in shares]
    lines = [line("ours", shares, accuracies), line("paper", shares, published, True)]
    notes = [
        "The watermark is written in before the first step and after every one; `verifies`: after training.",
    ]
    columns = "share | accuracy | verifies | paper, 100 epochs"
    return networks.shown(columns, rows, notes, lines, beside=beside)
