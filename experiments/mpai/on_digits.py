"""MPAI-NNW: every method on digits, three intensities of each modification, and what each costs."""

from __future__ import annotations

from dataclasses import replace

from experiments.lib.bench import Bench
from experiments.lib.showing import Result
from experiments.mpai.evaluated import FIRST, SMOKE, Size, evaluated, shown
from ticket_sig.cells import Cell

TITLE = "MPAI-NNW: all methods on digits"
_FULL = Size("digits", "demo", "ResNet-20 on digits, 20 epochs; small images.", 3, 3, 3, 3, methods=FIRST)
_LATER = replace(_FULL, methods=("spread", "mirror"))
_SHORT = replace(
    _LATER,
    models=2,
    payloads=2,
    trained_payloads=1,
    intensities=1,
    parts=("imperceptibility", "robustness"),
)
SIZES = {"paper": (_FULL, _LATER), "quick": (_FULL, _SHORT), "smoke": (SMOKE,)}


def cells(bench: Bench) -> list[Cell]:
    """The reports."""
    return [evaluated(bench, size) for size in SIZES[bench.scale.name]]


def result(bench: Bench) -> Result:
    """One row a method and modification."""
    return shown(bench, *SIZES[bench.scale.name])
