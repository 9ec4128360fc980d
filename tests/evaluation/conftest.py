"""Two tasks: digits under ResNet-20 for three steps, and a network that trains in a moment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.tickets import digits_ticket, tiny_ticket
from support.tiny import TinyNet, tiny_data, tiny_recipe

from ticket_sig import Mask, Ticket
from ticket_sig.datasets import load_dataset
from ticket_sig.evaluation.method import EvaluationTask
from ticket_sig.lottery.prune import prune_ticket
from ticket_sig.training import Steps, preset
from ticket_sig.training.loop import Engine


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> EvaluationTask:
    """Three steps of further training."""
    recipe = preset("demo", arch="resnet20", dataset="digits")
    return EvaluationTask(
        data=load_dataset("digits", None),
        recipe=recipe,
        further=replace(recipe, length=Steps(3, "it"), lr=0.01),
        engine=Engine(),
        folder=tmp_path_factory.mktemp("digits"),
    )


@pytest.fixture(scope="session")
def subjects() -> dict[str, Ticket]:
    """Networks for digits, by `Method.subject`; not trained."""
    dense = digits_ticket()
    return {"dense": dense, "ticket": prune_ticket(dense, 0.8)}


@pytest.fixture
def tiny(tmp_path: Path) -> EvaluationTask:
    """A task of the user's own network."""
    return EvaluationTask(
        data=tiny_data(),
        recipe=tiny_recipe(),
        further=tiny_recipe(length=Steps(2)),
        engine=Engine(),
        folder=tmp_path / "work",
        model=TinyNet(),
    )


@pytest.fixture
def small() -> Ticket:
    """A dense network for it."""
    weights = {name: t.clone() for name, t in TinyNet().state_dict().items()}
    mask = Mask.full({name: weights[name] for name in tiny_ticket().mask})
    return replace(tiny_ticket(), weights=weights, mask=mask)
