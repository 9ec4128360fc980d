"""MPAI-NNW: every method on CIFAR-10, at the middle intensity of each modification."""

from __future__ import annotations

from dataclasses import replace

from experiments.lib.bench import Bench
from experiments.lib.showing import Result
from experiments.mpai.evaluated import FIRST, SMOKE, Size, evaluated, shown
from ticket_sig.cells import Cell
from ticket_sig.evaluation.modifications import MODIFICATIONS

TITLE = "MPAI-NNW: all methods on CIFAR-10"
_LONG = ("distillation", "overwriting")  # 4 and 3 epochs for each network, marked or not
_OTHERS = tuple(name for name in FIRST if name != "uchida")
_QUICK = Size(
    "cifar10",
    "quick",
    "4 epochs, where networks learn on: a further training makes all of them better. Costs are those on "
    "digits. The QR code was placed by similarity, and read without soft decoding.",
    *(2, 2, 1, 1),
    epochs=4,
    further=1,
    methods=FIRST,
    modifications=",".join(name for name in MODIFICATIONS if name not in _LONG),
    parts=("imperceptibility", "robustness"),
)
_LATER = (  # of the same networks
    replace(_QUICK, methods=("uchida",), modifications=",".join(_LONG)),
    replace(_QUICK, methods=("spread", "mirror"), modifications="all"),
    replace(_QUICK, payloads=1, methods=_OTHERS, modifications=",".join(_LONG), parts=("robustness",)),
)
SIZES = {
    "paper": (Size("cifar10", "paper", "One intensity of each modification.", 3, 3, 1, 1, further=20),),
    "quick": (_QUICK, *_LATER),
    "smoke": (SMOKE,),
}


def cells(bench: Bench) -> list[Cell]:
    """The reports."""
    return [evaluated(bench, size) for size in SIZES[bench.scale.name]]


def result(bench: Bench) -> Result:
    """One row a method and modification."""
    return shown(bench, *SIZES[bench.scale.name])
