"""The reference on the command line: kept by embed, carried along by train, used by verify."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import safetensors.torch
import torch
from support.command_line import Command, could_not, read_json
from support.networks import dense_bundle
from support.tickets import sparse_ticket

from ticket_sig import Claim, load
from ticket_sig.digests import tensor_digest
from ticket_sig.recovery.undone import Undone
from ticket_sig.verification import through

MESSAGE = "owner@example.org"


@pytest.fixture
def signed(model: Path, tmp_path: Path, ticket_sig: Command) -> Path:
    """The signed model, with claim and reference."""
    said = ticket_sig("embed", model, "--message", MESSAGE, "--out", tmp_path / "signed")
    assert said.code == 0, said.err
    return tmp_path / "signed"


def renamed(bundle: Path, file: Path, noise: float = 0.0) -> Path:
    """A signed model as in the best-known public theft: other names, a little noise."""
    draw = torch.Generator().manual_seed(0)
    weights = {
        f"x.{name.replace('.', '_')}": w + noise * w.std() * torch.randn(w.shape, generator=draw)
        for name, w in load(bundle).ticket.weights.items()
    }
    torch.save(weights, file)
    return file


def test_embed_keeps_the_model_before_its_marks_for_its_owner_alone(
    model: Path, signed: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    kept = signed / "reference.safetensors"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    before = load(model).ticket.weights
    assert Claim.read(signed / "claim.json").reference == tensor_digest(before)
    assert tensor_digest(load(kept).ticket.weights) == tensor_digest(before)
    said = ticket_sig("embed", model, "--message", MESSAGE, "--out", tmp_path / "again")
    told = f"reference: {tmp_path / 'again' / 'reference.safetensors'}; `verify --reference` undoes with it"
    assert told in said.out and "publish neither" in said.out


def test_it_can_be_left_out(model: Path, tmp_path: Path, ticket_sig: Command) -> None:
    asked = ["embed", model, "--message", MESSAGE, "--out", tmp_path / "out", "--no-reference", "--json"]
    assert read_json(ticket_sig(*asked))["reference"] is None
    assert not (tmp_path / "out" / "reference.safetensors").exists()
    assert Claim.read(tmp_path / "out" / "claim.json").reference is None


def test_a_copy_in_parts_commits_to_the_model_as_it_was_without_a_second_copy(
    tmp_path: Path, ticket_sig: Command
) -> None:
    file = tmp_path / "net.safetensors"
    safetensors.torch.save_file({"a.weight": torch.randn(40, 30), "b.weight": torch.randn(30, 20)}, file)
    for mark, *options in (("freezenet", "--length", 100), ("nct",)):
        out = tmp_path / str(mark)
        said = ticket_sig("embed", file, "--mark", mark, *options, "--out", out)
        assert said.code == 0, said.err
        assert f"reference: {file} as it was, not copied; `verify --reference`" in said.out
        assert Claim.read(out / "claim.json").reference == tensor_digest(load(file).ticket.weights)
        assert not (out / "reference.safetensors").exists()
        verify = ["verify", out, "--claim", out / "claim.json", "--reference", file, "--json"]
        assert read_json(ticket_sig(*verify))["reference"]["committed"]


@pytest.mark.parametrize("mark", ["spread", "uchida"])
def test_a_second_mark_keeps_the_first_reference(
    mark: str, signed: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    secret = tmp_path / "a.secret"
    secret.write_bytes(bytes(range(32)))  # under some secrets nothing fits into a network this small
    carrier = ["--message", "m", "--margin", 0.5, "--secret", secret]
    more = carrier if mark == "spread" else ["--random", 20, "--layer", "b.weight"]
    said = ticket_sig("embed", signed, "--mark", mark, *more, "--out", tmp_path / "both")
    assert said.code == 0, said.err
    first, both = (Claim.read(path / "claim.json").reference for path in (signed, tmp_path / "both"))
    assert first == both is not None
    kept = [(path / "reference.safetensors").read_bytes() for path in (signed, tmp_path / "both")]
    assert kept[0] == kept[1]
    (signed / "reference.safetensors").unlink()
    said = ticket_sig("embed", signed, "--mark", mark, *more, "--out", tmp_path / "third")
    assert said.code == 0 and "reference: the one that the claim names, which is not here; " in said.out
    assert Claim.read(tmp_path / "third" / "claim.json").reference == first


def test_the_reference_beside_a_claim_has_to_be_the_claim_s(
    signed: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    shutil.copy(signed / "model.safetensors", signed / "reference.safetensors")
    again = ["embed", signed, "--mark", "uchida", "--random", 20, "--layer", "b.weight"]
    could_not(
        ticket_sig(*again, "--out", tmp_path / "both"), "reference.safetensors: digest: expected sha256:"
    )
    assert not (tmp_path / "both").exists()


def test_of_a_model_that_was_signed_without_one_there_is_none(
    model: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    """What carries a mark already is no model before its first mark."""
    old, both = tmp_path / "old", tmp_path / "both"
    assert ticket_sig("embed", model, "--message", "m", "--out", old, "--no-reference").code == 0
    assert ticket_sig("embed", old, "--mark", "uchida", "--layer", "b.weight", "--out", both).code == 0
    assert Claim.read(both / "claim.json").reference is None
    assert not (both / "reference.safetensors").exists()


def test_training_carries_it_along_and_an_attack_does_not(tmp_path: Path, ticket_sig: Command) -> None:
    signed, trained, stolen = (tmp_path / name for name in ("signed", "trained", "stolen"))
    embed = ["embed", dense_bundle(tmp_path / "dense"), "--mark", "uchida", "--random", 64, "--out", signed]
    assert ticket_sig(*embed).code == 0
    said = ticket_sig("train", signed, "--start", "model", "--epochs", 1, "--out", trained)
    assert said.code == 0, said.err
    claims = [Claim.read(path / "claim.json") for path in (signed, trained)]
    assert claims[0].reference == claims[1].reference is not None
    kept = [path / "reference.safetensors" for path in (signed, trained)]
    assert kept[0].read_bytes() == kept[1].read_bytes()
    assert stat.S_IMODE(kept[1].stat().st_mode) == 0o600
    assert ticket_sig("attack", "cast", signed, "--out", stolen).code == 0
    assert not (stolen / "reference.safetensors").exists() and not (stolen / "claim.json").exists()


def test_renamed_tensors_with_noise_are_verified_without_it(
    signed: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    for noise in (0.0, 0.1):
        suspect = renamed(signed, tmp_path / f"suspect-{noise}.pt", noise)
        verify = ["verify", suspect, "--claim", signed / "claim.json"]
        said = ticket_sig(*verify)
        assert said.code == 0 and said.out.startswith("verified\n"), said.out
        assert "1 tensor renamed" in said.out
        found = read_json(ticket_sig(*verify, "--json"))["evidence"]["found_as"]
        assert len(found) == 1 and "condition" not in read_json(ticket_sig(*verify, "--json"))


def test_what_cannot_be_found_is_not_verified_and_the_reference_is_named(
    signed: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    weights = {n: w[:-1] if w.ndim > 1 else w for n, w in load(signed).ticket.weights.items()}
    torch.save(weights, tmp_path / "other.pt")
    said = ticket_sig("verify", tmp_path / "other.pt", "--claim", signed / "claim.json")
    assert (said.code, said.err) == (1, "") and said.out.startswith("not verified\n")
    assert "expected the claim's shape" in said.out and "--reference FILE" in said.out
    value = read_json(ticket_sig("verify", tmp_path / "other.pt", "--claim", signed / "claim.json", "--json"))
    assert value["verdict"] == "not verified" and "shape" in value["evidence"]["not_found"]


def test_the_first_line_says_the_condition(
    signed: Path, tmp_path: Path, ticket_sig: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    owned = load(signed).ticket

    def back(suspect: Any, reference: Any, *, without: Any = ()) -> Any:
        undone = (Undone("renamed", 37, "tensors"),)
        return SimpleNamespace(ticket=owned, undone=undone, log10_choices=200.0, similarity=0.99)

    monkeypatch.setattr(through, "align", back)
    torch.save({n: w.flip(0) for n, w in owned.weights.items()}, tmp_path / "suspect.pt")
    verify = ["verify", tmp_path / "suspect.pt", "--claim", signed / "claim.json"]
    assert ticket_sig(*verify).code == 1
    said = ticket_sig(*verify, "--reference", signed / "reference.safetensors")
    assert said.code == 0, said.err
    condition = "holds if the reference tells nothing of the secret, and the claim is older than the suspect"
    assert said.out.startswith(f"verified; {condition}\n")
    assert "37 tensors renamed" in said.out and "10^200.0 ways to align counted" in said.out
    value = read_json(ticket_sig(*verify, "--reference", signed / "reference.safetensors", "--json"))
    assert value["condition"] == condition
    assert value["log10_p_unconditional"] == 0.0 and value["reference"]["committed"]


def test_a_reference_that_is_no_model_could_not_be_used(
    signed: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    verify = ["verify", signed, "--claim", signed / "claim.json", "--reference"]
    could_not(ticket_sig(*verify, tmp_path / "gone.pt"), "gone.pt: model: expected a bundle")
    (tmp_path / "text.pt").write_text("no tensors")
    could_not(ticket_sig(*verify, tmp_path / "text.pt"), "text.pt: ")
    nan = {n: w / w for n, w in sparse_ticket().weights.items()}
    torch.save(nan, tmp_path / "nan.pt")
    could_not(ticket_sig(*verify, tmp_path / "nan.pt"), "nan.pt: ", "finite numbers")
    asked = [*verify, signed / "reference.safetensors", "--arch", "resnet20"]
    could_not(ticket_sig(*asked), "reference.safetensors: ", "resnet20")


def test_a_claim_that_commits_to_nonsense_is_refused(signed: Path, ticket_sig: Command) -> None:
    claim = json.loads((signed / "claim.json").read_text())
    (signed / "claim.json").write_text(json.dumps({**claim, "reference": "mine"}))
    could_not(
        ticket_sig("verify", signed, "--claim", signed / "claim.json"),
        "claim.json: claim: reference: expected text of the form sha256:",
    )
