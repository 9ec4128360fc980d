"""Weights read in parts: the same entries as read whole, little memory, and every damage named."""

from __future__ import annotations

import json
import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from support.shards import INDEX, packed, weights, write_packed, write_shards

from ticket_sig import InputError, Mask, Ticket, save
from ticket_sig.digests import tensor_digest
from ticket_sig.formats import load, open_weights
from ticket_sig.formats.dense import read_as
from ticket_sig.formats.weights import DTYPES, InMemory, Shards, is_safetensors, tensors_of


def edit_index(folder: Path, change: Callable[[dict[str, str]], None]) -> None:
    index = json.loads((folder / INDEX).read_text())
    change(index["weight_map"])
    (folder / INDEX).write_text(json.dumps(index))


def memory(field: str) -> int:
    """A line of /proc/self/status, in MiB."""
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[field].split()[0]) // 1024


@pytest.mark.parametrize("shards", [1, 3])
def test_shards_are_read_as_one_file_is(shards: int, tmp_path: Path) -> None:
    tensors = weights()
    read = Shards(write_shards(tmp_path / "model", tensors, shards))
    assert read.shapes == {name: tuple(t.shape) for name, t in sorted(tensors.items())}
    assert read.dtypes == {name: t.dtype for name, t in tensors.items()}
    assert all(torch.equal(read.tensor(name), t) for name, t in tensors.items())
    assert tensor_digest(tensors_of(read)) == tensor_digest(tensors)
    places = np.array([0, 5, 1000], dtype=np.int64)
    assert torch.equal(read.take("a.weight", places), tensors["a.weight"].flatten()[torch.from_numpy(places)])


@pytest.mark.parametrize("name", DTYPES)
def test_every_type_is_read_in_parts_as_whole(name: str, tmp_path: Path) -> None:
    tensor = torch.arange(50).remainder(7).to(DTYPES[name]).reshape(5, 10)
    safetensors.torch.save_file({"x": tensor}, tmp_path / "x.safetensors")
    read = Shards(tmp_path / "x.safetensors")
    whole = safetensors.torch.load_file(tmp_path / "x.safetensors")["x"]
    whole = whole.to(read_as(whole.dtype))
    assert read.dtypes["x"] == whole.dtype
    assert torch.equal(read.tensor("x").view(torch.uint8), whole.view(torch.uint8))
    taken = read.take("x", np.array([3, 49]))
    assert torch.equal(taken.view(torch.uint8), whole.flatten()[torch.tensor([3, 49])].view(torch.uint8))


def test_entries_are_found_wherever_they_lie_and_in_any_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not aligned, and over the edges of what is mapped at a time.
    monkeypatch.setattr("ticket_sig.formats.weights._WINDOW", 2 * mmap.ALLOCATIONGRANULARITY)
    tensors = {**packed(), "large": torch.arange(50_000).double()}
    read = Shards(write_packed(tmp_path / "x.safetensors", tensors))
    for name, tensor in tensors.items():
        assert torch.equal(read.tensor(name), tensor)
        order = torch.randperm(tensor.numel(), generator=torch.Generator().manual_seed(0))
        twice = torch.cat([order, order[:5]])
        assert torch.equal(read.take(name, twice.numpy()), tensor.flatten()[twice])


@pytest.mark.parametrize("place", [-1, 64])
def test_a_place_beyond_a_tensor_is_not_read_from_its_neighbour(place: int, tmp_path: Path) -> None:
    read = Shards(write_shards(tmp_path / "model", weights(), 1))
    with pytest.raises(IndexError, match=r"b\.bias has 64 entries"):
        read.take("b.bias", np.array([3, place]))


