"""MPAI-NNW: every method on CIFAR-10, at the middle intensity of each modification."""

from __future__ import annotations

from dataclasses import replace

from experiments.lib.bench import Bench
from experiments.lib.showing import Result
from experiments.mpai.evaluated import FIRST, SMOKE, Size, evaluated, shown
from ticket_sig.cells import Cell
from ticket_sig.evaluation.modifications import MODIFICATIONS

TITLE = "MPAI-NNW: all methods on CIFAR-10"
_DISTILLATION = "distillation"
_QUICK = Size(
    "cifar10",
    "quick",
    "4 epochs, where networks learn on: a further training makes all of them better. Costs are those on "
    "digits. Distillation, of which every network takes 4 epochs more, was done to uchida's alone.",
    *(2, 2, 1, 1),
    epochs=4,
    further=1,
    methods=FIRST,
    modifications=",".join(name for name in MODIFICATIONS if name != _DISTILLATION),
    parts=("imperceptibility", "robustness"),
)
SIZES = {
    "paper": (Size("cifar10", "paper", "One intensity of each modification.", 3, 3, 1, 1, further=20),),
    "quick": (_QUICK, replace(_QUICK, methods=("uchida",), modifications=_DISTILLATION)),
    "smoke": (SMOKE,),
}


def cells(bench: Bench) -> list[Cell]:
    """The reports."""
    return [evaluated(bench, size) for size in SIZES[bench.scale.name]]


def result(bench: Bench) -> Result:
    """One row a method and modification."""
    return shown(bench, *SIZES[bench.scale.name])
