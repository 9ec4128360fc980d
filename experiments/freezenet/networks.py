"""What the FreezeNet experiments stand on: their scales, and the trainings that several of them share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from experiments.lib.bench import Bench, Trained, dense
from experiments.lib.cells import Cell, Measured
from experiments.lib.showing import Line, Result
from ticket_sig.marks import Watermark
from ticket_sig.training import Recipe, Steps

ARCH = "freezenet"
ELEVEN = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_CHANGED = ("before", "written", "accuracy")


@dataclass(frozen=True)
class Size:
    """How large the FreezeNet experiments are done at one scale.

    Attributes:
        dataset, preset, changes: of the trainings.
        seeds: of everything that is trained.
        hit: step at which a watermark enters a training that has begun without one.
        again: length and learning rate of a training that goes on from trained weights.
        shares: of the weights that a watermark fixes.
        attacked: shares of the strong tampering and of the hit.
        draws: watermarks that a network is tampered with, for each share.
        says: what this scale cannot show.
    """

    dataset: str
    preset: str
    changes: Mapping[str, Any]
    seeds: tuple[int, ...]
    hit: Steps
    again: tuple[Steps, float]
    shares: tuple[float, ...]
    attacked: tuple[float, ...]
    draws: int
    says: str


SIZES = {
    "paper": Size(
        "cifar10",
        "quick",
        {"length": Steps(100)},
        (0, 1, 2),
        Steps(50),
        (Steps(100), 0.1),
        ELEVEN,
        (0.1, 0.3, 0.5, 0.7),
        5,
        "As long as the paper's 100 epochs.",
    ),
    "quick": Size(
        "cifar10",
        "quick",
        {"length": Steps(4)},
        (0, 1),
        Steps(2),
        (Steps(2), 0.1),
        ELEVEN,
        (0.1, 0.3, 0.5),
        3,
        "Trained for 4 epochs, and from trained weights for 2, where the paper takes 100. Accuracies are "
        "those of a short schedule, to be compared with each other and not with the paper's.",
    ),
    "smoke": Size(
        "digits",
        "demo",
        {"length": Steps(2)},
        (0, 1),
        Steps(1),
        (Steps(1), 0.1),
        (0.0, 0.1, 1.0),
        (0.1,),
        1,
        "Shows that the scripts run, and nothing else.",
    ),
}


def size(bench: Bench) -> Size:
    """The size of this scale."""
    return SIZES[bench.scale.name]


def recipe_of(bench: Bench, seed: int, *, again: bool = False) -> Recipe:
    """The recipe of a training, or of one that goes on from trained weights."""
    own = size(bench)
    recipe = bench.preset(own.preset, ARCH, own.dataset, **own.changes, seed=seed, rewind=own.hit)
    if not again:
        return recipe
    length, lr = own.again
    return replace(recipe, length=length, lr=lr, rewind=Steps(0, "it"))


def watermark(bench: Bench, share: float, seed: int, use: str = "first") -> Watermark:
    """A watermark over a share of the network's parameters; another for every use and seed."""
    total = sum(p.numel() for p in bench.network(ARCH, size(bench).dataset).parameters())
    data = f"FreezeNet experiment, {use}, share {share}, seed {seed}"
    return Watermark(data.encode(), round(share * total))


def initial(bench: Bench, seed: int) -> dict[str, Tensor]:
    """The initial weights of a seed."""
    return dict(bench.network(ARCH, size(bench).dataset, seed).state_dict())


def learned(bench: Bench, share: float, seed: int) -> Trained:
    """A network trained from the beginning with a watermark over a share of it, or without one."""
    mark = watermark(bench, share, seed) if share else None
    return bench.train(dense(initial(bench, seed)), recipe_of(bench, seed), mark=mark)


def tampered(weights: Mapping[str, Tensor], mark: Watermark) -> Mapping[str, Tensor]:
    """The weights with another watermark written over them."""
    return mark.embed(dense(weights)).weights


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
        "written": test_accuracy(bench, tampered(before, mark)),
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
    bench: Bench,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    notes: Sequence[str],
    lines: Sequence[Line],
    recipe: Recipe,
    x: str = "share of the weights that the watermark fixes",
    spread: str = "seeds",
) -> Result:
    """A result of this family."""
    about = {"recipe": recipe, "says": size(bench).says, "spread": spread}
    return Result(columns, rows, notes, lines, x, "test accuracy", **about)
