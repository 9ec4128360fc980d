"""Detectors see a forged jump in two boundaries alone, and suspect no honest segment."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from support.tiny import TinyNet, tiny_data, tiny_recipe

from ticket_sig.lottery import find
from ticket_sig.training import Steps
from ticket_sig.training.loop import Engine
from ticket_sig.training.recorder import Standing
from ticket_sig.transcripts import detectors
from ticket_sig.transcripts.detectors import Seen, look
from ticket_sig.transcripts.states import State
from ticket_sig.transcripts.transcript import Segment

RECIPE = tiny_recipe(length=Steps(100, "it"), rounds=0)
PER_EPOCH = 4
DRAWS = 20


class States:
    """Keeps the state after every step, and writes nothing."""

    def __init__(self) -> None:
        self.states: list[State] = []

    def begin(self, *args: object, **kwargs: object) -> None: ...
    def level(self, *args: object) -> None: ...
    def flush(self) -> None: ...
    def end(self, *args: object) -> None: ...

    def step(self, run: Standing) -> None:
        self.states.append(State.of(run.model, run.optimizer, run.losses))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[list[State]]:
    """The states of two trainings of 100 segments."""
    found, folder = [], tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        states, recipe = States(), replace(RECIPE, seed=seed)
        find(
            recipe, tiny_data(), folder / str(seed), model=TinyNet(seed=seed), engine=Engine(recorder=states)
        )
        found.append(states.states)
    return found


def seen(states: list[State]) -> list[Seen]:
    """What the detectors see of a level."""
    return [
        look(Segment(0, step, step + 1), *pair, RECIPE, PER_EPOCH)
        for step, pair in enumerate(pairwise(states))
    ]


def test_honest_trainings_are_not_suspected(runs: list[list[State]]) -> None:
    assert [detectors.suspects(seen(states)) for states in runs] == [{}, {}]


def test_one_jump_among_100_segments_is_suspected_wherever_it_is(runs: list[list[State]]) -> None:
    mine, theirs = runs
    places = torch.randint(1, 100, (DRAWS,), generator=torch.Generator().manual_seed(0)).tolist()
    before, after = seen(mine), seen(theirs)
    for step in places:
        jump = look(segment := Segment(0, step, step + 1), mine[step], theirs[step + 1], RECIPE, PER_EPOCH)
        assert segment in detectors.suspects([*before[:step], jump, *after[step + 1 :]])


@pytest.mark.parametrize("step", [20, 60])
def test_a_segment_in_which_nothing_happened_is_suspected(step: int, runs: list[list[State]]) -> None:
    states = list(runs[0])
    states[step + 1] = states[step]
    why = detectors.suspects(seen(states))[Segment(0, step, step + 1)]
    assert why.startswith("step length")


def test_batches_that_a_norm_never_saw_are_suspected(runs: list[list[State]]) -> None:
    states = list(runs[0])
    more = {n: t + 1 if n.endswith("tracked") else t for n, t in states[50].buffers.items()}
    states[50] = replace(states[50], buffers=more)
    assert {s.first: why for s, why in detectors.suspects(seen(states)).items()} == {
        49: "batches: 2, 1 in the middle segment",
        50: "batches: 0, 1 in the middle segment",
    }


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_suspected(value: float, runs: list[list[State]]) -> None:
    states = list(runs[0])
    states[50] = replace(states[50], parameters={**states[50].parameters, "f2.bias": torch.full((4,), value)})
    assert detectors.suspects(seen(states))[Segment(0, 49, 50)] == "parameters/f2.bias: not finite"
