"""Figure 6 of NeurIPS'21: the codes read after add-on (scheme 2)."""

from __future__ import annotations

from experiments.lib.bench import Bench
from experiments.lib.scales import Subject
from experiments.lib.showing import Result
from experiments.neurips21 import table8
from experiments.neurips21.code_pictures import NOT, code_result
from ticket_sig.cells import Cell

TITLE = "Figure 6: codes read after add-on"
READ = {0.0: "signature", 0.005: "signature", 0.01: "signature", 0.02: NOT, 0.05: NOT, 0.1: NOT}
PUBLISHED = {("resnet20-cifar10", f"add-on {100 * rate:g} %"): text for rate, text in READ.items()}


def groups(bench: Bench) -> list[tuple[str, Subject, list[Cell]]]:
    """Every rate of Table 8."""
    return [
        (f"add-on {100 * rate:g} %", subject, table8.group(bench, subject, rate))
        for subject in bench.scale.subjects
        for rate in table8.RATES
    ]


def cells(bench: Bench) -> list[Cell]:
    """Those of Table 8 with the larger noise."""
    return [cell for _, _, of_rate in groups(bench) for cell in of_rate]


def result(bench: Bench) -> Result:
    """The codes, wrong modules in red."""
    notes = (
        "Light red: a dark module that add-on turned light. Of more light kernels than the code has, the "
        "strongest are read.",
    )
    return code_result(bench, TITLE, groups(bench), PUBLISHED, notes, table8.WHY)
