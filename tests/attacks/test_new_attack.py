"""A new attack is one file and one line: `attack NAME` takes it at once, with its options."""

from __future__ import annotations

from dataclasses import make_dataclass
from pathlib import Path

import pytest
from support.command_line import Command, could_not, read_json, unwrapped
from support.extending import Rounding
from support.tickets import sparse_ticket

from ticket_sig import embed, save
from ticket_sig.attacks import ATTACKS
from ticket_sig.options import option


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one line."""
    monkeypatch.setitem(ATTACKS, "rounding", Rounding)


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    marked = embed(sparse_ticket(), "owner", secret=b"k")
    return save(marked.ticket, tmp_path / "signed", claim=marked.claim.to_json())


def test_it_is_listed_and_its_options_are_in_its_help(ticket_sig: Command) -> None:
    assert "Rounds the weights of every layer" in unwrapped(ticket_sig("attack", "--help").out)
    said = unwrapped(ticket_sig("attack", "rounding", "--help").out)
    assert "Bits of a weight. [default: 3]" in said and "Options of rounding" in said
    assert "Example: ticket-sig attack rounding MODEL --claim CLAIM --out STOLEN" in said
    assert "--rate" not in said and "--insider" not in said


def test_an_option_of_a_name_that_the_verb_has_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ticket_sig: Command
) -> None:
    fields = [("data", int, option("", default=3))]
    clashing = make_dataclass("DropFilters", fields, bases=(Rounding,), frozen=True, kw_only=True)
    monkeypatch.setitem(ATTACKS, "drop-filters", clashing)
    said = ticket_sig("attack", "drop-filters", tmp_path, "--out", tmp_path / "out")
    could_not(said, "option data of drop-filters: name: expected one that", "found data; rename the option")
    assert "internal error" not in said.err


def test_it_is_run_and_the_bundle_keeps_what_the_report_says(
    signed: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    for bits, kept in ((3, "fewer"), (16, "nearly all")):
        out = tmp_path / kept
        said = ticket_sig("attack", "rounding", signed, "--bits", bits, "--out", out, "--json")
        assert said.code == 0, said.err
        told, seen = read_json(said), read_json(ticket_sig("inspect", out, "--json"))
        assert told["options"] == {"bits": bits}
        assert (told["kept"]["after"], told["kept"]["total"]) == (seen["kept"], seen["total"])
        before = told["kept"]["before"]
        assert seen["kept"] < (0.99 if bits == 3 else 1.01) * before
        assert (seen["kept"] > 0.99 * before) is (bits == 16)


def test_an_option_out_of_range_is_one_line(signed: Path, tmp_path: Path, ticket_sig: Command) -> None:
    attack = ["attack", "rounding", signed, "--out", tmp_path / "x"]
    could_not(ticket_sig(*attack, "--bits", 1), "bits: expected 2 to 16, found 1")
    could_not(ticket_sig(*attack, "--rate", 0.5), "--rate")
    assert not (tmp_path / "x").exists()
