"""The recipe: every field counts, every field is checked, and the presets are those of the papers."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ticket_sig import InputError
from ticket_sig.digests import json_digest
from ticket_sig.training import PRESETS, Recipe, Steps, preset

_PAPER = Recipe(arch="resnet20", dataset="cifar10")
# For each field a value that is not the paper's.
_OTHER: dict[str, Any] = {
    "arch": "resnet18",
    "dataset": "cifar100",
    "seed": 1,
    "length": Steps(182, "it"),
    "batch_size": 64,
    "lr": 0.2,
    "momentum": 0.8,
    "nesterov": True,
    "weight_decay": 0.0,
    "label_smoothing": 0.1,
    "schedule": "one-cycle",
    "milestones": (Steps(91),),
    "gamma": 0.2,
    "warmup": 0.1,
    "crop": 0,
    "flip": False,
    "validation": 0.0,
    "precision": "bf16",
    "rewind": Steps(3, "it"),
    "retrain": "rewind",
    "scope": "layerwise",
    "rates": (0.2, 0.1),
    "rounds": 2,
    "density": 0.5,
    "tolerance": 0.0,
    "exclude": ("fc*",),
}

_STEPS = st.builds(Steps, st.integers(1, 10**6), st.sampled_from(["ep", "it"]))
_SHARE = st.floats(0, 1, exclude_min=True, exclude_max=True)
_RECIPES = st.builds(
    Recipe,
    arch=st.text(),
    dataset=st.text(),
    seed=st.integers(-(2**63), 2**63),
    length=_STEPS,
    batch_size=st.integers(1, 10**6),
    lr=st.floats(1e-9, 1e9),
    momentum=_SHARE,
    nesterov=st.booleans(),
    weight_decay=st.floats(0, 1e3),
    label_smoothing=_SHARE,
    schedule=st.sampled_from(["step", "one-cycle"]),
    milestones=st.lists(_STEPS).map(tuple),
    gamma=_SHARE,
    warmup=_SHARE,
    crop=st.integers(0, 100),
    flip=st.booleans(),
    validation=_SHARE,
    precision=st.sampled_from(["float32", "bf16"]),
    rewind=_STEPS,
    retrain=st.sampled_from(["start", "rewind"]),
    scope=st.sampled_from(["global", "layerwise", "random"]),
    rates=st.lists(_SHARE, min_size=1).map(tuple),
    rounds=st.none() | st.integers(0, 100),
    tolerance=st.floats(0, 99),
    exclude=st.lists(st.text()).map(tuple),
)


@given(recipe=_RECIPES, density=st.none() | _SHARE)
@settings(deadline=None, max_examples=50)
def test_a_recipe_comes_back_from_json_as_it_was(recipe: Recipe, density: float | None) -> None:
    recipe = replace(recipe, density=density) if recipe.rounds is None else recipe
    back = Recipe.from_json(json.loads(json.dumps(recipe.to_json())))
    assert back == recipe
    assert back.to_json() == recipe.to_json()


def test_its_json_tells_every_field() -> None:
    assert _OTHER.keys() == {f.name for f in fields(Recipe)}, "give the new field a value above"
    changed = [replace(_PAPER, **{name: value}) for name, value in _OTHER.items()]
    digests = {json_digest(recipe.to_json()) for recipe in (_PAPER, *changed)}
    assert len(digests) == len(_OTHER) + 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("batch_size", 0),
        ("length", Steps(0)),
        ("lr", 0.0),
        ("lr", -0.1),
        ("lr", math.inf),
        ("lr", math.nan),
        ("momentum", 1.0),
        ("momentum", -0.1),
        ("momentum", math.nan),
        ("weight_decay", -1e-4),
        ("weight_decay", math.inf),
        ("weight_decay", math.nan),
        ("label_smoothing", 1.0),
        ("label_smoothing", -0.1),
        ("schedule", "cosine"),
        ("gamma", 0.0),
        ("gamma", 1.5),
        ("warmup", 1.0),
        ("warmup", -0.1),
        ("crop", -1),
        ("validation", 1.0),
        ("validation", -0.1),
        ("precision", "float16"),
        ("retrain", "model"),
        ("scope", "local"),
        ("rates", ()),
        ("rates", (0.2, 0.0)),
        ("rates", (1.0,)),
        ("rates", (math.nan,)),
        ("rounds", -1),
        ("density", 0.0),
        ("density", 1.0),
        ("tolerance", -1.0),
        ("tolerance", math.nan),
    ],
)
def test_a_value_out_of_range_is_refused_by_field_and_value(field: str, value: Any) -> None:
    with pytest.raises(InputError) as refused:
        replace(_PAPER, **{field: value})
    assert f"recipe: {field}: expected" in str(refused.value)
    assert f"found {value!r}" in str(refused.value)


def test_everything_that_is_out_of_range_is_named_at_once() -> None:
    with pytest.raises(InputError, match=r"batch_size: .*; lr: .*; gamma: "):
        replace(_PAPER, batch_size=0, lr=0.0, gamma=2.0)


def test_nesterov_needs_momentum() -> None:
    with pytest.raises(InputError, match="recipe: nesterov"):
        replace(_PAPER, nesterov=True, momentum=0.0)


def test_rounds_and_density_exclude_each_other() -> None:
    with pytest.raises(InputError, match=r"recipe: .*rounds.*density|recipe: .*density.*rounds"):
        replace(_PAPER, rounds=2, density=0.5)


@pytest.mark.parametrize("name", ["arch", "dataset"])
def test_a_missing_field_is_named(name: str) -> None:
    value = _PAPER.to_json()
    del value[name]
    with pytest.raises(InputError, match=f"recipe: {name}: expected, not found"):
        Recipe.from_json(value)


def test_unknown_fields_are_all_named() -> None:
    with pytest.raises(InputError, match=r"recipe: shape: found, not expected; colour: found, not expected"):
        Recipe.from_json(_PAPER.to_json() | {"shape": 1, "colour": 2})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("arch", 20),
        ("dataset", None),
        ("seed", "1"),
        ("seed", 1.5),
        ("length", 182),
        ("length", "long"),
        ("length", None),
        ("batch_size", 2.5),
        ("batch_size", "128"),
        ("lr", "0.1"),
        ("lr", None),
        ("lr", True),
        ("nesterov", "no"),
        ("flip", 1),
        ("milestones", "91ep"),
        ("milestones", [91]),
        ("milestones", None),
        ("crop", 1.5),
        ("schedule", ["step"]),
        ("rates", 0.2),
        ("rates", "0.2"),
        ("rates", [0.2, "0.1"]),
        ("rounds", 1.5),
        ("rounds", "2"),
        ("density", "0.5"),
        ("exclude", "fc.*"),
        ("exclude", [1]),
    ],
)
def test_a_field_of_another_type_is_refused(field: str, value: Any) -> None:
    with pytest.raises(InputError):
        Recipe.from_json(_PAPER.to_json() | {field: value})


# Issue 2; github.com/facebookresearch/open_lth for the rest of "open-lth".
_SGD = {"lr": 0.1, "momentum": 0.9, "nesterov": False, "weight_decay": 1e-4, "batch_size": 128}
_CIFAR = {"crop": 4, "flip": True, "validation": 0.1}
_TABLE: dict[str, dict[str, Any]] = {
    "paper": {
        **_SGD,
        **_CIFAR,
        "schedule": "step",
        "length": Steps(182),
        "milestones": (Steps(91), Steps(136)),
        "gamma": 0.1,
        "rewind": Steps(3),
        "rates": (0.2, 0.1, 0.05, 0.01),
        "tolerance": 1.0,
        "scope": "global",
    },
    "open-lth": {
        **_SGD,
        **_CIFAR,
        "schedule": "step",
        "length": Steps(160),
        "milestones": (Steps(80), Steps(120)),
        "gamma": 0.1,
        "rates": (0.2,),
    },
    "quick": {**_CIFAR, "schedule": "one-cycle", "length": Steps(12)},
    "demo": {"schedule": "one-cycle", "flip": False},
}


def test_the_presets_are_those_of_issue_2() -> None:
    assert PRESETS.keys() == _TABLE.keys()
    for name, expected in _TABLE.items():
        found = preset(name, arch="resnet20", dataset="cifar10")
        assert {field: getattr(found, field) for field in expected} == expected, name


def test_the_papers_resnet50_has_its_own_weight_decay() -> None:
    assert preset("paper", arch="resnet50", dataset="cifar10").weight_decay == 5e-4
    assert preset("paper", arch="resnet50", dataset="cifar10", weight_decay=1e-3).weight_decay == 1e-3


def test_a_preset_can_be_changed_in_any_field() -> None:
    for name, value in _OTHER.items():
        fixed = {"arch": "resnet20", "dataset": "cifar10"} | {name: value}
        assert getattr(preset("paper", **fixed), name) == value


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        InputError, match="preset: expected one of paper, open-lth, quick, demo, found 'fast'"
    ):
        preset("fast", arch="resnet20", dataset="cifar10")


@given(step=st.integers(0, 181 * 400), per_epoch=st.integers(1, 400))
def test_the_papers_learning_rate_falls_at_91_and_136_epochs(step: int, per_epoch: int) -> None:
    epoch = step / per_epoch
    expected = 0.1 if epoch < 91 else 0.01 if epoch < 136 else 0.001
    assert _PAPER.learning_rate(step, per_epoch) == pytest.approx(expected)


@given(
    epochs=st.integers(1, 30), per_epoch=st.integers(1, 50), warmup=st.floats(0, 0.9), lr=st.floats(1e-3, 10)
)
@settings(deadline=None)
def test_one_cycle_goes_straight_up_and_down_along_a_cosine(
    epochs: int, per_epoch: int, warmup: float, lr: float
) -> None:
    recipe = replace(_PAPER, schedule="one-cycle", length=Steps(epochs), warmup=warmup, lr=lr)
    total, peak = epochs * per_epoch, warmup * epochs * per_epoch
    rates = [recipe.learning_rate(step, per_epoch) for step in range(total)]
    assert all(0 < rate <= lr for rate in rates)
    up, down = rates[: math.ceil(peak)], rates[math.ceil(peak) :]
    assert up == sorted(up) and down == sorted(down, reverse=True)
    # Straight: the same rise at every step.
    rises = [b - a for a, b in itertools.pairwise(up)]
    assert all(rise == pytest.approx(lr / (peak + 1), rel=1e-6) for rise in rises)
    for step, rate in enumerate(down, math.ceil(peak)):
        done = (step - peak) / (total - peak)
        assert rate == pytest.approx(lr * math.cos(done * math.pi / 2) ** 2, rel=1e-6, abs=1e-9)


def test_a_schedule_in_iterations_does_not_ask_for_the_epoch() -> None:
    recipe = replace(_PAPER, milestones=(Steps(10, "it"),), length=Steps(20, "it"))
    assert [recipe.learning_rate(step, 7) for step in (9, 10)] == pytest.approx([0.1, 0.01])
