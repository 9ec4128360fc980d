"""FreezeNet's watermark in models that cannot hold it, and in claims that were changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from support.shards import write_shards
from torch import Tensor

from bad_inputs.case import Topic
from bad_inputs.inputs import edit_mark, marked, plain

topic = Topic("watermark")


def _apply(folder: Path, state: dict[str, Tensor], *more: Any, length: int = 4) -> list[Any]:
    model = plain(folder, "net.pt", state)
    return ["embed", model, "--mark", "freezenet", "--length", length, *more, "--out", folder / "OUT"]


for _name, _length, _says in (
    (
        "a negative length",
        -1,
        "freezenet: length: expected a whole number of 0 or more, found a negative one",
    ),
    ("a length above N", 7, "net.pt: freezenet: length: expected 0 to 6, the network's parameters, found 7"),
):
    topic.enter(
        _name,
        lambda folder, length=_length: _apply(
            folder, {"a.weight": torch.ones(2, 3)}, "--message", "mine", length=length
        ),
        _says,
    )


@topic.case("freezenet: data: expected 1 byte or more, found none")
def empty_data(folder: Path) -> list[Any]:
    return _apply(folder, {"a.weight": torch.ones(2, 3)}, "--message", "")


@topic.case("freezenet: network: expected trainable parameters, found none")
def network_without_trainable_parameters(folder: Path) -> list[Any]:
    return _apply(folder, {"steps": torch.tensor(7), "norm.running_mean": torch.ones(9)}, "--message", "mine")


@topic.case("net.safetensors: a.weight: expected floats of 16 bits or more, found float8_e4m3fn; save the")
def weights_of_8_bits(folder: Path) -> list[Any]:
    state = {"a.weight": torch.ones(2, 3).to(torch.float8_e4m3fn), "b.weight": torch.ones(2, 2)}
    model = plain(folder, "net.safetensors", state)
    return ["embed", model, "--mark", "freezenet", "--length", 10, "--out", folder / "OUT"]


@topic.case("not verified", "freezenet: a.weight: expected shape [40, 30], found [40, 31]", code=1)
def parameters_that_changed_shape(folder: Path) -> list[Any]:
    claimed = marked(folder, "freezenet", "--message", "mine", "--length", 50)
    other = {"a.weight": torch.randn(40, 31), "b.weight": torch.randn(6, 40)}
    return ["verify", plain(folder, "net.pt", other), "--claim", claimed]


@topic.case("shards: expected 2 files, found no model-00002-of-00002.safetensors")
def a_missing_shard(folder: Path) -> list[Any]:
    claimed = marked(folder, "freezenet", "--message", "mine", "--length", 50)
    weights = {"a.weight": torch.randn(40, 30), "b.weight": torch.randn(6, 40)}
    model = write_shards(folder / "model", weights, count=2)
    (model / "model-00002-of-00002.safetensors").unlink()
    return ["verify", model, "--claim", claimed]


@topic.case("model.safetensors: weights: a.weight: expected finite numbers, found 50 that are not")
def fixed_values_that_are_nan(folder: Path) -> list[Any]:
    claimed = marked(folder, "freezenet", "--message", "mine", "--length", 50)
    safetensors.torch.save_file({"a.weight": torch.full((40, 30), torch.nan)}, folder / "model.safetensors")
    edit_mark(claimed, manifest={"a.weight": [40, 30]})
    return ["verify", folder / "model.safetensors", "--claim", claimed]


for _name, _changes, _says in (
    ("data that are no digits", {"data": "mine"}, "data: expected hexadecimal digits, found something else"),
    ("a length in words", {"length": "fifty"}, "length: expected a whole number, found 'fifty'"),
    (
        "a shape of negative numbers",
        {"manifest": {"a.weight": [-40, 30]}},
        "manifest, a.weight: expected a shape",
    ),
    ("an unknown scale", {"scale": "loud"}, "scale: expected one of unit, layer, legacy, found 'loud'"),
):

    def _hostile_claim(folder: Path, changes: dict[str, Any] = _changes) -> list[Any]:
        claimed = marked(folder, "freezenet", "--message", "mine", "--length", 50)
        edit_mark(claimed, **changes)
        return ["verify", folder / "owner.pt", "--claim", claimed]

    topic.enter(f"a claim with {_name}", _hostile_claim, "claim.json: ", _says)
