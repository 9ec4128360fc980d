"""Files that hold no model, or a damaged one, or code."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from support.damage import RUN_CODE, RunsCode
from support.make_fixtures import FIXTURES, LAYER
from support.user_net import UserNet

from bad_inputs.case import PROOF, Topic
from bad_inputs.inputs import claim, cut_in_half, embed, fixture, flip_after, plain

topic = Topic("model file")


@topic.case("gone.pt: model: expected a bundle, a .safetensors or a torch file", "nothing")
def missing(folder: Path) -> list[Any]:
    return ["inspect", folder / "gone.pt"]


@topic.case("empty.pt: model: expected a safetensors or torch file, found an empty file")
def empty(folder: Path) -> list[Any]:
    (folder / "empty.pt").touch()
    return embed(folder, folder / "empty.pt")


@topic.case("notes.txt: model: expected a safetensors or torch file, found a file that begins with", "Dear")
def text(folder: Path) -> list[Any]:
    (folder / "notes.txt").write_text("Dear reader")
    return ["inspect", folder / "notes.txt"]


@topic.case("FOLDER: folder: expected a bundle", "ticket.json", "model.safetensors", "found neither")
def folder_without_a_model(folder: Path) -> list[Any]:
    (folder / "FOLDER").mkdir()
    return ["inspect", folder / "FOLDER"]


for _name, _mark, _field in (
    ("state.safetensors", b'data_offsets":[', "safetensors: expected a whole file, found a damaged one"),
    ("state.pt", b"\x80\x02", "torch file: expected a whole file, found a damaged one"),
    ("state-legacy.pt", b"\x80\x02", "torch file: expected a whole file, found a damaged one"),
):
    _said = f"{_name}: {_field}"
    topic.enter(
        f"{_name}, cut short", lambda folder, n=_name: ["inspect", cut_in_half(fixture(folder, n))], _said
    )
    topic.enter(
        f"{_name}, a bit flipped",
        lambda folder, n=_name, m=_mark: ["inspect", flip_after(fixture(folder, n), m)],
        _said,
    )


@topic.case("state.pt: ", "damaged")
def torch_file_with_a_bit_of_a_weight_flipped(folder: Path) -> list[Any]:
    state = safetensors.torch.load_file(FIXTURES / "state.safetensors")
    return embed(folder, flip_after(fixture(folder, "state.pt"), state[LAYER].numpy().tobytes()[:100], 2))


def _hostile(folder: Path, zipped: bool, beside: bool) -> list[Any]:
    runs = RunsCode(folder / PROOF)
    state = {"fc.weight": torch.ones(2, 2), "more": runs} if beside else runs
    torch.save(state, folder / "hostile.pt", _use_new_zipfile_serialization=zipped)
    return ["extract", folder / "hostile.pt", "--claim", claim(folder)]


for _kind in ("zip", "legacy"):
    topic.enter(
        f"{_kind} torch file that is code",
        lambda folder, k=_kind: _hostile(folder, k == "zip", beside=False),
        f"hostile.pt: pickle: expected tensors alone, found the code {RUN_CODE}, which was not run",
    )
    topic.enter(
        f"{_kind} torch file that would run code beside its weights",
        lambda folder, k=_kind: _hostile(folder, k == "zip", beside=True),
        *("hostile.pt: ", "layer1.0.conv1.weight"),  # the weights were read: they are of another network
    )


@topic.case(
    "module.pt: pickle: expected tensors alone, found the code support.user_net.UserNet", "model.state_dict()"
)
def whole_module(folder: Path) -> list[Any]:
    torch.save(UserNet(), folder / "module.pt")
    return ["inspect", folder / "module.pt"]


@topic.case("scripted.pt: ", "expected", "found")
def torchscript_archive(folder: Path) -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(UserNet().eval(), torch.zeros(1, 1, 8, 8)), folder / "scripted.pt")
    return ["inspect", folder / "scripted.pt"]


@topic.case(
    "results.pt: content: expected tensors, or a state dict under one of state_dict", "found epoch, result"
)
def torch_file_without_tensors(folder: Path) -> list[Any]:
    torch.save({"epoch": 3, "result": [0.5]}, folder / "results.pt")
    return ["inspect", folder / "results.pt"]


for _value in ("nan", "inf"):
    topic.enter(
        f"weights that are {_value}",
        lambda folder, v=_value: embed(
            folder, plain(folder, "broken.safetensors", {"fc.weight": torch.tensor([[1, float(v)], [0, 1]])})
        ),
        "broken.safetensors: ",
        "fc.weight: expected finite numbers, found 1 that are not",
    )
