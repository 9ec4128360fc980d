"""Uchida: bits taught to one layer of trained networks by fine-tuning, and what that costs in accuracy."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from experiments import CHECKPOINTS
from experiments.freezenet import trained_networks as freezenet
from experiments.lib.bench import Bench, Trained, dense, no_secret, written_over
from experiments.lib.judging import Beside
from experiments.lib.showing import Result, summary
from ticket_sig.cells import Cell, Measured
from ticket_sig.digests import tensor_digest
from ticket_sig.formats import load
from ticket_sig.marks import Mark, Uchida
from ticket_sig.prf import keyed_words
from ticket_sig.training import Recipe, Steps
from ticket_sig.verification.fidelity import EPS_F

TITLE = "Uchida: 64 bits by fine-tuning"
BITS = 64
NETWORKS = ("wide ResNet",)  # of the paper
_SHIPPED, _LEARNED = "the shipped one", "as the FreezeNet experiments train it"


@dataclass(frozen=True)
class Size:
    """How large the experiment is done at one scale.

    Attributes:
        networks: where each network's weights come from: shipped, trained by the FreezeNet experiments, or
            trained from the beginning for so long.
        again: length and learning rate of the fine-tuning.
        limits: what this scale cannot show.
        payloads: random ones, for each network.
        dataset, preset: of the trainings.
    """

    networks: Mapping[str, str | Steps]
    again: tuple[Steps, float]
    limits: str = ""
    payloads: int = 3
    dataset: str = "cifar10"
    preset: str = "quick"


SIZES = {
    "paper": Size(
        {"resnet20": _SHIPPED, "freezenet": _LEARNED, "resnet20-proj": Steps(36)},
        (Steps(20), 0.02),
        "Fine-tuned for 20 epochs.",
    ),
    "quick": Size(
        {"resnet20": _SHIPPED, "freezenet": _LEARNED, "resnet20-proj": Steps(2)},
        (Steps(1), 0.02),
        "Fine-tuned for one epoch. resnet20 is the shipped dense network; freezenet was trained for 4 epochs "
        "and resnet20-proj for 2, so that fine-tuning still teaches them: what they reach is to be compared "
        "with the control's alone.",
    ),
    "smoke": Size(
        {"resnet20": Steps(1), "freezenet": _LEARNED},
        (Steps(1), 0.1),
        payloads=1,
        dataset="digits",
        preset="demo",
    ),
}


def cells(bench: Bench) -> list[Cell]:
    """Every network without a mark and with each payload."""
    networks, payloads = size(bench).networks, range(size(bench).payloads)
    marks = [marked(bench, arch, index) for index in payloads for arch in networks]
    return [*(control(bench, arch) for arch in networks), *marks]


def size(bench: Bench) -> Size:
    """The size of this scale."""
    return SIZES[bench.scale.name]


def control(bench: Bench, arch: str) -> Cell:
    """A network fine-tuned without a mark."""

    def measure() -> Measured:
        trained = fine_tuned(bench, arch)
        return {
            "before": accuracy(bench, arch, start(bench, arch)),
            "accuracy": accuracy(bench, arch, trained.weights),
            "made_with": trained.made_with,
        }

    begun = how_started(bench, arch)
    return bench.cell("uchida control", measure, recipe_of(bench, arch), network=arch, start=begun)


def marked(bench: Bench, arch: str, index: int) -> Cell:
    """A network fine-tuned with a mark, and the same mark written without training."""
    mark = mark_of(bench, arch, index)

    def measure() -> Measured:
        written = written_over(start(bench, arch), mark)
        trained = fine_tuned(bench, arch, mark)
        reading = mark.read(trained.weights)
        return {
            "accuracy": accuracy(bench, arch, trained.weights),
            "wrong": reading.wrong,
            "least_margin": min(reading.margins),
            "log10_p": reading.log10_p,
            "wrong_in_control": mark.read(fine_tuned(bench, arch).weights).wrong,
            "written": {
                "accuracy": accuracy(bench, arch, written),
                "wrong": mark.read(written).wrong,
                "log10_p": mark.read(written).log10_p,
            },
            "made_with": trained.made_with,
        }

    asked: dict[str, Any] = {"network": arch, "payload": index, "mark": mark.to_json()}
    asked["start"] = how_started(bench, arch)
    return bench.cell("uchida", measure, recipe_of(bench, arch), **asked)


def mark_of(bench: Bench, arch: str, index: int) -> Uchida:
    """A mark of its own for every network and payload."""
    key = no_secret(f"Uchida experiment, {arch}, payload {index}")
    payload = keyed_words(key, "payload", BITS) % 2 == 1
    return Uchida.on(bench.initial(arch, size(bench).dataset), payload.tolist(), secret=key)


def recipe_of(bench: Bench, arch: str, length: Steps | None = None) -> Recipe:
    """The recipe of the fine-tuning, or of a training from the beginning of this length."""
    own = size(bench)
    changes: dict[str, Any] = {"length": length}
    if length is None:
        changes = dict(zip(("length", "lr"), own.again, strict=True))
    return bench.preset(own.preset, arch, own.dataset, **changes)


def how_started(bench: Bench, arch: str) -> dict[str, Any]:
    """What decides the weights that fine-tuning starts from."""
    source = size(bench).networks[arch]
    if isinstance(source, Steps):
        return {"recipe": recipe_of(bench, arch, source).to_json()}
    if source == _LEARNED:
        return {"recipe": freezenet.recipe_of(bench, 0).to_json()}
    return {"weights": tensor_digest(start(bench, arch))}


def start(bench: Bench, arch: str) -> Mapping[str, Tensor]:
    """The weights that fine-tuning starts from."""
    source = size(bench).networks[arch]
    if isinstance(source, Steps):
        begun = dense(bench.initial(arch, size(bench).dataset))
        return bench.train(begun, recipe_of(bench, arch, source)).weights
    if source == _LEARNED:
        return freezenet.learned(bench, 0.0, 0).weights
    return load(CHECKPOINTS / f"{arch}-{size(bench).dataset}-dense").ticket.weights


def fine_tuned(bench: Bench, arch: str, mark: Mark | None = None) -> Trained:
    """A network fine-tuned with a mark, or without."""
    return bench.train(dense(start(bench, arch)), recipe_of(bench, arch), mark=mark)


def accuracy(bench: Bench, arch: str, weights: Mapping[str, Tensor]) -> float:
    """Test accuracy in %, float32."""
    return bench.accuracy(weights, arch, size(bench).dataset)


def result(bench: Bench) -> Result:
    """One row a network, the payloads side by side."""
    rows, beside, errors, elsewhere, payloads = [], Beside(NETWORKS), [], [], size(bench).payloads
    for arch in size(bench).networks:
        honest = bench.store.measured(control(bench, arch))
        found = bench.store.found(marked(bench, arch, index) for index in range(payloads))
        if honest is None or not found:
            continue
        rows.append(_row(mark_of(bench, arch, 0), arch, honest, found))
        beside.said(arch, "no bit is wrong", [one["wrong"] for one in found], 0)
        lost = [honest["accuracy"] - one["accuracy"] <= EPS_F for one in found]
        beside.said(arch, f"accuracy falls by no more than {EPS_F:g} point", lost)
        errors += [one["wrong"] for one in found]
        elsewhere += [one["wrong_in_control"] for one in found]
    columns = (
        "network | layer, weights in a filter | before | control | marked | drop | bit error rates | log10 p "
        f"| wrong of {BITS} in the control | drop, written without training"
    )
    notes = [
        f"{BITS} bits, {payloads} random payloads with a key each; spreads are over payloads. The control is "
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
    return Result(columns, rows, notes, limits=size(bench).limits, spread="payloads", beside=beside)


def _row(mark: Uchida, arch: str, honest: Measured, found: list[Measured]) -> tuple[str, ...]:
    return (
        arch,
        f"{mark.layer}, {mark.capacity}",
        f"{honest['before']:.2f}",
        f"{honest['accuracy']:.2f}",
        summary([one["accuracy"] for one in found]),
        summary([honest["accuracy"] - one["accuracy"] for one in found]),
        ", ".join(f"{one['wrong'] / BITS:.3f}" for one in found),
        ", ".join(f"{one['log10_p']:.1f}" for one in found),
        ", ".join(str(one["wrong_in_control"]) for one in found),
        summary([honest["before"] - one["written"]["accuracy"] for one in found]),
    )
