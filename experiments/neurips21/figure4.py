"""Figure 4 of NeurIPS'21: the codes of ResNet-18 read after one-shot magnitude pruning (scheme 2)."""

from __future__ import annotations

from experiments.lib.bench import Bench
from experiments.lib.showing import Result
from experiments.neurips21.code_pictures import code_result
from experiments.neurips21.figure3 import SPARSER, groups
from ticket_sig.cells import Cell

TITLE = "Figure 4: codes read after pruning, ResNet-18"
ARCH = "resnet18"
PUBLISHED = {("resnet18-cifar100", f"intact, pruned {rate} %"): "signature" for rate in (0, 5)}


def cells(bench: Bench) -> list[Cell]:
    """Those of Table 6 for magnitude pruning."""
    return [cell for _, _, of_rate in groups(bench, ARCH) for cell in of_rate]


def result(bench: Bench) -> Result:
    """The codes, wrong modules in red."""
    return code_result(
        bench, TITLE, groups(bench, ARCH), PUBLISHED, ("The paper's is exact at 5 %.",), SPARSER
    )
