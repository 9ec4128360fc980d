"""MPAI-NNW: every method on CIFAR-10, at the middle intensity of each modification."""

from __future__ import annotations

from experiments.lib.bench import Bench
from experiments.lib.showing import Result
from experiments.mpai.evaluated import SMOKE, Size, evaluated, shown
from ticket_sig.cells import Cell

TITLE = "MPAI-NNW: all methods on CIFAR-10"
_QUALITY = ("imperceptibility", "robustness")
SIZES = {
    "paper": Size("cifar10", "paper", "One intensity of each modification.", 3, 3, 1, 1, further=20),
    "quick": Size(
        "cifar10",
        "quick",
        "4 epochs, where networks learn on: a further training makes all of them better. Costs are those on "
        "digits.",
        *(2, 2, 1, 1),
        epochs=4,
        further=1,
        parts=_QUALITY,
    ),
    "smoke": SMOKE,
}


def cells(bench: Bench) -> list[Cell]:
    """The report."""
    return [evaluated(bench, SIZES[bench.scale.name])]


def result(bench: Bench) -> Result:
    """One row a method and modification."""
    return shown(bench, SIZES[bench.scale.name])
