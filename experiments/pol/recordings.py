"""Transcripts that the experiments on proof-of-learning stand on; each is recorded once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.lib.bench import Bench
from ticket_sig.formats import load
from ticket_sig.lottery import find
from ticket_sig.lottery.level import network_of
from ticket_sig.mask import Mask
from ticket_sig.training import Recipe, Steps
from ticket_sig.training.loop import Run
from ticket_sig.transcripts import Transcript, TranscriptRecorder
from ticket_sig.transcripts.spoofs import SPOOFS

NETWORKS = ("resnet20-cifar10", "resnet50-cifar100")  # of the paper
OTHERS = 1000  # the seed of another run is so much larger


_FEW = ("forged-momentum", "splice", "nan", "pruning", "blindfold")  # one of each kind


@dataclass(frozen=True)
class Runs:
    """Runs on one data set.

    Attributes:
        length: of one training.
        segment: steps.
        seeds: number of runs.
        stretched: segments of the spoofs `infinitesimal` and `blindfold`.
        spoofs: that are tried.
        bent: of so many runs, data are bent, which takes longer than to train.
    """

    dataset: str
    preset: str
    length: Steps
    segment: int
    seeds: int
    stretched: int = 100
    spoofs: tuple[str, ...] = tuple(name for name in SPOOFS if name != "bent-data")
    bent: int = 0


SIZES: dict[str, tuple[Runs, ...]] = {
    "paper": (
        Runs("digits", "demo", Steps(5), 6, 20, bent=3),
        Runs("cifar10", "quick", Steps(12), 100, 1),
    ),
    "quick": (
        Runs("digits", "demo", Steps(3), 6, 20, bent=3),
        Runs("cifar10", "quick", Steps(100, "it"), 10, 1),
    ),
    "smoke": (Runs("digits", "demo", Steps(4, "it"), 2, 1, 4, _FEW),),
}


def recipe_of(bench: Bench, runs: Runs, seed: int = 0, *, rounds: int = 0, **changes: Any) -> Recipe:
    """The recipe of a run: a dense network, and so many rounds of pruning."""
    own = {"seed": seed, "length": runs.length, "rounds": rounds, "rates": (0.5,)}
    own["rewind"] = Steps(runs.segment, "it")
    return bench.preset(runs.preset, "resnet20", runs.dataset, **own, **changes)


def recorded(bench: Bench, recipe: Recipe, segment: int) -> tuple[Transcript, Mapping[str, Tensor]]:
    """A recorded run, and the weights that came out of it."""
    data, recipe = bench.data(recipe.dataset), bench.native(recipe)

    def make(folder: Path) -> dict[str, Any]:
        recorder = TranscriptRecorder(folder / "transcript", every=segment)
        engine = replace(bench.engine, recorder=recorder, checkpoint_seconds=3600)
        find(recipe, data, folder / "run", engine=engine)
        return {}

    given = {"recipe": recipe.to_json(), "data": data.digest, "segment": segment}
    folder, _ = bench.once("transcripts", given, make)
    return Transcript.open(folder / "transcript"), load(folder / "run" / "ticket").ticket.weights


def run_of(bench: Bench, transcript: Transcript) -> Run:
    """The training of a transcript's last level, by the recipe of its manifest."""
    recipe, last = Recipe.from_json(transcript.manifest.recipe), transcript.levels[-1]
    data = bench.data(recipe.dataset)
    model = network_of(recipe, data, None, torch.device("cpu"))
    bench.engine.prepare(model, recipe.precision)
    mask = Mask.of_zeros(transcript.state(last.number, last.steps[0]).parameters)
    return Run(model, data, recipe, bench.engine, mask)
