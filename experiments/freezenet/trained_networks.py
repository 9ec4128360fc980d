"""What the FreezeNet experiments stand on: their scales, and the trainings that several of them share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from experiments.lib.bench import Bench, Trained, dense, written_over
from experiments.lib.judging import Beside
from experiments.lib.showing import Line, Result
from ticket_sig.cells import Cell, Measured
from ticket_sig.marks import Watermark
from ticket_sig.training import Recipe, Steps

ARCH = "freezenet"
CURVES = "the paper shows this as curves, without numbers that we know of"
ELEVEN = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_CHANGED = ("before", "written", "accuracy")


@dataclass(frozen=True)
class Size:
    """How large the FreezeNet experiments are done at one scale.

    Attributes:
        length: of a training.
        hit: step at which a watermark enters a training that has begun without one.
        again: length and learning rate of a training that goes on from trained weights.
        seeds: of everything that is trained.
        attacked: shares of the strong tampering and of the hit.
        draws: watermarks that a network is tampered with, for each share.
        shares: of the weights that a watermark fixes.
        dataset, preset: of the trainings.
    """

    length: Steps
    hit: Steps
    again: tuple[Steps, float]
    seeds: tuple[int, ...]
    attacked: tuple[float, ...]
    draws: int
    shares: tuple[float, ...] = ELEVEN
    dataset: str = "cifar10"
    preset: str = "quick"


SIZES = {
    "paper": Size(
        length=Steps(100),
        hit=Steps(50),
        again=(Steps(100), 0.1),
        seeds=(0, 1, 2),
        attacked=(0.1, 0.3, 0.5, 0.7),
        draws=5,
    ),
    "quick": Size(
        length=Steps(4),
        hit=Steps(2),
        again=(Steps(2), 0.1),
        seeds=(0, 1, 2),
        attacked=(0.1, 0.3, 0.5),
        draws=3,
    ),
    "smoke": Size(
        length=Steps(2),
        hit=Steps(1),
        again=(Steps(1), 0.1),
        seeds=(0,),
        attacked=(0.1,),
        draws=1,
        shares=(0.0, 0.1),
        dataset="digits",
        preset="demo",
    ),
}


def size(bench: Bench) -> Size:
    """The size of this scale."""
    return SIZES[bench.scale.name]


def recipe_of(bench: Bench, seed: int, *, again: bool = False) -> Recipe:
    """The recipe of a training, or of one that goes on from trained weights."""
    own = size(bench)
    recipe = bench.preset(own.preset, ARCH, own.dataset, length=own.length, seed=seed, rewind=own.hit)
    if not again:
        return recipe
    length, lr = own.again
    return replace(recipe, length=length, lr=lr, rewind=Steps(0, "it"))


def watermark(bench: Bench, share: float, seed: int, use: str = "first") -> Watermark:
    """A watermark over a share of the network's parameters; another for every use and seed."""
    total = sum(p.numel() for p in bench.network(ARCH, size(bench).dataset).parameters())
    data = f"FreezeNet experiment, {use}, share {share}, seed {seed}"
    return Watermark(data.encode(), round(share * total))


def learned(bench: Bench, share: float, seed: int) -> Trained:
    """A network trained from the beginning with a watermark over a share of it, or without one."""
    mark = watermark(bench, share, seed) if share else None
    begun = dense(bench.initial(ARCH, size(bench).dataset, seed))
    return bench.train(begun, recipe_of(bench, seed), mark=mark)


def test_accuracy(bench: Bench, weights: Mapping[str, Tensor]) -> float:
    """Accuracy on the test split, a share from 0 to 1 as the paper gives it, float32."""
    return bench.accuracy(weights, ARCH, size(bench).dataset) / 100


def reached(bench: Bench, trained: Trained) -> dict[str, Any]:
    """What a cell keeps of a training."""
    return {
        "accuracy": test_accuracy(bench, trained.weights),
        "validation": trained.validation,
        "made_with": trained.made_with,
    }


def changed(bench: Bench, before: Mapping[str, Tensor], mark: Watermark, trained: Trained) -> dict[str, Any]:
    """What a cell keeps of a network that a watermark was written into and that was trained on."""
    return {
        "before": test_accuracy(bench, before),
        "written": test_accuracy(bench, written_over(before, mark)),
        "verifies": mark.verify(trained.weights),
        **reached(bench, trained),
    }


def learning(bench: Bench, share: float, seed: int) -> Cell:
    """Learning ability with a watermark over a share of the network."""

    def measure() -> Measured:
        trained = learned(bench, share, seed)
        verifies = watermark(bench, share, seed).verify(trained.weights)
        return {"verifies": verifies, **reached(bench, trained)}

    return bench.cell("freezenet learning", measure, recipe_of(bench, seed), share=share, seed=seed)


OfShare = Callable[[Bench, float, int], Cell]


def every_share(bench: Bench, shares: Sequence[float], *kinds: OfShare) -> list[Cell]:
    """Cells of every kind for every share, seed by seed."""
    return [kind(bench, share, seed) for seed in size(bench).seeds for share in shares for kind in kinds]


def of_share(bench: Bench, kind: OfShare, share: float) -> list[Measured]:
    """What was measured for a share, of every seed."""
    return bench.store.found(kind(bench, share, seed) for seed in size(bench).seeds)


def before_and_after(found: Sequence[Measured]) -> list[list[float]]:
    """Accuracies before a watermark was written in, just after, and at the end."""
    return [[one[what] for one in found] for what in _CHANGED]


def verifying(share: float, found: Sequence[Measured]) -> str:
    """In how many networks the watermark stands; an empty one stands everywhere, which says nothing."""
    return f"{sum(one['verifies'] for one in found)} of {len(found)}" if share else "no watermark"


def shown(
    columns: str,
    rows: Sequence[Sequence[object]],
    notes: Sequence[str],
    lines: Sequence[Line],
    x: str = "share of the weights that the watermark fixes",
    **more: Any,
) -> Result:
    """A result of this family."""
    return Result(columns, rows, notes, lines, x, "test accuracy", **more)


def compare(bench: Bench, beside: Beside, accuracies: Sequence[float], published: float) -> None:
    """A published accuracy, a share from 0 to 1, beside ours."""
    ours = [100 * one for one in accuracies]
    beside.number(f"{ARCH}-{size(bench).dataset}", "test %", ours, 100 * published)
