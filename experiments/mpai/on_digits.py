"""MPAI-NNW: every method on digits, three intensities of each modification, and what each costs."""

from __future__ import annotations

from experiments.lib.bench import Bench
from experiments.lib.showing import Result
from experiments.mpai.evaluated import SMOKE, Size, evaluated, shown
from ticket_sig.cells import Cell

TITLE = "MPAI-NNW: all methods on digits"
_FULL = Size("digits", "demo", "ResNet-20 on digits, 20 epochs; small images.", 3, 3, 3, 3)
SIZES = {"paper": _FULL, "quick": _FULL, "smoke": SMOKE}


def cells(bench: Bench) -> list[Cell]:
    """The report."""
    return [evaluated(bench, SIZES[bench.scale.name])]


def result(bench: Bench) -> Result:
    """One row a method and modification."""
    return shown(bench, SIZES[bench.scale.name])
