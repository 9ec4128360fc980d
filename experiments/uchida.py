"""Uchida: bits taught to one layer of trained networks by fine-tuning, and what that costs in accuracy.

python experiments/uchida.py --scale quick --data DIR --out RUN
"""

from __future__ import annotations

import hashlib
import statistics
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench import CHECKPOINTS, Bench
from cells import Cell, Measured
from command import main
from filelock import FileLock
from freezenets import cell, learned
from freezenets import recipe_of as freezenet_recipe
from showing import Result, summary
from torch import Tensor

import ticket_sig
from ticket_sig import Mask, Ticket
from ticket_sig.digests import tensor_digest
from ticket_sig.formats import load
from ticket_sig.models import build
from ticket_sig.signatures.keyed import keyed_words
from ticket_sig.training import Recipe, Steps, preset
from ticket_sig.training.device import pick_precision
from ticket_sig.training.evaluate import weights_accuracy
from ticket_sig.watermarks import Mark, Uchida

TITLE = "Uchida: 64 bits by fine-tuning"
BITS, PAYLOADS = 64, 3
_SHIPPED, _LEARNED = "the shipped one", "as the FreezeNet experiments train it"


@dataclass(frozen=True)
class Size:
    """How large the experiment is done at one scale.

    Attributes:
        dataset, preset: of the trainings.
        networks: where each network's weights come from: shipped, trained by the FreezeNet experiments, or
            trained from the beginning for so long.
        again: length and learning rate of the fine-tuning.
        says: what this scale cannot show.
    """

    dataset: str
    preset: str
    networks: Mapping[str, str | Steps]
    again: tuple[Steps, float]
    says: str


SIZES = {
    "paper": Size(
        "cifar10",
        "quick",
        {"resnet20": _SHIPPED, "freezenet": _LEARNED, "resnet20-proj": Steps(36)},
        (Steps(20), 0.02),
        "Fine-tuned for 20 epochs.",
    ),
    "quick": Size(
        "cifar10",
        "quick",
        {"resnet20": _SHIPPED, "freezenet": _LEARNED, "resnet20-proj": Steps(2)},
        (Steps(1), 0.02),
        "Fine-tuned for one epoch. resnet20 is the shipped dense network; freezenet was trained for 4 epochs "
        "and resnet20-proj for 2, so that fine-tuning still teaches them: what they reach is to be compared "
        "with the control's alone.",
    ),
    "smoke": Size(
        "digits",
        "demo",
        {"resnet20": Steps(1), "freezenet": _LEARNED, "resnet20-proj": Steps(1)},
        (Steps(2), 0.1),
        "Shows that the script runs, and nothing else.",
    ),
}


def cells(bench: Bench) -> list[Cell]:
    """Every network without a mark and with each payload."""
    networks = size(bench).networks
    marks = [marked(bench, arch, index) for index in range(PAYLOADS) for arch in networks]
    return [*(control(bench, arch) for arch in networks), *marks]


def size(bench: Bench) -> Size:
    """The size of this scale."""
    return SIZES[bench.scale.name]


def control(bench: Bench, arch: str) -> Cell:
    """A network fine-tuned without a mark."""

    def measure() -> Measured:
        weights = start(bench, arch)
        trained = fine_tuned(bench, weights, recipe_of(bench, arch))
        return {
            "before": accuracy(bench, arch, weights),
            "accuracy": accuracy(bench, arch, trained.weights),
            "made_with": dict(trained.history[-1].made_with or {}),
        }

    asked = {"network": arch, "start": how_started(bench, arch)}
    return cell(bench, "uchida control", measure, recipe=recipe_of(bench, arch), **asked)


def marked(bench: Bench, arch: str, index: int) -> Cell:
    """A network fine-tuned with a mark, and the same mark written without training."""
    mark = mark_of(bench, arch, index)

    def measure() -> Measured:
        weights = start(bench, arch)
        written = mark.embed(dense(weights)).weights
        trained = fine_tuned(bench, weights, recipe_of(bench, arch), mark)
        other = fine_tuned(bench, weights, recipe_of(bench, arch))
        reading = mark.read(trained.weights)
        return {
            "accuracy": accuracy(bench, arch, trained.weights),
            "wrong": reading.wrong,
            "least_margin": min(reading.margins),
            "log10_p": reading.log10_p,
            "wrong_in_control": mark.read(other.weights).wrong,
            "written": {
                "accuracy": accuracy(bench, arch, written),
                "wrong": mark.read(written).wrong,
                "log10_p": mark.read(written).log10_p,
            },
            "made_with": dict(trained.history[-1].made_with or {}),
        }

    asked = {"network": arch, "payload": index, "start": how_started(bench, arch), "mark": mark.to_json()}
    return cell(bench, "uchida", measure, recipe=recipe_of(bench, arch), **asked)


def mark_of(bench: Bench, arch: str, index: int) -> Uchida:
    """A mark of its own for every network and payload; its key is no secret, so that it can be repeated."""
    key = hashlib.sha256(f"Uchida experiment, {arch}, payload {index}".encode()).digest()
    payload = keyed_words(key, "payload", BITS) % 2 == 1
    return Uchida.on(initial(bench, arch), payload.tolist(), key=key)


