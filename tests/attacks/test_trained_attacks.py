"""Attacks that train: what they start from, what they may change, and other data sets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.tickets import tiny_ticket
from support.tiny import TinyNet, tiny_data, tiny_recipe
from torch import nn

from ticket_sig import Ticket, retrain
from ticket_sig.attacks import Scene
from ticket_sig.attacks.fake_key import FakeKey
from ticket_sig.attacks.fine_tuning import FineTuning
from ticket_sig.attacks.trigger_removal import TriggerRemoval
from ticket_sig.digests import tensor_digest
from ticket_sig.lottery.prune import prune_ticket
from ticket_sig.mask import Mask
from ticket_sig.models import build, prunable_names
from ticket_sig.training import Steps


def test_fine_tuning_is_retraining_from_the_model_with_the_thief_s_seed(tmp_path: Path) -> None:
    ticket = tiny_ticket(rewind=True)
    tuned = FineTuning(epochs=2, lr=0.02)(ticket, Scene(data=tiny_data(), model=TinyNet(), seed=5))
    recipe = tiny_recipe(length=Steps(2), lr=0.02, seed=5)
    same = retrain(ticket, recipe, tiny_data(), tmp_path / "run", start="model", model=TinyNet())
    assert tensor_digest(tuned.weights) == tensor_digest(same.weights)
    assert tuned.recipe == recipe.to_json()
    assert [(e.step, e.epochs) for e in tuned.history] == [("train", 2)]
    assert tuned.mask == ticket.mask


def test_without_options_the_schedule_is_the_recipe_s() -> None:
    tuned = FineTuning()(tiny_ticket(), Scene(data=tiny_data(), model=TinyNet()))
    assert tuned.recipe == tiny_recipe().to_json()
    quick = tiny_recipe(length=Steps(1))
    tuned = FineTuning()(tiny_ticket(), Scene(data=tiny_data(), model=TinyNet(), recipe=quick))
    assert tuned.recipe == quick.to_json()


def test_a_stopped_attack_goes_on_in_its_run_folder(tmp_path: Path) -> None:
    scene = Scene(data=tiny_data(), model=TinyNet(), run=tmp_path / "run")
    first = FineTuning(epochs=1)(tiny_ticket(), scene)
    assert (tmp_path / "run" / "run.json").is_file()
    again = FineTuning(epochs=1)(tiny_ticket(), scene)
    assert first.history == again.history  # read, not trained again: the seconds are the same


@pytest.mark.parametrize("classes", [4, 7])
def test_another_data_set_gets_a_fresh_dense_classifier_and_nothing_else(classes: int) -> None:
    data = replace(tiny_data(classes=classes), name="other")
    ticket, network = tiny_ticket(rewind=True), TinyNet(seed=9, classes=classes)
    tuned = FineTuning(epochs=1, lr=1e-9)(ticket, Scene(data=data, model=network))
    assert tuned.weights["f2.weight"].shape == (classes, 12)
    assert torch.allclose(tuned.weights["f2.weight"], network.f2.weight, atol=1e-6)
    assert torch.allclose(tuned.weights["f1.weight"], ticket.weights["f1.weight"], atol=1e-6)
    assert tuned.mask == ticket.mask
    assert tuned.recipe is not None and tuned.recipe["dataset"] == "other"


def test_a_classifier_that_was_pruned_is_dense_where_it_is_fresh() -> None:
    ticket = tiny_ticket()
    pruned = ticket.weights["f2.weight"].abs() > 0.1
    mask = Mask({**ticket.mask, "f2.weight": pruned})
    ticket = replace(ticket, weights=mask.apply(ticket.weights), mask=mask)
    scene = Scene(data=tiny_data(classes=5), model=TinyNet(classes=5))
    tuned = FineTuning(epochs=1)(ticket, scene)
    assert "f2.weight" not in tuned.mask and tuned.weights["f2.weight"].all()


@pytest.mark.parametrize(("model_channels", "data_channels"), [(3, 1), (1, 3)])
def test_images_are_converted_and_the_first_layer_stays(model_channels: int, data_channels: int) -> None:
    network = build("resnet20", 4, model_channels, seed=0)
    weights = dict(network.state_dict())
    mask = Mask({n: weights[n] != 0 for n in prunable_names(network)})
    recipe = tiny_recipe(arch="resnet20", length=Steps(1, "it"), rewind=Steps(0))
    ticket = prune_ticket(Ticket(weights=weights, mask=mask, recipe=recipe.to_json()), 0.5)
    data = replace(tiny_data(images=24, channels=data_channels, classes=6), name="other")
    tuned = FineTuning(lr=1e-9)(ticket, Scene(data=data))
    assert torch.allclose(tuned.weights["conv1.weight"], ticket.weights["conv1.weight"], atol=1e-6)
    assert tuned.weights["fc.weight"].shape[0] == 6


class Remembering(nn.Module):
    """Learns whatever it is shown: pixels to classes, with a pruned layer between."""

    def __init__(self) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(1, 1, 1)
        self.f1 = nn.Linear(64, 64)
        self.f2 = nn.Linear(64, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.f2(torch.relu(self.f1(self.c1(x).flatten(1))))  # type: ignore[no-any-return]


def test_misleading_images_are_taught_beside_the_data() -> None:
    weights = {name: t.clone() for name, t in Remembering().state_dict().items()}
    recipe = tiny_recipe(length=Steps(1)).to_json()
    ticket = Ticket(weights=weights, mask=Mask({"f1.weight": weights["f1.weight"] != 0}), recipe=recipe)
    scene = Scene(data=tiny_data(), model=Remembering())
    plain = TriggerRemoval(epochs=20)(ticket, scene)
    misled = TriggerRemoval(epochs=20, images=8)(ticket, scene)
    assert plain.history[-1].triggers is None
    assert misled.history[-1].triggers is not None and misled.history[-1].triggers >= 75
    assert tensor_digest(plain.weights) == tensor_digest(FineTuning(epochs=20)(ticket, scene).weights)


def test_a_forged_key_is_trained_from_the_locked_rewind_weights(tmp_path: Path) -> None:
    ticket = tiny_ticket(rewind=True)
    assert ticket.rewind is not None
    locked = replace(ticket, rewind=ticket.mask.apply(ticket.rewind))
    scene = Scene(data=tiny_data(), model=TinyNet())
    forged = FakeKey(count=20)(locked, scene)
    trained = FakeKey(count=20, epochs=1)(locked, scene)
    recipe = tiny_recipe(length=Steps(1))
    same = retrain(forged, recipe, tiny_data(), tmp_path / "run", model=TinyNet())
    assert tensor_digest(trained.weights) == tensor_digest(same.weights)
    assert trained.mask == forged.mask
    assert [e.step for e in trained.history] == ["train"]
    without = FakeKey(count=20, epochs=1)(replace(locked, rewind=None), scene)
    assert without.rewind is None and without.history[-1].step == "train"
