"""`verify` without a claim: does the model descend from the reference?"""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
from support.command_line import Command, could_not, read_json
from torch import Tensor, nn

from ticket_sig import load
from ticket_sig.attacks import Scene, attack
from ticket_sig.lottery.prune import prune_ticket
from ticket_sig.models import build
from ticket_sig.models.own import ticket_of
from ticket_sig.recovery.descent import Null
from ticket_sig.verdict import LOG10_THRESHOLD
from ticket_sig.verification import descended

ARCH = "resnet20"


@pytest.fixture(autouse=True)
def null(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that does not change when others are measured."""
    tables = {f"{ARCH} (dense)": Null(f"{ARCH} (dense)", tuple(0.1 + n / 1000 for n in range(20)))}
    monkeypatch.setattr(descended, "shipped", lambda: tables)


def file_of(folder: Path, seed: int) -> Path:
    """A network from a seed."""
    path = folder / f"{seed}.safetensors"
    safetensors.torch.save_file(build(ARCH, 10, 1, seed).state_dict(), path)
    return path


def test_a_derived_network_descends_and_an_independent_one_does_not(
    tmp_path: Path, ticket_sig: Command
) -> None:
    reference, other, stolen = file_of(tmp_path, 0), file_of(tmp_path, 1), tmp_path / "stolen.safetensors"
    ticket = prune_ticket(load(reference).ticket, 0.3)
    ticket = attack("free", kind="renamed+permuted")(ticket, Scene(model=build(ARCH, 10, 1)))
    safetensors.torch.save_file(dict(ticket.weights), stolen)
    said = ticket_sig("verify", stolen, "--reference", reference)
    assert said.code == 0 and "channels permuted" in said.out, said.err
    assert "one of both networks was trained from the other" in said.out and "who" in said.out
    told = read_json(ticket_sig("verify", stolen, "--reference", reference, "--json"))
    assert told["verdict"] == "verified" and told["evidence"]["z"] > 50
    assert told["evidence"]["independent"]["pairs"] == 20
    assert said.out.startswith("verified; which of both was first is open\n")
    said = ticket_sig("verify", other, "--reference", reference)
    assert said.code == 1 and "does not prove: that the suspect is independent" in said.out


class Small(nn.Module):
    """A network of no family in the table."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(64, 12), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.first(x.flatten(1))))  # type: ignore[no-any-return]


def test_independent_networks_of_another_family_are_not_held_against_the_table() -> None:
    """Small ones are far more alike than those in it."""
    torch.manual_seed(0)
    found = descended.descended(Small(), Small())
    assert found.reading.found.log10_p < LOG10_THRESHOLD  # that table would call them derived
    assert not found.verified and found.log10_p == 0 and "independent networks" in found.lacking


def test_a_similarity_near_the_table_s_is_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recipe and density move it by more than the table's networks differ: here 1 % is kept."""
    monkeypatch.undo()
    sparse = [prune_ticket(ticket_of(build(ARCH, 10, 1, seed)), 0.99) for seed in (1, 2)]
    found = descended.descended(*sparse)
    assert found.log10_p < -4 and not found.verified and "a similarity of" in found.lacking


def test_neither_claim_nor_reference_and_what_only_a_claim_needs_are_refused(
    tmp_path: Path, ticket_sig: Command
) -> None:
    model = file_of(tmp_path, 0)
    could_not(ticket_sig("verify", model), "usage: ", "--claim", "--reference")
    asked = ["verify", model, "--reference", model, "--secret", model]
    could_not(ticket_sig(*asked), "--secret: expected --claim beside it")
    for option in (["--audit", model], ["--dataset", "digits"]):
        asked = ["verify", model, "--reference", model, *option]
        could_not(ticket_sig(*asked), f"{option[0]}: expected --claim beside it")


def test_the_shipped_table_is_of_at_least_90_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    tables = descended.shipped()
    assert tables and all(len(null.similarities) >= 90 for null in tables.values())
