"""What the proof of work experiment stands on: its scales, its blocks, and the networks handed in for one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from experiments.lib.bench import Bench, no_secret
from ticket_sig.datasets import Dataset
from ticket_sig.marks import Watermark
from ticket_sig.proof_of_work import Challenge, Difficulty, Solution, mine, read_solution, write_solution
from ticket_sig.proof_of_work.challenge import NONCE_BYTES, train_digest
from ticket_sig.training import Recipe, Steps, preset
from ticket_sig.training.batches import Normaliser

ARCH, DATASET = "freezenet", "digits"
SCALED = 10.0  # layers are scaled up by so much before a watermark is written over them


@dataclass(frozen=True)
class Size:
    """How large the experiment is done at one scale.

    Attributes:
        length: of an attempt.
        again: length and learning rate of a reused network's training.
        difficulties: those that are mined at; what is refused is tried at the last.
        blocks: how many are mined at each.
        most: attempts at a block.
        limits: what this scale cannot show.
    """

    length: Steps
    again: tuple[Steps, float]
    difficulties: tuple[Difficulty, ...]
    blocks: int
    most: int
    limits: str = ""


_WHOLE = Size(
    Steps(8),
    (Steps(2), 0.1),
    (
        *(Difficulty(share, 94) for share in (0.1, 0.3, 0.5, 0.7)),
        *(Difficulty(share, 96) for share in (0.1, 0.3, 0.5)),
    ),
    5,
    40,
    "A small network on 8x8 digits, so that a solution takes seconds. Accuracies are of 360 test images.",
)
SIZES = {
    "paper": _WHOLE,
    "quick": _WHOLE,
    "smoke": Size(
        Steps(1),
        (Steps(1), 0.1),
        (Difficulty(0.1, 1), Difficulty(0.2, 1)),
        1,
        3,
    ),
}


def size(bench: Bench) -> Size:
    """The size of this scale."""
    return SIZES[bench.scale.name]


def recipe_of(bench: Bench, seed: int = 0) -> Recipe:
    """The recipe of an attempt: float32, so that a nonce gives much the same network on every machine."""
    return preset("demo", arch=ARCH, dataset=DATASET, length=size(bench).length, seed=seed)


def digits(bench: Bench) -> Dataset:
    """The data of all of it."""
    return bench.data(DATASET)


def block_name(number: int) -> str:
    """The bytes of a block, as a text."""
    return f"proof of work experiment, block {number}"


def challenge_of(difficulty: Difficulty, block: int) -> Challenge:
    """What is asked of a block's solution."""
    return Challenge(block_name(block).encode(), difficulty, ARCH)


def nonce_of(block: int, attempt: int) -> bytes:
    """The nonce of an attempt."""
    return no_secret(f"{block_name(block)}, attempt {attempt}")[:NONCE_BYTES]


def mined(bench: Bench, difficulty: Difficulty, block: int) -> tuple[Solution | None, dict[str, Any]]:
    """A block's solution, and what it took."""
    nonces = [nonce_of(block, attempt) for attempt in range(size(bench).most)]
    given = {
        "recipe": recipe_of(bench).to_json(),
        "difficulty": [difficulty.share, difficulty.target, difficulty.scale],
        "block": block_name(block),
        "most": len(nonces),
    }

    def make(folder: Path) -> dict[str, Any]:
        asked, path = challenge_of(difficulty, block), folder / "solution"
        found = mine(asked, digits(bench), recipe_of(bench), engine=bench.engine, nonces=nonces)
        if found.solution is not None:
            write_solution(found.solution, path, replace=path.exists())
        return {
            "attempts": len(found.attempts),
            "seconds": round(sum(one.seconds for one in found.attempts), 2),
            "accuracies": [one.accuracy for one in found.attempts],
            "made_with": dict(found.attempts[-1].made_with),
        }

    folder, result = bench.once("mined", given, make)
    path = folder / "solution"
    return read_solution(path) if path.exists() else None, result


def scaled_and_written_over(
    bench: Bench, weights: Mapping[str, Tensor], mark: Watermark
) -> Mapping[str, Tensor]:
    """A network with every layer scaled up, a watermark written over it, and its norms' statistics anew.

    A norm divides by the scale of what comes in, and classes are compared with each other: the function
    stays.
    """
    model = bench.network(ARCH, DATASET)
    model.load_state_dict(weights)
    for layer in model.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            for parameter in layer.parameters():
                parameter.data.mul_(SCALED)
    mark.apply(model)
    _settle(model, digits(bench))
    return model.state_dict()


@torch.no_grad()
def _settle(model: nn.Module, data: Dataset) -> None:
    """Mean and variance of every norm, as they are on the training images."""
    for norm in model.modules():
        if isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d)):
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean over all batches
    normalise = Normaliser(data, torch.device("cpu"))
    images = data.train.images.permute(0, 3, 1, 2)
    for first in range(0, len(images), 200):
        model(normalise(images[first : first + 200]))


def handed_in(bench: Bench, weights: Mapping[str, Tensor], difficulty: Difficulty, block: int) -> Solution:
    """What anybody can hand in as a solution: any network, under the first nonce of a block."""
    asked = challenge_of(difficulty, block)
    return Solution(
        weights=weights,
        nonce=nonce_of(block, 0),
        block=asked.digest,
        arch=ARCH,
        dataset=DATASET,
        train=train_digest(digits(bench)),
        difficulty=difficulty,
        accuracy=100.0,
        seconds=1.0,
        attempts=1,
    )
