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


@topic.case(r"half.pt: 'a\ud800.weight': expected a name in UTF-8, found half a surrogate")
def name_that_cannot_be_written(folder: Path) -> list[Any]:
    torch.save({"a\ud800.weight": torch.ones(8, 8)}, folder / "half.pt")
    return embed(folder, folder / "half.pt")


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


@topic.case("scripted.pt: model: expected a safetensors or torch file, found a TorchScript archive")
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


def _in_parts(folder: Path, content: dict[str, Any]) -> list[Any]:
    torch.save(content, folder / "parts.pt")
    return ["inspect", folder / "parts.pt"]


for _name, _lost, _content in (
    ("a part", "sub", {"params": {"a.weight": torch.ones(4, 4), "sub": {"b.weight": torch.ones(4, 4)}}}),
    ("a tensor", "embedding", {"embedding": torch.ones(4, 4), "head": {"weight": torch.ones(4, 4)}}),
    ("biases", "biases", {"weights": {"conv": torch.ones(4, 4)}, "biases": {"conv": torch.ones(4)}}),
):
    topic.enter(
        f"{_name} of the model beside its state dict",
        lambda folder, c=_content: _in_parts(folder, c),
        f"parts.pt: content: expected all weights of the model in one state dict, found more: {_lost}; save",
    )


@topic.case(
    "reference.safetensors: fft.weight: expected a type that safetensors files have, found complex128"
)
def type_that_no_copy_can_hold(folder: Path) -> list[Any]:
    weights = dict(safetensors.torch.load_file(FIXTURES / "state.safetensors"))
    torch.save(weights | {"fft.weight": torch.ones(2, dtype=torch.complex128)}, folder / "fft.pt")
    return embed(folder, folder / "fft.pt")


def _sparse(folder: Path, indices: Any, *size: int) -> list[Any]:
    """A file of a few bytes with a sparse tensor of any size, whose indices nobody checked."""
    held = torch.sparse_coo_tensor(torch.tensor(indices), torch.ones(2), size, check_invariants=False)
    torch.save({"fc.weight": held}, folder / "sparse.pt")
    return ["inspect", folder / "sparse.pt"]


topic.enter(
    "sparse tensors of a size that would not fit in memory",
    lambda folder: _sparse(folder, [[0, 1], [1, 0]], 2**20, 2**20),
    "sparse.pt: sparse tensors: expected at most 1 GiB once they are dense, found 4096.0 GiB",
)
topic.enter(
    "sparse tensor with an index beyond its shape",
    lambda folder: _sparse(folder, [[0, 9], [1, 0]], 2, 2),
    "sparse.pt: fc.weight: expected a dense tensor in memory, found a damaged one (size is inconsistent with",
)


@topic.case(
    "module.pt: model: expected a dense tensor", "the code support.user_net.UserNet", "model.state_dict()"
)
def module_in_a_checkpoint(folder: Path) -> list[Any]:
    torch.save({"epoch": 3, "model": UserNet()}, folder / "module.pt")
    return ["inspect", folder / "module.pt"]


@topic.case("deep.safetensors: a: expected a tensor of at most 64 dimensions, found 65")
def tensor_of_too_many_dimensions(folder: Path) -> list[Any]:
    header = b'{"a":{"dtype":"F32","shape":[%s],"data_offsets":[0,4]}}' % b",".join(65 * [b"1"])
    (folder / "deep.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    return ["inspect", folder / "deep.safetensors"]


@topic.case(
    "lfs.safetensors: model: expected a safetensors or torch file, found a pointer of git LFS", "pull"
)
def pointer_of_git_lfs(folder: Path) -> list[Any]:
    (folder / "lfs.safetensors").write_text("version https://git-lfs.github.com/spec/v1\nsize 9\n")
    return embed(folder, folder / "lfs.safetensors")


@topic.case("model.safetensors.index.json: shards: expected 1 files, found no model-1.safetensors")
def index_without_its_shards(folder: Path) -> list[Any]:
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-1.safetensors"}}')
    return ["inspect", folder / "model.safetensors.index.json"]


for _value in ("nan", "inf"):
    topic.enter(
        f"weights that are {_value}",
        lambda folder, v=_value: embed(
            folder, plain(folder, "broken.safetensors", {"fc.weight": torch.tensor([[1, float(v)], [0, 1]])})
        ),
        "broken.safetensors: ",
        "fc.weight: expected finite numbers, found 1 that are not",
    )
