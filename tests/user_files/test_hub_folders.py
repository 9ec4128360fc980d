"""People have models as hubs lay them out: shards and their index, the index alone, `pytorch_model.bin`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from support.command_line import could_not, done, run
from support.shards import write_shards
from support.signed import assert_verified, signed_weights
from torch import Tensor

from ticket_sig import InputError, load
from ticket_sig.formats import open_weights
from ticket_sig.formats.bundle import is_bundle
from ticket_sig.formats.weights import Shards

Save = Callable[[dict[str, Tensor], Path], Any]


def hub(folder: Path, weights: Mapping[str, Tensor], name: str, save: Save) -> Path:
    """Three shards of a model with its index, as transformers and diffusers name them."""
    folder.mkdir()
    base, _, ending = name.rpartition(".")
    index = {}
    for number in range(3):
        file = f"{base}-{number + 1:05}-of-00003.{ending}"
        part = {n: weights[n] for n in list(weights)[number::3]}
        save(part, folder / file)
        index.update(dict.fromkeys(part, file))
    (folder / f"{name}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    (folder / "config.json").write_text("{}")
    return folder


NAMES: dict[str, Save] = {
    "model.safetensors": safetensors.torch.save_file,
    "model.fp32.safetensors": safetensors.torch.save_file,
    "diffusion_pytorch_model.safetensors": safetensors.torch.save_file,
    "pytorch_model.bin": torch.save,
    "diffusion_pytorch_model.bin": torch.save,
}


@pytest.mark.parametrize("name", NAMES)
def test_shards_are_verified_by_folder_and_by_index(name: str, tmp_path: Path) -> None:
    folder = hub(tmp_path / "hub", signed_weights(), name, NAMES[name])
    for model in (folder, folder / f"{name}.index.json"):
        assert_verified(model)
        assert all(torch.equal(load(model).ticket.weights[n], t) for n, t in signed_weights().items())
        done(["inspect", model])


@pytest.mark.parametrize("name", NAMES)
def test_one_file_of_a_folder_is_verified(name: str, tmp_path: Path) -> None:
    (tmp_path / "hub").mkdir()
    NAMES[name](signed_weights(), tmp_path / "hub" / name)
    (tmp_path / "hub" / "config.json").write_text("{}")
    assert_verified(tmp_path / "hub")


def test_where_there_are_both_the_safetensors_are_the_model(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "hub", signed_weights())
    torch.save({"a.weight": torch.ones(2, 2)}, folder / "pytorch_model.bin")
    assert_verified(folder)


def test_content_decides_and_not_the_ending(tmp_path: Path) -> None:
    assert_verified(hub(tmp_path / "one", signed_weights(), "model.safetensors", torch.save))
    assert_verified(hub(tmp_path / "two", signed_weights(), "pytorch_model.bin", safetensors.torch.save_file))


def test_a_mark_in_the_mask_makes_a_bundle(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "hub", signed_weights())
    for model in (folder, folder / "model.safetensors.index.json"):
        out = tmp_path / f"of-{model.suffix or 'folder'}"
        done(["embed", model, "--message", "again", "--out", out])
        assert is_bundle(out) and run(["extract", out]).out == "again\n"


@pytest.mark.parametrize("by", ["", "model.safetensors.index.json"])
def test_a_mark_of_single_values_copies_the_files(by: str, tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    dense = {n: torch.randn(40, 30, generator=draw) for n in ("a", "b", "c", "d")}
    folder, out = write_shards(tmp_path / "hub", dense), tmp_path / "out"
    done(["embed", folder / by, "--mark", "freezenet", "--length", 300, "--out", out])
    names = [file.name for file in sorted(out.iterdir())]
    assert names == sorted(["claim.json", *(file.name for file in folder.iterdir())])
    for model in (out, out / "model.safetensors.index.json"):
        assert isinstance(open_weights(model), Shards)
        assert run(["verify", model, "--claim", out / "claim.json"]).code == 0
        assert run(["extract", model, "--claim", out / "claim.json"]).code in (0, 2)


def test_values_in_old_files_make_a_bundle(tmp_path: Path) -> None:
    dense = {n: torch.randn(40, 30) for n in ("a", "b", "c")}
    folder, out = hub(tmp_path / "hub", dense, "pytorch_model.bin", torch.save), tmp_path / "out"
    done(["embed", folder, "--mark", "freezenet", "--length", 300, "--out", out])
    assert is_bundle(out)
    claim = out / "claim.json"
    files = safetensors.torch.load_file(out / "model.safetensors")
    suspect = hub(tmp_path / "suspect", files, "pytorch_model.bin", torch.save)
    assert run(["verify", suspect, "--claim", claim]).code == 0


def test_an_index_beside_another_model_is_not_copied_as_that_model(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "hub", signed_weights())
    other = folder / "other.safetensors.index.json"
    other.write_text((folder / "model.safetensors.index.json").read_text())
    assert_verified(other)
    said = run(["embed", other, "--message", "x", "--out", tmp_path / "out"])
    could_not(said, "other.safetensors.index.json: index: expected model.safetensors.index.json, that of its")


def test_a_pruned_value_is_not_brought_back_in_a_copy(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "hub", signed_weights())
    said = run(["embed", folder, "--mark", "freezenet", "--length", 300, "--out", tmp_path / "out"])
    could_not(said, "hub: model: weights: expected a dense network, found pruned weights in a.weight, ")
    assert not (tmp_path / "out").exists()


def edit(folder: Path, **changes: object) -> None:
    """Changes the map of an index of torch files."""
    index = folder / "pytorch_model.bin.index.json"
    value = json.loads(index.read_text())
    value["weight_map"].update(changes)
    index.write_text(json.dumps(value))


SHARD = "pytorch_model-00001-of-00003.bin"
HARMS: dict[str, tuple[Callable[[Path], object], str]] = {
    "lost": (
        lambda folder: (folder / SHARD).unlink(),
        rf"index\.json: shards: expected 3 files, found no {SHARD}",
    ),
    "outside": (
        lambda folder: edit(folder, more="../model.bin"),
        r"index\.json: weight_map: expected names of \.bin or \.pt or \.pth files of its folder, .*'\.\./mod",
    ),
    "twice": (
        lambda folder: torch.save({"b.weight": torch.ones(2)}, folder / SHARD),
        r"pytorch_model-00002-of-00003\.bin: b\.weight: expected a tensor of one file, found one of pytorch",
    ),
    "a number for a name": (
        lambda folder: torch.save({3: torch.ones(2)}, folder / SHARD),
        r"index\.json: a\.weight: expected in pytorch_model-00001-of-00003\.bin, not found; .*3: found in",
    ),
    "elsewhere": (
        lambda folder: edit(folder, **{"b.bias": "pytorch_model-00002-of-00003.bin"}),
        r"index\.json: b\.bias: expected in pytorch_model-00002-of-00003\.bin, found in pytorch_model-0000",
    ),
    "no mapping": (
        lambda folder: torch.save([torch.ones(2)], folder / SHARD),
        rf"{SHARD}: content: expected tensors by name, found a list",
    ),
    "cut": (
        lambda folder: (folder / SHARD).write_bytes((folder / SHARD).read_bytes()[:-30]),
        rf"{SHARD}: torch file: expected a whole file, found a damaged one",
    ),
    "pointer": (
        lambda folder: (folder / SHARD).write_text("version https://git-lfs.github.com/spec/v1\n"),
        rf"{SHARD}: model: expected a safetensors or torch file, found a pointer of git LFS",
    ),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_folder_of_torch_files_is_one_line(harm: str, tmp_path: Path) -> None:
    folder = hub(tmp_path / "hub", signed_weights(), "pytorch_model.bin", torch.save)
    HARMS[harm][0](folder)
    for read in (load, open_weights):
        with pytest.raises(InputError, match=HARMS[harm][1]) as error:
            read(folder)
        assert "\n" not in str(error.value)


def test_a_folder_of_several_models_is_not_guessed_at(tmp_path: Path) -> None:
    for name in ("one.safetensors", "two.safetensors"):
        safetensors.torch.save_file(signed_weights(), tmp_path / name)
    could_not(run(["inspect", tmp_path]), "found one.safetensors, two.safetensors; name the file itself")