def test_writing_into_a_mapped_tensor_changes_no_file(tmp_path: Path) -> None:
    file = write_packed(tmp_path / "x.safetensors", packed())
    before = file.read_bytes()
    Shards(file).tensor("float32").fill_(9)
    assert file.read_bytes() == before


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux to measure memory")
def test_a_large_model_takes_little_memory(tmp_path: Path) -> None:
    size, count = 2**29, 2000
    head = json.dumps({"w": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}).encode()
    with (tmp_path / "x.safetensors").open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        file.truncate(8 + len(head) + size)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
    before = memory("VmHWM")
    read = Shards(tmp_path / "x.safetensors")
    assert read.take("w", np.arange(0, size // 4, size // 4 // count)).eq(0).all()
    assert memory("VmHWM") - before < 64, "512 MiB are mapped, and looked at all over"


def test_wrappers_prefixes_are_taken_off(tmp_path: Path) -> None:
    tensors = {f"module.{name}": t for name, t in weights().items()}
    read = Shards(write_shards(tmp_path / "model", tensors))
    assert read.shapes.keys() == weights().keys()
    assert torch.equal(read.tensor("b.bias"), tensors["module.b.bias"])


def test_tied_tensors_are_listed_once_and_found_under_each_name() -> None:
    shared, other = torch.ones(3, 2), torch.zeros(4)
    read = InMemory({"out.weight": shared, "x": other, "in.weight": shared})
    assert list(read.shapes) == list(read.dtypes) == ["out.weight", "x"]
    assert len(read.shapes) == 2 and list(tensors_of(read)) == ["out.weight", "x"]
    assert read.shapes["in.weight"] == read.shapes.get("out.weight") == (3, 2)
    assert read.take("in.weight", np.array([1])).item() == 1
    with pytest.raises(KeyError):
        tensors_of(read)["nothing"]


def test_a_weight_in_two_parts_is_put_together(tmp_path: Path) -> None:
    original, kept = torch.randn(4, 3), torch.rand(4, 3) < 0.5
    parts = {"a.weight_orig": original, "a.weight_mask": kept.float()}
    safetensors.torch.save_file(parts, tmp_path / "pruned.safetensors")
    assert torch.equal(open_weights(tmp_path / "pruned.safetensors").tensor("a.weight"), original * kept)


def test_what_holds_a_model_is_told_by_its_content(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards", weights())
    bare = write_packed(tmp_path / "weights", packed())
    torch.save(weights(), tmp_path / "x.pt")
    torch.save(weights(), tmp_path / "named.safetensors")
    (tmp_path / "empty").mkdir()
    assert is_safetensors(folder) and is_safetensors(bare)
    names = ("x.pt", "named.safetensors", "empty", "gone", "gone.safetensors")
    assert not any(is_safetensors(tmp_path / name) for name in names)
    assert isinstance(open_weights(folder), Shards)
    assert isinstance(open_weights(tmp_path / "x.pt"), InMemory)
    ticket = Ticket(weights=weights(), mask=Mask.of_zeros(weights()))
    assert isinstance(open_weights(save(ticket, tmp_path / "bundle")), InMemory)


def lost_shard(folder: Path) -> str:
    (folder / "model-00002-of-00003.safetensors").unlink()
    return r"index\.json: shards: expected 3 files, found no model-00002-of-00003\.safetensors"


def cut_shard(folder: Path) -> str:
    file = folder / "model-00001-of-00003.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    return r"model-00001-of-00003\.safetensors: safetensors: expected a whole file, found a damaged one"


def shard_of_another_kind(folder: Path) -> str:
    torch.save(weights(), folder / "model-00001-of-00003.safetensors")
    return (
        r"model-00001-of-00003\.safetensors: model: expected a safetensors file, found a file of torch\.save"
    )


def doubled_tensor(folder: Path) -> str:
    safetensors.torch.save_file({"b.bias": torch.ones(64)}, folder / "model-00002-of-00003.safetensors")
    return (
        r"model-00003-of-00003\.safetensors: b\.bias: expected a tensor of one file, found one of model-00002"
    )


def tensor_that_is_nowhere(folder: Path) -> str:
    edit_index(folder, lambda names: names.update(more="model-00001-of-00003.safetensors"))
    return r"index\.json: more: expected in model-00001-of-00003\.safetensors, not found"


def tensor_elsewhere(folder: Path) -> str:
    edit_index(folder, lambda names: names.update({"b.weight": "model-00001-of-00003.safetensors"}))
    return r"b\.weight: expected in model-00001-of-00003\.safetensors, found in model-00002-of-00003"


def tensor_not_in_the_index(folder: Path) -> str:
    edit_index(folder, lambda names: names.pop("a.weight"))
    return r"a\.weight: found in model-00001-of-00003\.safetensors, not expected"


def index_that_does_not_parse(folder: Path) -> str:
    (folder / INDEX).write_text('{"weight_map": {')
    return r"index\.json: JSON: expected a whole JSON object"


def index_without_names(folder: Path) -> str:
    (folder / INDEX).write_text('{"weight_map": []}')
    return (
        r"index\.json: weight_map: expected names of \.safetensors files of its folder, by tensor, found \[\]"
    )


def two_models(folder: Path) -> str:
    safetensors.torch.save_file(weights(), folder / "model.safetensors")
    return r"model: folder: expected model\.safetensors or model\.safetensors\.index\.json, found both"


def other_weights_alone(folder: Path) -> str:
    for file in list(folder.iterdir()):
        file.unlink()
    (folder / "pytorch_model.bin.index.json").write_text("{}")
    return r"pytorch_model\.bin\.index\.json: weight_map: expected names of \.bin or .*, found None"


def empty_folder(folder: Path) -> str:
    for file in list(folder.iterdir()):
        file.unlink()
    return r"folder: expected .* model\.safetensors or pytorch_model\.bin, or .* its shards, found neither"


@pytest.mark.parametrize(
    "harm",
    [
        lost_shard,
        cut_shard,
        shard_of_another_kind,
        doubled_tensor,
        tensor_that_is_nowhere,
        tensor_elsewhere,
        tensor_not_in_the_index,
        index_that_does_not_parse,
        index_without_names,
        two_models,
        other_weights_alone,
        empty_folder,
    ],
)
def test_a_damaged_model_is_refused_in_one_line(harm: Callable[[Path], str], tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "model", weights())
    expected = harm(folder)
    with pytest.raises(InputError, match=expected) as error:
        Shards(folder)
    assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x.safetensors", "a/x.safetensors", "a\\x.safetensors", "C:x.safetensors", 3, None],
)
def test_an_index_cannot_lead_out_of_its_folder(name: object, tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "model", weights())
    edit_index(folder, lambda names: names.update({"b.bias": name}))  # type: ignore[dict-item]
    with pytest.raises(InputError, match=r"weight_map: expected names of \.safetensors files"):
        Shards(folder)


@pytest.mark.parametrize("name", ["claim.json", "config.json", "shard.bin"])
def test_a_shard_is_named_as_one_lest_a_copy_write_over_it(name: str, tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "model", weights())
    (folder / "model-00001-of-00003.safetensors").rename(folder / name)
    edit_index(folder, lambda names: names.update({"a.weight": name}))
    with pytest.raises(InputError, match=rf"expected names of \.safetensors files .*, found '{name}'"):
        Shards(folder)


def test_names_of_any_length_and_number_give_a_short_line(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "model", weights())
    whole = (folder / INDEX).read_text()
    long = "x" * 10**6
    shard = "model-00001-of-00003.safetensors"
    harms: list[dict[str, str]] = [
        {"b.bias": f"{long}.safetensors"},
        {f"b.{i}": f"{'x' * 200}{i}.safetensors" for i in range(1000)},
        {f"{i}{long}": shard for i in range(20)},
    ]
    for harm in harms:
        (folder / INDEX).write_text(whole)
        edit_index(folder, lambda names, harm=harm: names.update(harm))  # type: ignore[misc]
        with pytest.raises(InputError) as error:
            Shards(folder)
        assert len(str(error.value)) < 2000 and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "shape", [[0, 2**62, 2**62], [0, 2**47, 2**47], [0, 2**48], [1] * 65, [0] + [1] * 64]
)
def test_a_shape_that_torch_cannot_take_is_named(shape: list[int], tmp_path: Path) -> None:
    size = 0 if 0 in shape else 4
    head = json.dumps({"x" * 200: {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}).encode()
    (tmp_path / "x.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + bytes(size))
    with pytest.raises(InputError, match=r"shape of x{80}: expected at most 64 dimensions") as error:
        Shards(tmp_path / "x.safetensors")
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("shape", [[1] * 64, [0, 2**47], [2, 0, 3], []])
def test_a_shape_that_torch_can_take_is_read(shape: list[int], tmp_path: Path) -> None:
    size = 0 if 0 in shape else 4
    head = json.dumps({"x": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}).encode()
    (tmp_path / "x.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + bytes(size))
    assert list(Shards(tmp_path / "x.safetensors").tensor("x").shape) == shape


class _NoRoom(np.ndarray[Any, Any]):
    """An array that there is no memory to add to another."""

    def __array_ufunc__(self, *_: Any, **__: Any) -> Any:
        raise MemoryError


def test_a_lack_of_memory_is_said_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Shards(write_packed(tmp_path / "x.safetensors", packed()))
    arange = np.arange
    monkeypatch.setattr(np, "arange", lambda size: arange(size).view(_NoRoom))
    with pytest.raises(MemoryError):
        read.take("float32", np.array([1, 2]))


def test_a_file_that_was_cut_is_noticed_from_its_header(tmp_path: Path) -> None:
    data = write_packed(tmp_path / "x.safetensors", packed()).read_bytes()
    for length in [*range(0, len(data), 17), len(data) - 1]:
        (tmp_path / "x.safetensors").write_bytes(data[:length])
        with pytest.raises(
            InputError, match=r"x\.safetensors: (safetensors: expected a whole|model: expected a safet)"
        ):
            Shards(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("dtype", "size", "said"),
    [
        ("F4", 4, "types: expected among BOOL, .*, found x: F4"),
        ("F13", 8, "types: expected those that torch .* have, found F13"),
    ],
)
def test_a_type_that_is_not_known_is_named(dtype: str, size: int, said: str, tmp_path: Path) -> None:
    head = json.dumps({"x": {"dtype": dtype, "shape": [8], "data_offsets": [0, size]}}).encode()
    (tmp_path / "x.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + bytes(size))
    with pytest.raises(InputError, match=said):
        Shards(tmp_path / "x.safetensors")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.safetensors: file: expected a safetensors file, found none"):
        Shards(tmp_path / "gone.safetensors")


def test_the_names_and_shapes_are_those_that_load_reads(tmp_path: Path) -> None:
    file = write_shards(tmp_path / "model", weights(), 1) / "model-00001-of-00001.safetensors"
    loaded = load(file).ticket.weights
    assert Shards(file).shapes == {name: tuple(t.shape) for name, t in sorted(loaded.items())}
