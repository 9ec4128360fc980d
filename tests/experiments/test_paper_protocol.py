"""The verifier of Jia et al. as a baseline: what it measures, and what it lets through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.tiny import TinyNet, tiny_data, tiny_recipe

from experiments.pol.paper_protocol import THRESHOLDS, Reproduced, accepted, looks_initial, reproduce
from ticket_sig.lottery import find
from ticket_sig.mask import Mask
from ticket_sig.training import Recipe
from ticket_sig.training.loop import Engine, Run
from ticket_sig.transcripts import Transcript, TranscriptRecorder
from ticket_sig.transcripts.spoofs import Scene, spoof


@pytest.fixture
def recorded(tmp_path: Path) -> Transcript:
    return record(tmp_path)


def record(folder: Path, **changes: Any) -> Transcript:
    engine = Engine(recorder=TranscriptRecorder(folder / "transcript", every=2))
    find(tiny_recipe(rounds=0, **changes), tiny_data(), folder / "run", model=TinyNet(), engine=engine)
    return Transcript.open(folder / "transcript")


def reproduced(transcript: Transcript, top: int | None = None) -> list[Reproduced]:
    recipe = Recipe.from_json(transcript.manifest.recipe)
    return list(reproduce(transcript, Run(TinyNet(), tiny_data(), recipe, Engine(), Mask({})), top))


def forged(transcript: Transcript, folder: Path, name: str, **options: Any) -> Transcript:
    scene = Scene(stolen=TinyNet(seed=5).state_dict(), data=tiny_data(), model=TinyNet())
    spoof(name, **options)(transcript, folder, scene)
    return Transcript.open(folder)


def test_honest_training_is_reproduced_as_far_as_its_crops_are_known(
    recorded: Transcript, tmp_path: Path
) -> None:
    errors = [one.errors["l2"] / one.update["l2"] for one in reproduced(recorded)]
    assert len(errors) == 6 and all(0 < error < 1 for error in errors)
    exact = record(tmp_path / "plain", crop=0, flip=False)
    assert all(one.errors["l2"] == one.errors["l1"] == one.errors["linf"] == 0 for one in reproduced(exact))


def test_the_largest_updates_of_each_epoch_are_reproduced(recorded: Transcript) -> None:
    top = reproduced(recorded, top=1)
    assert len(top) == 3
    everything = {one.segment: one.update["l2"] for one in reproduced(recorded)}
    for one in top:
        epoch = one.segment.first // 4
        assert one.update["l2"] == max(u for s, u in everything.items() if s.first // 4 == epoch)


@pytest.mark.parametrize("name", ["forged-momentum", "nan"])
def test_it_accepts_what_was_never_trained(name: str, recorded: Transcript, tmp_path: Path) -> None:
    found = reproduced(forged(recorded, tmp_path / "forged", name))
    assert all(accepted(one.errors, THRESHOLDS) for one in found)


def test_the_largest_updates_alone_are_those_that_were_really_trained(
    recorded: Transcript, tmp_path: Path
) -> None:
    blind = forged(recorded, tmp_path / "forged", "blindfold", segments=40)
    assert all(one.errors["l2"] == 0 for one in reproduced(blind, top=1))
    assert sum(one.errors["l2"] > 0 for one in reproduced(blind)) == 30


def test_images_that_were_bent_lead_closer_to_the_next_boundary(recorded: Transcript, tmp_path: Path) -> None:
    options = {"attack": 1, "segments": 4, "steps": 1, "lr": 0.1}
    errors = [
        sum(
            one.errors["l2"]
            for one in reproduced(forged(recorded, tmp_path / str(n), "bent-data", **options, iterations=n))
        )
        for n in (1, 30)
    ]
    assert errors[1] < errors[0]


def test_new_weights_look_initial_and_trained_ones_do_not(recorded: Transcript) -> None:
    fresh = [TinyNet(seed=seed).state_dict() for seed in range(10, 30)]
    level = recorded.levels[0]
    first, last = (recorded.state(0, step) for step in (level.steps[0], level.steps[-1]))
    assert looks_initial(first.parameters, fresh)
    assert not looks_initial(last.parameters, fresh)
