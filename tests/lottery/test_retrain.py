"""Retraining a ticket under its mask, from its rewind weights or on from where it stands."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.stops import Notes, Stopped, at_forward, stop
from support.tiny import TinyNet, tiny_data, tiny_recipe
from torch import nn

from ticket_sig import InputError, Mask, Ticket, find, retrain
from ticket_sig.datasets import load_dataset
from ticket_sig.digests import tensor_digest
from ticket_sig.models import build, prunable_names
from ticket_sig.training import Recipe, Steps
from ticket_sig.training.loop import Engine, train


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Ticket:
    return find(tiny_recipe(), tiny_data(), tmp_path_factory.mktemp("found") / "run", model=TinyNet())


def again(ticket: Ticket, run: Path, recipe: Recipe | None = None, **options: Any) -> Ticket:
    options.setdefault("model", TinyNet(seed=7))
    return retrain(ticket, recipe or tiny_recipe(), tiny_data(), run, **options)


def test_from_its_rewind_weights_a_ticket_becomes_what_it_was(found: Ticket, tmp_path: Path) -> None:
    trained = again(found, tmp_path)
    assert tensor_digest(trained.weights) == tensor_digest(found.weights)


def test_from_the_model_it_goes_on_from_its_weights(found: Ticket, tmp_path: Path) -> None:
    trained = again(found, tmp_path, start="model")
    model = TinyNet()
    model.load_state_dict(dict(found.weights))
    expected = train(model, tiny_data(), tiny_recipe(), Engine(), mask=found.mask).weights
    assert tensor_digest(trained.weights) == tensor_digest(expected)
    assert tensor_digest(trained.weights) != tensor_digest(found.weights)


@pytest.mark.parametrize("start", ["rewind", "model"])
def test_mask_and_rewind_weights_stay_and_the_history_has_one_entry_more(
    start: str, found: Ticket, tmp_path: Path
) -> None:
    recipe = tiny_recipe(seed=3)
    trained = again(found, tmp_path, recipe, start=start)
    assert trained.mask == found.mask
    trained.mask.check(trained.weights)
    assert found.rewind is not None and trained.rewind is not None
    assert tensor_digest(trained.rewind) == tensor_digest(found.rewind)
    assert trained.recipe == recipe.to_json()
    *before, last = trained.history
    assert tuple(before) == found.history
    assert (last.step, last.kept, last.total) == ("train", found.mask.kept, found.mask.total)
    assert last.test is not None and last.validation is not None


def test_a_full_mask_from_the_rewind_step_on_is_the_rest_of_the_dense_training(tmp_path: Path) -> None:
    # Without momentum nothing but the weights crosses the rewind step.
    recipe = tiny_recipe(momentum=0.0, nesterov=False, retrain="rewind", rewind=Steps(5, "it"), rounds=0)
    ticket = find(recipe, tiny_data(), tmp_path / "run", model=TinyNet())
    trained = again(ticket, tmp_path / "more", recipe)
    assert tensor_digest(trained.weights) == tensor_digest(ticket.weights)
    from_the_start = again(ticket, tmp_path / "whole", replace(recipe, retrain="start"))
    assert tensor_digest(from_the_start.weights) != tensor_digest(ticket.weights)


@pytest.mark.parametrize("start", ["rewind", "model"])
def test_stopped_and_started_again_it_ends_with_the_same_bits(
    start: str, found: Ticket, tmp_path: Path
) -> None:
    engine = Engine(checkpoint_seconds=0)
    for number in (5, 0, 3):
        with suppress(Stopped):
            again(
                found, tmp_path / "a", start=start, engine=engine, model=at_forward(TinyNet(), number, stop)
            )
    stopped, whole = (again(found, tmp_path / name, start=start, engine=engine) for name in "ab")
    assert tensor_digest(stopped.weights) == tensor_digest(whole.weights)
    finished = again(found, tmp_path / "a", start=start, model=at_forward(TinyNet(), 0, stop))
    assert tensor_digest(finished.weights) == tensor_digest(whole.weights)


@pytest.mark.parametrize("native", [True, False])
def test_who_trains_in_emulated_bf16_is_told_what_is_faster(
    native: bool, found: Ticket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ticket_sig.training.device._cpu", lambda: {"avx512_bf16": native})
    told = Notes()
    recipe = replace(tiny_recipe(), precision="bf16")
    again(found, tmp_path / "run", recipe, start="model", engine=Engine(progress=told))
    assert any("--precision float32" in note for note in told.notes) is not native


def test_the_callers_ticket_is_left_as_it_was(found: Ticket, tmp_path: Path) -> None:
    before = tensor_digest(found.weights), tensor_digest(found.rewound())
    again(found, tmp_path, start="model")
    assert (tensor_digest(found.weights), tensor_digest(found.rewound())) == before


def test_a_ticket_without_rewind_weights_is_trained_on_from_the_model_alone(
    found: Ticket, tmp_path: Path
) -> None:
    bare = replace(found, rewind=None, recipe=None, history=())
    with pytest.raises(InputError, match=r"rewind weights: expected some, found none; train from the model"):
        again(bare, tmp_path / "a")
    trained = again(bare, tmp_path / "b", start="model")
    assert trained.rewind is None and len(trained.history) == 1


def test_fine_tuning_may_be_shorter_than_the_way_to_the_rewind_step(found: Ticket, tmp_path: Path) -> None:
    recipe = tiny_recipe(length=Steps(1), rewind=Steps(3))
    assert again(found, tmp_path, recipe, start="model").history[-1].epochs == 1


def test_the_papers_constants_pass_through_untrained(found: Ticket, tmp_path: Path) -> None:
    mean = torch.tensor([0.5])
    weights = {"normalize.mean": mean, **found.weights}
    rewind = {"normalize.mean": mean, **(found.rewind or {})}
    trained = again(replace(found, weights=weights, rewind=rewind), tmp_path)
    assert torch.equal(trained.weights["normalize.mean"], mean)
    assert {n: trained.weights[n] for n in found.weights}.keys() == found.weights.keys()
    assert tensor_digest({n: trained.weights[n] for n in found.weights}) == tensor_digest(found.weights)


def test_another_start_is_refused_with_the_known_ones(found: Ticket, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="start: expected one of rewind, model, found 'scratch'"):
        again(found, tmp_path, start="scratch")


def test_weights_that_do_not_fit_the_network_are_all_listed(found: Ticket, tmp_path: Path) -> None:
    class Other(TinyNet):
        def __init__(self) -> None:
            super().__init__()
            self.c1 = nn.Sequential(self.c1)
            self.f1, self.f2 = nn.Linear(8, 10), nn.Linear(10, 4)

    with pytest.raises(InputError, match="weights do not fit the network") as refused:
        again(found, tmp_path, model=Other())
    message = str(refused.value)
    for problem in (
        "c1.0.weight: expected, not found",
        "c1.weight: found, not expected",
        "f2.weight: expected shape [4, 10], found [4, 12]",
        "f1.bias: expected shape [10], found [12]",
    ):
        assert problem in message


def test_a_run_folder_of_another_ticket_or_recipe_is_refused(found: Ticket, tmp_path: Path) -> None:
    again(found, tmp_path)
    other = replace(found, mask=Mask.full(found.mask))
    for ticket, recipe, options, named in (
        (other, None, {}, "mask"),
        (found, tiny_recipe(lr=0.2), {}, "recipe.lr"),
        (found, None, {"start": "model"}, "start"),
    ):
        with pytest.raises(InputError, match=f"belongs to another run: .*{named}"):
            again(ticket, tmp_path, recipe, **options)


def test_a_built_in_network_is_made_from_the_recipe(tmp_path: Path) -> None:
    model = build("resnet20", 10, 1, seed=0)
    weights = {name: t.detach() for name, t in model.state_dict().items()}
    mask = Mask.full({name: weights[name] for name in prunable_names(model)})
    recipe = tiny_recipe(arch="resnet20", dataset="digits", length=Steps(1, "it"), rewind=Steps(0))
    ticket = Ticket(weights=weights, mask=mask)
    trained = retrain(ticket, recipe, load_dataset("digits"), tmp_path, start="model")
    assert trained.weights.keys() == weights.keys()
    with pytest.raises(InputError, match=r"weights do not fit the network resnet20-proj: .*shortcut"):
        retrain(
            ticket,
            replace(recipe, arch="resnet20-proj"),
            load_dataset("digits"),
            tmp_path / "x",
            start="model",
        )
