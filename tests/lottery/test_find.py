"""Finding a ticket: against the same rounds written out plainly, and stopped anywhere."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.stops import Notes, Stopped, at_forward, stop
from support.tiny import TinyNet, tiny_data, tiny_recipe
from torch import Tensor, nn

from ticket_sig import InputError, Mask, Ticket, find, load
from ticket_sig.datasets import load_dataset
from ticket_sig.digests import tensor_digest
from ticket_sig.formats.safetensors_file import read_safetensors, write_safetensors
from ticket_sig.lottery import prune
from ticket_sig.training import Recipe, Steps, preset
from ticket_sig.training.evaluate import accuracy
from ticket_sig.training.loop import Engine, train

_EACH_STEP = Engine(checkpoint_seconds=0)


def bits(ticket: Ticket) -> tuple[str, str, str, list[Any]]:
    assert ticket.rewind is not None
    tensors = (ticket.weights, ticket.mask, ticket.rewind)
    history = [(e.step, e.kept, e.rate, e.winning, e.accepted, e.validation, e.test) for e in ticket.history]
    return *(tensor_digest(t) for t in tensors), history  # type: ignore[return-value]


def plainly(recipe: Recipe, rounds: int) -> tuple[dict[str, Tensor], Mask, dict[str, Tensor]]:
    """IMP with rewinding (NeurIPS'21, section 3.1): weights, mask and rewind weights."""
    data, model = tiny_data(), TinyNet()
    mask = Mask.full({"c2.weight": model.c2.weight, "f1.weight": model.f1.weight})
    rewind: dict[str, Tensor] = {}
    weights = train(model, data, recipe, Engine(), snapshot=rewind.update).weights
    start = recipe.rewind.iterations(4) if recipe.retrain == "rewind" else 0
    for _ in range(rounds):
        mask = prune(weights, mask, recipe.rates[0], scope=recipe.scope, seed=recipe.seed)
        model.load_state_dict(mask.apply(rewind))
        weights = train(model, data, recipe, Engine(), mask=mask, start=start).weights
    return weights, mask, rewind


@pytest.mark.parametrize(
    "changes",
    [
        {"rounds": 0},
        {"rounds": 2},
        {"rounds": 2, "retrain": "rewind", "schedule": "step", "milestones": (Steps(2),)},
        {"rounds": 2, "scope": "layerwise", "rates": (0.4,)},
        {"rounds": 2, "scope": "random", "seed": 5},
        {"rounds": 1, "rewind": Steps(0), "precision": "bf16"},
    ],
    ids=str,
)
def test_it_is_iterative_magnitude_pruning_with_rewinding(changes: dict[str, Any], tmp_path: Path) -> None:
    recipe = tiny_recipe(**changes)
    ticket = find(recipe, tiny_data(), tmp_path / "run", model=TinyNet())
    weights, mask, rewind = plainly(recipe, changes["rounds"])
    assert ticket.mask == mask
    assert ticket.rewind is not None
    assert tensor_digest(ticket.weights) == tensor_digest(weights)
    assert tensor_digest(ticket.rewind) == tensor_digest(rewind)


def test_the_finished_bundle_is_run_ticket_with_recipe_and_history(tmp_path: Path) -> None:
    recipe = tiny_recipe(rounds=2)
    ticket = find(recipe, tiny_data(), tmp_path / "run", model=TinyNet())
    saved = load(tmp_path / "run" / "ticket").ticket
    assert bits(saved) == bits(ticket)
    assert Recipe.from_json(saved.recipe or {}) == recipe
    # 384 prunable weights: 77 go, then 61.
    assert [(e.step, e.rate, e.kept) for e in saved.history] == [
        ("dense", None, 384),
        ("prune", 0.2, 307),
        ("prune", 0.2, 246),
    ]
    for entry in saved.history:
        assert entry.total == 384 and entry.epochs == 3 and entry.made_with
        assert 0 <= (entry.validation or 0) <= 100 and 0 <= (entry.test or 0) <= 100
    fresh = TinyNet(seed=9)
    fresh.load_state_dict(dict(saved.weights), strict=True)


def test_the_accuracies_of_its_last_entry_are_those_of_the_weights(tmp_path: Path) -> None:
    recipe, data, model = tiny_recipe(length=Steps(6)), tiny_data(200), TinyNet(seed=1)
    ticket = find(recipe, data, tmp_path / "run", model=TinyNet())
    model.load_state_dict(dict(ticket.weights))
    _, validation = data.hold_out(recipe.validation)
    last = ticket.history[-1]
    for split, told in ((validation, last.validation), (data.test, last.test)):
        assert told == accuracy(model, split, data, torch.device("cpu"), recipe.precision)


def test_a_finished_run_is_returned_without_training(tmp_path: Path) -> None:
    first = find(tiny_recipe(), tiny_data(), tmp_path / "run", model=TinyNet())
    again = find(tiny_recipe(), tiny_data(), tmp_path / "run", model=at_forward(TinyNet(), 0, stop))
    assert bits(again) == bits(first)


def test_the_same_call_again_with_the_same_network_object_returns_the_ticket(tmp_path: Path) -> None:
    model = TinyNet()
    first = find(tiny_recipe(), tiny_data(), tmp_path / "run", model=model)
    assert bits(find(tiny_recipe(), tiny_data(), tmp_path / "run", model=model)) == bits(first)


def test_the_dense_parent_is_a_bundle_of_its_own_and_made_again_where_it_is_gone(tmp_path: Path) -> None:
    ticket = find(tiny_recipe(rounds=1), tiny_data(), tmp_path / "run", model=TinyNet())
    dense = load(tmp_path / "run" / "dense").ticket
    assert dense.mask.density == 1 and dense.history == ticket.history[:1]
    before = (tmp_path / "run" / "ticket" / "ticket.json").stat().st_mtime_ns
    shutil.rmtree(tmp_path / "run" / "dense")
    find(tiny_recipe(rounds=1), tiny_data(), tmp_path / "run", model=TinyNet())
    assert bits(load(tmp_path / "run" / "dense").ticket) == bits(dense)
    assert (tmp_path / "run" / "ticket" / "ticket.json").stat().st_mtime_ns == before


# Accepts rounds, and with next to nothing left rejects one.
_SEARCH: dict[str, Any] = {"rounds": None, "rates": (0.8, 0.5), "tolerance": 10.0, "length": Steps(12)}


@given(
    stops=st.lists(st.integers(0, 30), max_size=4), every=st.sampled_from([0.0, 1e9]), search=st.booleans()
)
@settings(deadline=None, max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_stopped_anywhere_and_started_again_it_ends_with_the_same_bits(
    stops: list[int], every: float, search: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    recipe = tiny_recipe(
        **((_SEARCH | {"rates": (0.9,)} if search else {"rounds": 2}) | {"length": Steps(2)})
    )
    folder, engine = tmp_path_factory.mktemp("find"), Engine(checkpoint_seconds=every)
    whole = find(recipe, tiny_data(), folder / "whole", model=TinyNet(), engine=engine)
    for number in stops:
        with suppress(Stopped):
            model = at_forward(TinyNet(), number, stop)
            find(recipe, tiny_data(), folder / "stopped", model=model, engine=engine)
    stopped = find(recipe, tiny_data(), folder / "stopped", model=TinyNet(), engine=engine)
    assert bits(stopped) == bits(whole)


def test_finished_rounds_are_skipped(tmp_path: Path) -> None:
    told = Notes()
    engine = Engine(checkpoint_seconds=0, progress=told)
    recipe = tiny_recipe(rounds=2)
    # A round is 12 steps, 3 times the validation split and once the test split.
    with pytest.raises(Stopped):
        find(recipe, tiny_data(), tmp_path, model=at_forward(TinyNet(), 20, stop), engine=engine)
    assert [label.split(",")[0] for label, _ in told.begun] == ["dense network", "round 1"]
    told.begun.clear()
    find(recipe, tiny_data(), tmp_path, model=TinyNet(), engine=engine)
    assert [label.split(",")[0] for label, _ in told.begun] == ["round 1", "round 2"]
    lines = [note for note in told.notes if "test" in note]
    assert [line.split(":")[0] for line in lines[-3:]] == ["dense network", "round 1", "round 2"]
    assert "64.06 % kept" in lines[-1]


def test_a_built_in_network_is_made_from_the_recipe(tmp_path: Path) -> None:
    recipe = preset(
        "demo", arch="resnet20", dataset="digits", rounds=1, length=Steps(2, "it"), rewind=Steps(1, "it")
    )
    ticket = find(recipe, load_dataset("digits"), tmp_path / "run")
    assert (ticket.mask.total, ticket.mask.kept) == (267_264, 267_264 - round(0.2 * 267_264))
    assert bits(find(recipe, load_dataset("digits"), tmp_path / "other")) == bits(ticket)


def test_tensors_that_the_recipe_excludes_stay_dense(tmp_path: Path) -> None:
    ticket = find(tiny_recipe(exclude=("f1*",)), tiny_data(), tmp_path, model=TinyNet())
    assert list(ticket.mask) == ["c2.weight"]
    assert bool((ticket.weights["f1.weight"] != 0).all())


def test_rounds_until_a_density(tmp_path: Path) -> None:
    ticket = find(tiny_recipe(rounds=None, density=0.5), tiny_data(), tmp_path, model=TinyNet())
    assert ticket.mask.density <= 0.5 < ticket.history[-2].density
    assert ticket.pruning_rates() == {0.2: len(ticket.history) - 1}


def test_the_extreme_ticket_is_the_last_one_accepted_and_the_history_tells_every_try(tmp_path: Path) -> None:
    ticket = find(tiny_recipe(**_SEARCH), tiny_data(), tmp_path, model=TinyNet())
    first, *tries = ticket.history
    assert first.step == "dense" and first.winning is None
    assert first.validation is not None
    rejected = [e for e in tries if not e.accepted]
    assert rejected and len(rejected) < len(tries)
    for entry in tries:
        assert entry.validation is not None
        assert entry.winning is entry.accepted is (entry.validation >= first.validation - 10.0)
    accepted = [e for e in tries if e.accepted]
    assert ticket.mask.kept == (accepted[-1].kept if accepted else first.kept)
    counts = {rate: sum(e.rate == rate for e in accepted) for rate in (0.8, 0.5)}
    assert ticket.pruning_rates() == {rate: count for rate, count in counts.items() if count}


def test_a_search_ended_early_gives_the_best_ticket_so_far_and_a_later_call_goes_on(tmp_path: Path) -> None:
    recipe = tiny_recipe(**_SEARCH)
    whole = find(recipe, tiny_data(), tmp_path / "whole", model=TinyNet())
    ended = find(recipe, tiny_data(), tmp_path / "ended", model=TinyNet(), most_rounds=1)
    assert bits(ended)[3] == bits(whole)[3][:2]
    best = whole.history[1] if whole.history[1].accepted else whole.history[0]
    assert ended.mask.kept == best.kept and not (tmp_path / "ended" / "ticket").exists()
    assert bits(find(recipe, tiny_data(), tmp_path / "ended", model=TinyNet())) == bits(whole)


def test_the_last_training_a_ticket_tells_of_is_its_own_not_that_of_a_rejected_one(tmp_path: Path) -> None:
    ticket = find(tiny_recipe(**_SEARCH), tiny_data(), tmp_path, model=TinyNet())
    last = ticket.last_trained()
    assert last is not None and last.kept == ticket.mask.kept


def test_without_a_validation_split_the_test_split_decides(tmp_path: Path) -> None:
    ticket = find(tiny_recipe(validation=0.0, **_SEARCH), tiny_data(), tmp_path, model=TinyNet())
    first, *tries = ticket.history
    assert first.test is not None
    for entry in tries:
        assert entry.validation is None and entry.test is not None
        assert entry.winning is (entry.test >= first.test - 10.0)


@pytest.mark.parametrize(
    ("changes", "data", "model", "named"),
    [
        ({"lr": 0.2}, {}, {}, ["recipe.lr: expected 0.1, found 0.2"]),
        ({"lr": 0.2, "rounds": 3}, {}, {}, ["recipe.lr", "recipe.rounds: expected 1, found 3"]),
        ({"rewind": Steps(1)}, {}, {}, ["recipe.rewind: expected '2it', found '1ep'"]),
        ({}, {"seed": 1}, {}, ["data"]),
        ({}, {}, {"seed": 1}, ["initial"]),
    ],
)
def test_another_run_is_refused_naming_what_differs(
    changes: dict[str, Any], data: dict[str, Any], model: dict[str, Any], named: list[str], tmp_path: Path
) -> None:
    find(tiny_recipe(), tiny_data(), tmp_path, model=TinyNet())
    with pytest.raises(InputError, match="belongs to another run") as refused:
        find(tiny_recipe(**changes), tiny_data(**data), tmp_path, model=TinyNet(**model))
    assert all(field in str(refused.value) for field in named)
    assert str(refused.value).count(": expected") == len(named)


def test_a_network_with_nothing_to_prune_is_refused(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    with pytest.raises(InputError, match="prunable layers"):
        find(tiny_recipe(), tiny_data(), tmp_path, model=model)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def other_mask(file: Path) -> None:
    write_safetensors(file, {name: ~kept for name, kept in read_safetensors(file).items()})


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("levels/00/model.safetensors", cut),
        ("levels/00/rewind.safetensors", cut),
        ("levels/00/mask.safetensors", cut),
        ("levels/00/result.json", cut),
        ("levels/01/state.safetensors", cut),
        ("levels/00/mask.safetensors", other_mask),
    ],
)
def test_a_damaged_file_of_a_run_is_refused_by_name(
    file: str, damage: Callable[[Path], None], tmp_path: Path
) -> None:
    with pytest.raises(Stopped):
        find(tiny_recipe(), tiny_data(), tmp_path, model=at_forward(TinyNet(), 20, stop), engine=_EACH_STEP)
    damage(tmp_path / file)
    with pytest.raises(InputError, match=file):
        find(tiny_recipe(), tiny_data(), tmp_path, model=TinyNet(), engine=_EACH_STEP)


def test_a_training_that_breaks_down_says_so_and_leaves_no_ticket(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lower the learning rate"):
        find(tiny_recipe(lr=1e20), tiny_data(), tmp_path, model=TinyNet())
    assert not (tmp_path / "ticket").exists()
    broken = TinyNet()
    nn.init.constant_(broken.c1.weight, torch.nan)
    with pytest.raises(InputError, match="finite"):
        find(tiny_recipe(), tiny_data(), tmp_path / "other", model=broken)
