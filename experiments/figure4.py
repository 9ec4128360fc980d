"""Figure 4 of NeurIPS'21: the codes of ResNet-18 read after one-shot magnitude pruning (scheme 2).

python experiments/figure4.py --scale paper --data DIR --out RUN
"""

from __future__ import annotations

import sys

from bench import Bench
from cells import Cell
from codes import code_result
from command import main
from figure3 import groups
from showing import Result, not_run

TITLE = "Figure 4: codes read after pruning, ResNet-18"
ARCH = "resnet18"
PUBLISHED = {("resnet18-cifar100", f"intact, pruned {rate} %"): "signature" for rate in (0, 5)}


def cells(bench: Bench) -> list[Cell]:
    """Those of Table 6 for magnitude pruning."""
    return [cell for _, _, of_rate in groups(bench, ARCH) for cell in of_rate]


def result(bench: Bench) -> Result:
    """The codes, wrong modules in red."""
    notes = (not_run(bench, ["resnet18-cifar10", "resnet18-cifar100"]), "The paper's is exact at 5 %.")
    return code_result(bench, groups(bench, ARCH), PUBLISHED, notes)


if __name__ == "__main__":
    main(sys.modules[__name__])
