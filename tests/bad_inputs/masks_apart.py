"""Masks in a file of their own, and names of layers, that leave open what is meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from support.make_fixtures import LAYER
from torch import Tensor

from bad_inputs.case import Topic
from bad_inputs.inputs import claim, embed, fixture

topic = Topic("mask apart")
STATE = {"a.weight": torch.ones(2, 3), "b.weight": torch.ones(3, 3)}


def given(folder: Path, masks: Any) -> list[Any]:
    torch.save(STATE, folder / "net.pt")
    torch.save(masks, folder / "mask.pt")
    return embed(folder, folder / "net.pt", "--mask", folder / "mask.pt")


def saved(folder: Path, content: Any) -> list[Any]:
    torch.save(content, folder / "net.pt")
    return embed(folder, folder / "net.pt")


@topic.case("mask.pt: x.weight: expected a tensor of the model of that name, found none; y.weight: expected")
def fits_no_tensor(folder: Path) -> list[Any]:
    return given(folder, {"x.weight": torch.ones(2, 3), "y.weight": torch.ones(3, 3)})


@topic.case("mask.pt: x0.weight: expected a tensor", "x7.weight: expected", "found none; and 12 more")
def fits_none_of_many(folder: Path) -> list[Any]:
    return given(folder, {f"x{n}.weight": torch.ones(4, 4) for n in range(20)})


@topic.case("mask.pt: head.weight_mask: expected a tensor of the model of that name, found none")
def for_an_unknown_tensor_among_others(folder: Path) -> list[Any]:
    return given(folder, {"a.weight_mask": torch.ones(2, 3), "head.weight_mask": torch.ones(2, 2)})


@topic.case("mask.pt: a.weight: expected shape [2, 3], found [3, 2]")
def of_another_shape(folder: Path) -> list[Any]:
    return given(folder, {"a.weight": torch.ones(3, 2), "b.weight": torch.ones(3, 3)})


@topic.case("mask.pt: a.weight: expected 0 and 1 only, found 2 other values")
def of_other_values(folder: Path) -> list[Any]:
    return given(folder, {"a.weight": torch.tensor([[0, 1, 0.5], [2, 0, 1]])})


@topic.case("mask.pt: content: expected tensors", "found masks")
def a_list(folder: Path) -> list[Any]:
    return given(folder, {"masks": [torch.ones(2, 3), torch.ones(3, 3)]})


@topic.case("mask.txt: model: expected a safetensors or torch file, found a file that begins with b'Dear")
def a_text(folder: Path) -> list[Any]:
    given(folder, {})
    (folder / "mask.txt").write_text("Dear reader")
    return ["inspect", folder / "net.pt", "--mask", folder / "mask.txt"]


@topic.case("net.pt: gone.weight: expected beside mask_gone___weight, not found")
def of_open_lth_without_its_weight(folder: Path) -> list[Any]:
    return saved(folder, STATE | {"mask_gone___weight": torch.ones(2, 2)})


@topic.case("net.pt: gone.weight: expected beside gone.parametrizations.weight.0.mask, not found")
def of_a_parametrization_without_its_weight(folder: Path) -> list[Any]:
    return saved(folder, STATE | {"gone.parametrizations.weight.0.mask": torch.ones(2, 2)})


@topic.case("net.pt: gone.weight: expected a tensor of the model of that name, found none")
def under_a_key_without_its_weight(folder: Path) -> list[Any]:
    return saved(folder, {"state_dict": STATE, "masks": {"gone.weight": torch.ones(2, 2)}})


@topic.case("mask.pt: a.weight: expected the mask that a.weight_mask is, found another")
def given_twice_and_not_the_same(folder: Path) -> list[Any]:
    given(folder, {"a.weight": torch.zeros(2, 3)})
    torch.save(STATE | {"a.weight_mask": torch.ones(2, 3)}, folder / "net.pt")
    return ["inspect", folder / "net.pt", "--mask", folder / "mask.pt"]


@topic.case(
    "net.pt: content: expected one state dict, found several: first, second; save the one that is meant"
)
def several_state_dicts(folder: Path) -> list[Any]:
    return saved(
        folder, {"epoch": 3, "first": STATE, "second": STATE, "masks": {"a.weight": torch.ones(2, 3)}}
    )


def _layers(folder: Path, state: dict[str, Tensor]) -> list[Any]:
    torch.save(state, folder / "suspect.pt")
    return ["verify", folder / "suspect.pt", "--claim", claim(folder)]


@topic.case(
    f"suspect.pt: model: layer: expected one tensor that could be the claimed {LAYER}, ",
    f"found ema.{LAYER}, model.{LAYER}",
)
def two_tensors_that_could_be_the_claimed_layer(folder: Path) -> list[Any]:
    weights = torch.ones(22, 22, 2, 2)
    return _layers(folder, {f"ema.{LAYER}": weights, f"model.{LAYER}": weights * 2})


@topic.case("not verified", f"layer: expected the claim's {LAYER}, found none of that name or shape", code=1)
def a_layer_that_is_found_in_another_shape_alone(folder: Path) -> list[Any]:
    return _layers(folder, {f"model.{LAYER}": torch.ones(22, 21, 2, 2)})


@topic.case("claim.json: claim: tied: expected at most 1000 names, found 1001")
def a_claim_of_more_tied_names_than_can_be_looked_for(folder: Path) -> list[Any]:
    path = claim(folder, tied={f"x{n}": "y" for n in range(1001)})
    return ["verify", fixture(folder, "state.pt"), "--claim", path]


@topic.case("claim.json: claim: tied: expected names by name, found 3")
def a_claim_whose_tied_names_are_none(folder: Path) -> list[Any]:
    return ["verify", fixture(folder, "state.pt"), "--claim", claim(folder, tied={"a": 3})]
