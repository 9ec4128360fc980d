"""People pass models on as 8-bit floats of four types, in torch files and in safetensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from support.command_line import done, run
from support.shards import write_packed, write_shards
from support.signed import assert_verified, signed_weights
from torch import Tensor

from ticket_sig import Claim, load, verify
from ticket_sig.formats import open_weights

TYPES = ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz")


def cast(name: str) -> dict[str, Tensor]:
    """The signed model, its matrices in this type."""
    dtype = getattr(torch, name)
    return {n: t.to(dtype) if t.ndim > 1 else t for n, t in signed_weights().items()}


@pytest.mark.parametrize("name", TYPES)
def test_a_code_is_verified_in_every_type_and_kind_of_file(name: str, tmp_path: Path) -> None:
    torch.save(cast(name), tmp_path / "zip.pt")
    torch.save(cast(name), tmp_path / "legacy.pt", _use_new_zipfile_serialization=False)
    write_packed(tmp_path / "x.safetensors", cast(name))
    for file in ("zip.pt", "legacy.pt", "x.safetensors"):
        assert_verified(tmp_path / file)
        read = load(tmp_path / file).ticket.weights
        assert {n: t.dtype for n, t in read.items()} == dict.fromkeys(read, torch.float32)
        assert all(torch.equal(read[n], t.float()) for n, t in cast(name).items())


def test_the_verbs_take_them(tmp_path: Path) -> None:
    write_packed(tmp_path / "model.safetensors", cast("float8_e4m3fn"))
    for model in (tmp_path / "model.safetensors", write_shards(tmp_path / "hub", cast("float8_e5m2"), 2)):
        done(["inspect", model])
        signed = tmp_path / f"signed-{model.stem}"
        done(["embed", model, "--message", "again", "--out", signed])
        done(["attack", "random-pruning", signed, "--rate", 0.1, "--out", tmp_path / f"stolen-{model.stem}"])
        plain = safetensors.torch.load_file(signed / "model.safetensors")
        assert {t.dtype for t in plain.values()} == {torch.float32}


def test_in_parts_they_are_read_as_in_one(tmp_path: Path) -> None:
    file = write_packed(tmp_path / "x.safetensors", cast("float8_e5m2fnuz"))
    parts, whole = open_weights(file), load(file).ticket.weights
    places = np.array([3, 0, 900])
    for name in ("a.weight", "b.weight"):
        assert torch.equal(parts.tensor(name), whole[name]) and parts.dtypes[name] == torch.float32
        assert torch.equal(parts.take(name, places), whole[name].flatten()[torch.from_numpy(places)])


def test_bits_of_a_dense_model_are_still_read_after_the_cast(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    dense = {n: torch.randn(40, 36, 3, 3, generator=draw) for n in ("a", "b", "c")}
    torch.save(dense, tmp_path / "dense.pt")
    claim = tmp_path / "marked" / "claim.json"
    done(["embed", tmp_path / "dense.pt", "--mark", "uchida", "--out", claim.parent])
    marked = safetensors.torch.load_file(claim.parent / "model.safetensors")
    coarse = write_packed(
        tmp_path / "x.safetensors", {n: t.to(torch.float8_e4m3fn) for n, t in marked.items()}
    )
    assert run(["verify", coarse, "--claim", claim]).code == 0
    assert verify(safetensors.torch.load_file(coarse), Claim.read(claim)).verified


def test_tied_weights_stay_tied(tmp_path: Path) -> None:
    one = torch.randn(6, 5).to(torch.float8_e4m3fn)
    torch.save({"in.weight": one, "out.weight": one}, tmp_path / "x.pt")
    read = load(tmp_path / "x.pt").ticket.weights
    assert read["in.weight"] is read["out.weight"]