def initial(bench: Bench, arch: str) -> dict[str, Tensor]:
    """The initial weights of a network."""
    data = bench.data(size(bench).dataset)
    return dict(build(arch, data.classes, data.channels, seed=0).state_dict())


def recipe_of(bench: Bench, arch: str, length: Steps | None = None) -> Recipe:
    """The recipe of the fine-tuning, or of a training from the beginning of this length."""
    own = size(bench)
    precision = pick_precision("auto", bench.engine.device)
    changes: dict[str, Any] = {"length": length}
    if length is None:
        changes = dict(zip(("length", "lr"), own.again, strict=True))
    return preset(own.preset, arch=arch, dataset=own.dataset, precision=precision, **changes)


def how_started(bench: Bench, arch: str) -> dict[str, Any]:
    """What decides the weights that fine-tuning starts from."""
    source = size(bench).networks[arch]
    if isinstance(source, Steps):
        return {"recipe": recipe_of(bench, arch, source).to_json()}
    if source == _LEARNED:
        return {"recipe": freezenet_recipe(bench, 0).to_json()}
    return {"weights": tensor_digest(start(bench, arch))}


def start(bench: Bench, arch: str) -> Mapping[str, Tensor]:
    """The weights that fine-tuning starts from."""
    source = size(bench).networks[arch]
    if isinstance(source, Steps):
        return fine_tuned(bench, initial(bench, arch), recipe_of(bench, arch, source)).weights
    if source == _LEARNED:
        return learned(bench, 0.0, 0).weights
    return load(CHECKPOINTS / f"{arch}-{size(bench).dataset}-dense").ticket.weights


def dense(weights: Mapping[str, Tensor]) -> Ticket:
    """A network of which nothing is pruned."""
    return Ticket(weights=weights, mask=Mask.full({n: w for n, w in weights.items() if w.ndim >= 2}))


def fine_tuned(
    bench: Bench, weights: Mapping[str, Tensor], recipe: Recipe, mark: Mark | None = None
) -> Ticket:
    """A network trained on with a mark, or without; once, and read from the run folder ever after."""
    given = {
        "recipe": recipe.to_json(),
        "weights": tensor_digest(weights),
        "mark": mark.digest if mark else None,
    }
    folder, data = bench.folder_of("uchida", given), bench.data(recipe.dataset)
    with FileLock(folder.with_suffix(".lock")):  # another process may be training the same
        return ticket_sig.retrain(
            dense(weights), recipe, data, folder, start="model", mark=mark, engine=bench.engine
        )


def accuracy(bench: Bench, arch: str, weights: Mapping[str, Tensor]) -> float:
    """Test accuracy in %, float32."""
    return weights_accuracy(weights, arch, bench.data(size(bench).dataset), bench.engine.device)


def result(bench: Bench) -> Result:
    """One row a network, the payloads side by side."""
    rows, errors, elsewhere = [], [], []
    for arch in size(bench).networks:
        honest = bench.store.measured(control(bench, arch))
        found = bench.store.found(marked(bench, arch, index) for index in range(PAYLOADS))
        if honest is None or not found:
            continue
        mark = mark_of(bench, arch, 0)
        drops = [honest["accuracy"] - one["accuracy"] for one in found]
        written = [honest["before"] - one["written"]["accuracy"] for one in found]
        errors += [one["wrong"] for one in found]
        elsewhere += [one["wrong_in_control"] for one in found]
        rows.append(
            (
                arch,
                f"{mark.layer}, {mark.capacity}",
                f"{honest['before']:.2f}",
                f"{honest['accuracy']:.2f}",
                summary([one["accuracy"] for one in found]),
                summary(drops),
                ", ".join(f"{one['wrong'] / BITS:.3f}" for one in found),
                ", ".join(f"{one['log10_p']:.1f}" for one in found),
                ", ".join(str(one["wrong_in_control"]) for one in found),
                summary(written),
            )
        )
    columns = (
        "network",
        "layer, weights in a filter",
        "before",
        "control",
        "marked",
        "drop",
        "bit error rates",
        "log10 p",
        f"wrong of {BITS} in the control",
        "drop, written without training",
    )
    notes = [
        f"{BITS} bits, {PAYLOADS} random payloads with a key each; spreads are over payloads. The control is "
        "the same fine-tuning without a mark; drop = control - marked, in points.",
        "p is corrected for 2^64 keys and every layer; below 10^-6 the mark is verified.",
        "The last column: the layer alone changed, by the least that writes the bits (`Uchida.embed`), "
        "against the network before.",
    ]
    if errors:
        chance = statistics.mean(elsewhere) / BITS
        notes.append(
            f"Wrong bits in all: {sum(errors)} of {BITS * len(errors)}. The same keys in networks without "
            f"the mark read {100 * chance:.1f} % wrong bits; chance is 50 %."
        )
    return Result(
        columns, rows, notes, recipe=recipe_of(bench, "resnet20"), says=size(bench).says, spread="payloads"
    )


if __name__ == "__main__":
    main(sys.modules[__name__])
