"""Checkpoints hold several networks: weights and their average (EMA), or a generator and its critic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.command_line import could_not, read_json, run
from support.tickets import sparse_ticket
from torch import Tensor

from ticket_sig import embed, load
from ticket_sig.files import write_json

SAID = "Save the one you mean in a file of its own"


@pytest.mark.parametrize(
    ("read", "other"),
    [("state_dict", "state_dict_ema"), ("model", "ema"), ("generator", "critic"), ("model", "state_dict")],
)
def test_who_hides_the_copy_beside_another_network_is_told_of(read: str, other: str, tmp_path: Path) -> None:
    made = embed(sparse_ticket(), "mine", secret=b"s")
    read, other = ("state_dict", "model") if other == "state_dict" else (read, other)
    plain = {name: torch.randn(w.shape) for name, w in made.ticket.weights.items()}
    torch.save({read: plain, other: dict(made.ticket.weights)}, tmp_path / "x.pt")
    write_json(tmp_path / "claim.json", made.claim.to_json())
    held = load(tmp_path / "x.pt").contained
    assert (held.read, held.not_read) == (read, (other,))
    for verb in (["verify"], ["extract"], ["inspect"]):
        asked = [*verb, tmp_path / "x.pt", *(["--claim", tmp_path / "claim.json"] * (verb != ["inspect"]))]
        said = run(asked)
        assert f"read: {read}; not read: {other}. {SAID}" in said.out + said.err
        told = read_json(run([*asked, "--json"]))
        assert (told["read"], told["not_read"]) == (read, [other])


def test_weights_beside_a_state_dict_are_told_of(tmp_path: Path) -> None:
    torch.save({"model": _weights(), **_weights(), "best_acc": torch.tensor([9.0])}, tmp_path / "x.pt")
    held = load(tmp_path / "x.pt").contained
    assert (held.read, held.not_read) == ("model", tuple(_weights()))


def _weights() -> dict[str, Tensor]:
    return dict(sparse_ticket().weights)


@pytest.mark.parametrize(
    "content",
    [
        _weights(),
        {"state_dict": _weights(), "optimizer": torch.optim.Adam([torch.ones(1)]).state_dict()},
        {"state_dict": _weights(), "init_weight": _weights()},
    ],
)
def test_optimizers_and_rewind_weights_are_no_networks(content: dict[str, Any], tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.pt")
    assert load(tmp_path / "x.pt").contained.not_read == ()
    assert "not read" not in run(["inspect", tmp_path / "x.pt"]).out


def test_of_networks_of_unknown_names_none_is_guessed(tmp_path: Path) -> None:
    torch.save({"student": _weights(), "teacher": _weights()}, tmp_path / "x.pt")
    could_not(run(["inspect", tmp_path / "x.pt"]), "expected one state dict, found several: student, teacher")


def test_inspect_names_the_entries_that_were_passed_over(tmp_path: Path) -> None:
    more = {f"count{i}": i for i in range(9)}
    torch.save({"state_dict": _weights(), "epoch": 3, "list": [_weights()], **more}, tmp_path / "x.pt")
    said = run(["inspect", tmp_path / "x.pt"])
    assert (
        "entries passed over: epoch, list, count0, count1, count2, count3, count4, count5 and 3 more"
        in said.out
    )
    told = read_json(run(["inspect", tmp_path / "x.pt", "--json"]))
    assert told["entries_passed_over"] == ["epoch", "list", *more]
