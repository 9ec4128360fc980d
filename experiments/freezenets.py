"""What the FreezeNet experiments stand on: their scales, and the trainings that several of them share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench import Bench
from cells import Cell, Measured
from filelock import FileLock
from showing import Line, Result
from torch import Tensor

from ticket_sig.digests import tensor_digest
from ticket_sig.files import read_json, write_json
from ticket_sig.formats.safetensors_file import read_safetensors, write_safetensors
from ticket_sig.models import build
from ticket_sig.training import Recipe, Steps, preset
from ticket_sig.training.device import pick_precision
from ticket_sig.training.evaluate import weights_accuracy
from ticket_sig.training.loop import train
from ticket_sig.watermarks import Watermark

ARCH = "freezenet"
_START = Steps(0)
SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


@dataclass(frozen=True)
class Size:
    """How large the FreezeNet experiments are done at one scale.

    Attributes:
        dataset, preset, changes: of the trainings.
        seeds: of everything that is trained.
        hit: step at which a watermark enters a training that has begun without one.
        again: length and learning rate of a training that goes on from trained weights.
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
        (0.1, 0.5),
        1,
        "Shows that the scripts run, and nothing else.",
    ),
}


@dataclass(frozen=True)
class Network:
    """A trained network: its weights, one entry an epoch, and what it was made with."""

    weights: dict[str, Tensor]
    epochs: list[dict[str, Any]]
    made_with: Mapping[str, Any]


def size(bench: Bench) -> Size:
    """The size of this scale."""
    return SIZES[bench.scale.name]


def recipe_of(bench: Bench, seed: int, *, again: bool = False) -> Recipe:
    """The recipe of a training, or of one that goes on from trained weights."""
    own = size(bench)
    precision = pick_precision("auto", bench.engine.device)
    changes = {**own.changes, "seed": seed, "precision": precision, "rewind": own.hit}
    recipe = preset(own.preset, arch=ARCH, dataset=own.dataset, **changes)
    if not again:
        return recipe
    length, lr = own.again
    return replace(recipe, length=length, lr=lr, rewind=Steps(0, "it"))


def watermark(bench: Bench, share: float, seed: int, use: str = "first") -> Watermark:
    """A watermark over a share of the network's parameters; another for every use and seed."""
    model = build(ARCH, *_ends(bench), seed=0)
    total = sum(p.numel() for p in model.parameters())
    return Watermark(
        f"FreezeNet experiment, {use}, share {share}, seed {seed}".encode(), round(share * total)
    )


def initial(bench: Bench, seed: int) -> dict[str, Tensor]:
    """The initial weights of a seed."""
    return dict(build(ARCH, *_ends(bench), seed=seed).state_dict())


def trained(
    bench: Bench,
    recipe: Recipe,
    weights: Mapping[str, Tensor],
    mark: Watermark | None,
    first: Steps = _START,
) -> Network:
    """A network trained with a watermark held, or none; once, and read from the run folder ever after.

    Args:
        weights: to start from.
        first: where in the schedule to begin.
    """
    given = {
        "recipe": recipe.to_json(),
        "weights": tensor_digest(weights),
        "mark": mark and mark.digest,
        "first": str(first),
    }
    folder = bench.folder_of("freezenet", given)
    with FileLock(folder.with_suffix(".lock")):  # another process may be training the same
        if not (folder / "result.json").exists():
            _train(bench, folder, recipe, weights, mark, first)
    result = read_json(folder / "result.json")
    return Network(read_safetensors(folder / "model.safetensors"), result["epochs"], result["made_with"])


def _train(
    bench: Bench,
    folder: Any,
    recipe: Recipe,
    weights: Mapping[str, Tensor],
    mark: Watermark | None,
    first: Steps,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    data = bench.data(recipe.dataset)
    model = build(ARCH, *_ends(bench))
    model.load_state_dict(weights)
    per_epoch = -(-len(data.hold_out(recipe.validation)[0]) // recipe.batch_size)
    done = train(
        model,
        data,
        recipe,
        bench.engine,
        mark=mark,
        start=first.iterations(per_epoch),
        state=folder / "state.safetensors",
        label=folder.name,
        snapshot=None if first.count else (lambda w: write_safetensors(folder / "hit.safetensors", w)),
    )
    write_safetensors(folder / "model.safetensors", done.weights)
    write_json(folder / "result.json", {"epochs": done.epochs, "made_with": done.made_with})
    (folder / "state.safetensors").unlink(missing_ok=True)


def learned(bench: Bench, share: float, seed: int) -> Network:
    """A network trained from the beginning with a watermark over a share of it."""
    mark = watermark(bench, share, seed) if share else None
    return trained(bench, recipe_of(bench, seed), initial(bench, seed), mark)


def halfway(bench: Bench, seed: int) -> dict[str, Tensor]:
    """The weights of a training without a watermark, where the hit comes."""
    learned(bench, 0.0, seed)
    given = {
        "recipe": recipe_of(bench, seed).to_json(),
        "weights": tensor_digest(initial(bench, seed)),
        "mark": None,
        "first": str(Steps(0)),
    }
    return read_safetensors(bench.folder_of("freezenet", given) / "hit.safetensors")


def test_accuracy(bench: Bench, weights: Mapping[str, Tensor]) -> float:
    """Accuracy on the test split, a share from 0 to 1 as the paper gives it, float32."""
    data = bench.data(size(bench).dataset)
    return weights_accuracy(weights, ARCH, data, bench.engine.device) / 100


def tampered(weights: Mapping[str, Tensor], mark: Watermark) -> dict[str, Tensor]:
    """The weights with another watermark written over them."""
    model = build(ARCH, weights["fc.weight"].shape[0], weights["features.0.weight"].shape[1])
    model.load_state_dict(weights)
    if mark.length:
        mark.apply(model)
    return dict(model.state_dict())


def changed(bench: Bench, before: Mapping[str, Tensor], mark: Watermark, network: Network) -> dict[str, Any]:
    """What a cell keeps of a network that a watermark was written into and that was trained on."""
    return {
        "before": test_accuracy(bench, before),
        "written": test_accuracy(bench, tampered(before, mark)),
        "accuracy": test_accuracy(bench, network.weights),
        "verifies": mark.verify(network.weights),
        "validation": [epoch["validation"] for epoch in network.epochs],
        "made_with": dict(network.made_with),
    }


def cell(bench: Bench, name: str, measure: Callable[[], Measured], *, recipe: Recipe, **asked: Any) -> Cell:
    """A cell: what decides it is the recipe and what is asked."""
    whole = {"experiment": name, "scale": bench.scale.name, "recipe": recipe.to_json(), "asked": asked}
    plain = [f"{key} {value}" for key, value in asked.items() if isinstance(value, (str, int, float))]
    return Cell(" ".join([name, *plain]), whole, measure)


def learning(bench: Bench, share: float, seed: int) -> Cell:
    """Learning ability with a watermark over a share of the network."""

    def measure() -> Measured:
        network = learned(bench, share, seed)
        mark = watermark(bench, share, seed)
        return {
            "accuracy": test_accuracy(bench, network.weights),
            "validation": [epoch["validation"] for epoch in network.epochs],
            "verifies": mark.verify(network.weights),
            "made_with": dict(network.made_with),
        }

    return cell(bench, "freezenet learning", measure, recipe=recipe_of(bench, seed), share=share, seed=seed)


def _ends(bench: Bench) -> tuple[int, int]:
    data = bench.data(size(bench).dataset)
    return data.classes, data.channels


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
