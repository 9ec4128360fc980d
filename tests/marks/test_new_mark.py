"""A new mark is one file and one line: every verb takes it at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.command_line import Command, could_not, read_json, run, unwrapped
from support.extending import SignBits
from support.tickets import digits_ticket

from ticket_sig import save
from ticket_sig.lottery.prune import prune_ticket
from ticket_sig.marks import MARKS

MESSAGE = "owner@example.org: this network is mine, and this is the date: 2024-01-01"
LAYER = "layer3.1.conv1.weight"
EMBED = ["--mark", "sign-bits", "--message", MESSAGE, "--layer", LAYER]


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one line."""
    monkeypatch.setitem(MARKS, "sign-bits", SignBits)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network for digits, and one that carries the mark."""
    folder = tmp_path_factory.mktemp("new")
    save(digits_ticket(), folder / "model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MARKS, "sign-bits", SignBits)
        said = run(["embed", folder / "model", *EMBED, "--out", folder / "signed"])
    assert said.code == 0, said.err
    assert said.out.startswith("sign-bits\n") and f"{8 * len(MESSAGE)} bits read as claimed" in said.out
    return folder


def test_its_options_are_in_the_help(ticket_sig: Command) -> None:
    said = unwrapped(ticket_sig("embed", "--help").out)
    assert re.search(r"Kind of the mark: qr-code, freezenet, uchida, nct, spread, mirror, sign-bits\.", said)
    assert "sign-bits: Text to write." in said and "sign-bits: Layer whose weights hold it." in said
    assert re.search(r"Options of [a-z, -]*sign-bits", said)


def test_what_does_not_fit_is_one_line(folder: Path, tmp_path: Path, ticket_sig: Command) -> None:
    for options, says in (
        (["--message", "m", "--layer", "none"], "layer: expected 'none', found none of that name"),
        (
            ["--message", "m"],
            "--layer: expected a text, found none; sign-bits needs it",
        ),
        ([*EMBED[2:], "--strength", "1"], "sign-bits: expected options among message, layer, found strength"),
    ):
        embed = ["embed", folder / "model", "--mark", "sign-bits", *options, "--out", tmp_path / "x"]
        could_not(ticket_sig(*embed), says)
    assert not (tmp_path / "x").exists()


def test_one_that_does_not_take_is_not_written(tmp_path: Path, ticket_sig: Command) -> None:
    """What is pruned has no sign to write."""
    save(prune_ticket(digits_ticket(), 0.9), tmp_path / "sparse")
    said = ticket_sig("embed", tmp_path / "sparse", *EMBED, "--out", tmp_path / "x")
    could_not(
        said, f"sign-bits, layer {LAYER}: expected all of it read in the copy, found ", "does not take in"
    )
    assert re.search(rf"found \d+ of {8 * len(MESSAGE)} bits", said.err) and not (tmp_path / "x").exists()


def test_it_is_read_and_verified(folder: Path, ticket_sig: Command) -> None:
    said = ticket_sig("extract", folder / "signed")
    assert (said.code, said.out) == (0, f"{MESSAGE}\n")
    claim = ["--claim", folder / "signed" / "claim.json"]
    said = ticket_sig("verify", folder / "signed", *claim, "--json")
    told = read_json(said)
    assert (said.code, told["verdict"], told["mark"]) == (0, "verified", "sign-bits")
    assert told["evidence"]["message"] == MESSAGE
    assert ticket_sig("verify", folder / "model", *claim).code == 1
    assert "\nclaim: sign-bits, signed" in ticket_sig("inspect", folder / "signed").out


def test_it_is_still_verified_after_training_and_after_pruning(
    folder: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    train = ["--start", "model", "--epochs", 1, "--lr", 0.01]
    said = ticket_sig("train", folder / "signed", *train, "--out", tmp_path / "trained")
    assert said.code == 0, said.err
    assert re.search(r"^sign-bits: \d+ of \d+ bits read as claimed; verified$", said.out, re.MULTILINE)
    claim = ["--claim", tmp_path / "trained" / "claim.json"]
    assert ticket_sig("verify", tmp_path / "trained", *claim).code == 0
    attack = ["attack", "magnitude-pruning", tmp_path / "trained", "--rate", "0.1", *claim]
    said = ticket_sig(*attack, "--out", tmp_path / "stolen", "--json")
    told = read_json(said)
    assert (said.code, told["winner"]) == (0, "owner"), told["outcome"]
    assert ticket_sig("verify", tmp_path / "stolen", *claim).code == 0


def test_without_its_line_a_claim_on_it_says_who_wrote_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, ticket_sig: Command
) -> None:
    monkeypatch.delitem(MARKS, "sign-bits")
    said = ticket_sig("verify", folder / "signed", "--claim", folder / "signed" / "claim.json")
    could_not(said, "mark: expected one of qr-code", "found 'sign-bits', written by ticket_sig")
