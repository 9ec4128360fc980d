"""Figure 3 of NeurIPS'21: the codes of ResNet-20 read after one-shot magnitude pruning (scheme 2)."""

from __future__ import annotations

from experiments.lib.bench import Bench
from experiments.lib.scales import Subject
from experiments.lib.showing import Result
from experiments.neurips21 import table6
from experiments.neurips21.code_pictures import code_result
from ticket_sig.cells import Cell

TITLE = "Figure 3: codes read after pruning, ResNet-20"
ARCH = "resnet20"
SPARSER = (
    "The sparser a ticket, the more of its kernels keep a single weight: if that is pruned, a light module "
    "of the code turns dark."
)
READ = {0.0: "signature", 0.05: "signature", 0.1: "signature", 0.2: "sigiature"}
PUBLISHED = {
    ("resnet20-cifar10", f"{model}, pruned {100 * rate:g} %"): text
    for model in ("shipped", "intact")
    for rate, text in READ.items()
}


def groups(bench: Bench, arch: str = ARCH) -> list[tuple[str, Subject, list[Cell]]]:
    """Every rate on every model of Table 6."""
    return [
        (f"{model}, pruned {100 * rate:g} %", subject, table6.group(bench, subject, model, "magnitude", rate))
        for subject in bench.scale.subjects
        if subject.arch == arch
        for model in table6.models(bench)
        for rate in table6.RATES
    ]


def cells(bench: Bench) -> list[Cell]:
    """Those of Table 6 for magnitude pruning."""
    return [cell for _, _, of_rate in groups(bench) for cell in of_rate]


def result(bench: Bench) -> Result:
    """The codes, wrong modules in red."""
    notes = (
        "Dark red: a light module that pruning turned dark. Function patterns are put back by the "
        "reader. Where there are several seeds the picture is of the first.",
    )
    return code_result(bench, TITLE, groups(bench), PUBLISHED, notes, SPARSER)
