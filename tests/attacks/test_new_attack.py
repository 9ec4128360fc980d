"""A new attack is one file and one line: `attack NAME` takes it at once, with its options."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from quantization import Quantization
from support.command_line import Outcome, unwrapped
from support.tickets import sparse_ticket

from ticket_sig import embed, save
from ticket_sig.attacks import ATTACKS

Command = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The one line."""
    monkeypatch.setitem(ATTACKS, "quantization", Quantization)
    yield


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    marked = embed(sparse_ticket(), "owner", secret=b"k")
    return save(marked.ticket, tmp_path / "signed", claim=marked.claim.to_json())


def test_it_is_listed_and_its_options_are_in_its_help(ticket_sig: Command) -> None:
    assert "Rounds the weights of every layer" in unwrapped(ticket_sig("attack", "--help").out)
    said = unwrapped(ticket_sig("attack", "quantization", "--help").out)
    assert "Bits of a weight. [default: 3]" in said and "Options of quantization" in said
    assert "Example: ticket-sig attack quantization MODEL --claim CLAIM --out STOLEN" in said
    assert "--rate" not in said and "--insider" not in said


def test_it_is_run_and_the_bundle_keeps_what_the_report_says(
    signed: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    for bits, kept in ((3, "fewer"), (16, "nearly all")):
        out = tmp_path / kept
        said = ticket_sig("attack", "quantization", signed, "--bits", bits, "--out", out, "--json")
        assert said.code == 0, said.err
        told, seen = json.loads(said.out), json.loads(ticket_sig("inspect", out, "--json").out)
        assert told["options"] == {"bits": bits}
        assert (told["kept"]["after"], told["kept"]["total"]) == (seen["kept"], seen["total"])
        before = told["kept"]["before"]
        assert seen["kept"] < (0.99 if bits == 3 else 1.01) * before
        assert (seen["kept"] > 0.99 * before) is (bits == 16)


def test_an_option_out_of_range_is_one_line(signed: Path, tmp_path: Path, ticket_sig: Command) -> None:
    said = ticket_sig("attack", "quantization", signed, "--bits", 1, "--out", tmp_path / "x")
    assert (said.code, said.err) == (2, "ticket-sig: bits: expected 2 to 16, found 1\n")
    said = ticket_sig("attack", "quantization", signed, "--rate", 0.5, "--out", tmp_path / "x")
    assert said.code == 2 and "--rate" in said.err and said.err.count("\n") == 1
    assert not (tmp_path / "x").exists()
