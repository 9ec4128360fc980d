"""A verb whose exit code is a verdict says on standard output, too, that it could come to none."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.command_line import Command, read_json

BLOCK = ("--text", "block 7", "--share", 0.3, "--target", 5)


@pytest.mark.parametrize(
    ("verb", "options"),
    [
        ("verify", ("--claim", "gone.json")),
        ("ask", ("--claim", "gone.json")),
        ("proof-of-work check", BLOCK),
        ("proof-of-work check", ("--no-such-option",)),
    ],
)
def test_a_verifier_that_cannot_says_so_in_json(
    verb: str, options: tuple[object, ...], tmp_path: Path, ticket_sig: Command
) -> None:
    said = ticket_sig(*verb.split(), tmp_path / "gone", *options, "--json")
    value = read_json(said)
    assert said.code == 2 and value["verdict"] == "could not verify"
    assert said.err == f"ticket-sig: {value['error']}\n"
    assert ticket_sig(*verb.split(), tmp_path / "gone", *options).out == ""


@pytest.mark.parametrize("verb", ["inspect", "embed", "proof-of-work mine", "watermark"])
def test_other_verbs_speak_of_no_verdict(verb: str, ticket_sig: Command) -> None:
    said = ticket_sig(*verb.split(), "verify", "--json")  # here a model's name
    assert said.code == 2 and read_json(said).keys() == {"error"}
