"""Ticket and transcript prove each other: the code's message carries the head, the claim the whole digest."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.command_line import FIND, Command, could_not, done, read_json
from support.probe_code import ProbeCode

from ticket_sig.claim import Claim
from ticket_sig.errors import InputError
from ticket_sig.formats import load, save
from ticket_sig.marks import MARKS
from ticket_sig.mask import Mask
from ticket_sig.transcripts import Transcript
from ticket_sig.transcripts.link import linked, tagged
from ticket_sig.transcripts.record import Record
from ticket_sig.transcripts.transcript import Segment


@pytest.fixture(scope="module")
def folder(on_digits: Path) -> Path:
    """The recorded search, with its signed ticket and an audit record of it."""
    key, shown = ("--sign", on_digits / "owner.key"), ("--transcript", on_digits / "T")
    done(["audit", on_digits / "T", "--segments", 2, *key, "--out", on_digits / "record.json"])
    signing = ("--message", "signature", *shown, "--out", on_digits / "SIGNED")
    done(["embed", on_digits / "RUN" / "ticket", *signing])
    return on_digits


def verify(folder: Path, *more: object, model: str = "SIGNED") -> list[object]:
    return ["verify", folder / model, "--claim", folder / "SIGNED" / "claim.json", *more]


def test_a_signed_ticket_fits_its_transcript_and_an_audit_says_what_it_covers(
    folder: Path, ticket_sig: Command
) -> None:
    alone = ticket_sig(*verify(folder, "--transcript", folder / "T"))
    assert alone.code == 0 and "transcript: fits the claim" in alone.out
    assert "audited: no: chain only" in alone.out
    record = ("--audit", folder / "record.json")
    told = read_json(ticket_sig(*verify(folder, "--transcript", folder / "T", *record, "--json")))[
        "transcript"
    ]
    assert told["fits"] and list(told["audits"].values()) == [2]
    assert told["outside"] == told["moved"] > 0
    twice = ticket_sig(*verify(folder, "--transcript", folder / "T", *record, *record))
    assert "audited: 2 of 4 segments, by " in twice.out and "(the owner)" in twice.out
    assert ticket_sig("extract", folder / "SIGNED").out.startswith("signature ")


def test_a_copy_that_was_pruned_further_fits_and_one_with_weights_elsewhere_does_not(
    folder: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    for name, options in (("magnitude-pruning", ("--rate", 0.1)), ("add-on", ("--rate", 0.05))):
        said = ticket_sig("attack", name, folder / "SIGNED", *options, "--out", tmp_path / name)
        assert said.code == 0, said.err
    claim = ("--claim", folder / "SIGNED" / "claim.json", "--transcript", folder / "T")
    assert ticket_sig("verify", tmp_path / "magnitude-pruning", *claim).code == 0
    said = ticket_sig("verify", tmp_path / "add-on", *claim)
    assert said.code == 1 and "weights lie outside its mask, and signing moved" in said.out


def test_what_a_file_says_of_its_own_mask_is_no_evidence(
    folder: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    ticket = load(folder / "SIGNED").ticket
    full = Mask({name: torch.ones_like(kept) for name, kept in ticket.mask.items()})
    save(replace(ticket, mask=full), tmp_path / "stolen")
    claim = ("--claim", folder / "SIGNED" / "claim.json", "--transcript", folder / "T")
    said = ticket_sig("verify", tmp_path / "stolen", *claim)
    assert said.code == 0 and "transcript: fits the claim" in said.out


@pytest.mark.parametrize("marks", ["probe-code", "qr-code+probe-code"])
def test_marks_all_over_the_mask_fit_their_transcript_too(
    marks: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ticket_sig: Command
) -> None:
    monkeypatch.setitem(MARKS, "probe-code", ProbeCode)
    shown, out = ("--transcript", folder / "T"), tmp_path / "OUT"
    signing = ("--mark", marks, "--message", "signature", *shown, "--out", out)
    assert ticket_sig("embed", folder / "RUN" / "ticket", *signing).code == 0
    secret = ("--claim", out / "claim.json", "--secret", tmp_path / "OUT.secret")
    said = ticket_sig("verify", out, *secret, *shown)
    assert said.code == 0 and "transcript: fits the claim" in said.out, said.out
    assert ticket_sig("extract", out, *secret).out.startswith("signature ")


def test_another_transcript_does_not_fit(folder: Path, tmp_path: Path, ticket_sig: Command) -> None:
    other = tmp_path / "T"
    assert ticket_sig(*FIND, "--seed", 1, "--out", tmp_path / "RUN", "--transcript", other).code == 0
    said = ticket_sig(*verify(folder, "--transcript", other))
    assert said.code == 1 and "transcript: does not fit: its head is sha256:" in said.out
    signing = ("--message", "x", "--transcript", other, "--out", tmp_path / "S")
    refused = ticket_sig("embed", folder / "RUN" / "ticket", *signing)
    could_not(refused, "transcript: expected the one of this ticket's search, found another mask")
    # Who writes a claim writes what he likes of how much signing moved.
    told, claim = Transcript.open(other), Claim.read(folder / "SIGNED" / "claim.json")
    mark = replace(claim.marks[0], fields={**claim.marks[0].fields, "message": tagged("x", told)})
    link = {"head": told.chain.head, "kept": told.mask().kept, "moved": 10**6}
    lie, stolen = replace(claim, marks=(mark,), transcript=link), load(folder / "SIGNED").ticket.mask
    (problem,) = linked(lie, told, stolen, movable=10**6).problems
    assert re.fullmatch(r"\d+ weights lie outside its mask, \d+ do by chance", problem)
    small, _ = linked(lie, told, stolen, movable=100).problems
    assert small == "its marks have room for 100 weights, by the claim signing moved 1000000"


def test_who_audited_what_is_added_up_by_key_and_only_of_segments_that_there_are(folder: Path) -> None:
    told, claim = Transcript.open(folder / "T"), Claim.read(folder / "SIGNED" / "claim.json")
    key, head, suspect = "02" + 64 * "a", told.chain.head, load(folder / "SIGNED").ticket.mask
    one, other = (Record(head, "valid", 4, frozenset([s]), key) for s in told.segments[:2])
    against = Record(head, "invalid", 4, frozenset(), told.signer)
    found = linked(claim, told, suspect, 10**6, [one, other, against])
    assert found.audits == {key: 2} and not found.problems
    assert ("found invalid by", f"{told.signer} (the owner)") in found.rows
    strange = Record(head, "valid", 4, frozenset([Segment(9, 0, 1)]), key)
    with pytest.raises(InputError, match="replayed: expected segments of it, found level 9, steps 0 to 1"):
        linked(claim, told, suspect, 10**6, [strange])


def test_a_claim_without_a_transcript_says_how_to_sign_with_one(
    folder: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    claim = json.loads((folder / "SIGNED" / "claim.json").read_text())
    del claim["transcript"]
    (tmp_path / "claim.json").write_text(json.dumps(claim))
    named = ("--claim", tmp_path / "claim.json", "--transcript", folder / "T")
    could_not(ticket_sig("verify", folder / "SIGNED", *named), "embed --transcript DIR")


def test_records_add_up(folder: Path, tmp_path: Path, ticket_sig: Command) -> None:
    other = tmp_path / "other.json"
    assert ticket_sig("audit", folder / "T", "--top-q", 1, "--out", other).code == 0
    shown = ("--transcript", folder / "T", "--audit", other)
    unsigned = ticket_sig(*verify(folder, *shown))
    assert unsigned.code == 0 and "audited: no: chain only" in unsigned.out
    assert "records passed over (unsigned, not exact or of another transcript): 1" in unsigned.out
    both = ("--combine", folder / "record.json", "--combine", other)
    assert "record 2 signed by: nobody, so anybody" in ticket_sig("audit", *both).out
    told = read_json(ticket_sig("audit", *both, "--json"))
    assert told["valid"] and 2 <= len(told["covered"]) <= told["segments"] == 4
    record = json.loads(other.read_text())
    invalid = tmp_path / "invalid.json"
    invalid.write_text(json.dumps({**record, "outcome": "invalid"}))
    said = ticket_sig(*verify(folder, "--transcript", folder / "T", "--audit", invalid))
    assert said.code == 0 and "another transcript): 1" in said.out  # nobody signed it
    record["replayed"].append([0, 0, 9])
    (tmp_path / "signed.json").write_text(json.dumps({**record, "signature": read_signature(folder)}))
    could_not(
        ticket_sig("audit", "--combine", tmp_path / "signed.json"),
        "signature: expected one by",
        "found another",
    )


def test_options_that_would_be_passed_over_are_refused(folder: Path, ticket_sig: Command) -> None:
    record = folder / "record.json"
    for words, expected in (
        (verify(folder, "--audit", record), "--audit: expected --transcript beside it"),
        (("audit", folder / "T", "--seed-from", record), "--seed-from: expected --segments beside it"),
        (("audit", "--combine", record, record), "found both; --combine goes before each record"),
        (("audit", folder / "T", "--out", record), "audit record: expected a name not taken yet"),
        ((*FIND, "--out", folder / "RUN", "--transcript", folder / "T"), "signer: expected those of this"),
    ):
        could_not(ticket_sig(*words), expected)


def read_signature(folder: Path) -> object:
    return json.loads((folder / "record.json").read_text())["signature"]


def test_inspect_shows_what_a_transcript_commits_to(folder: Path, ticket_sig: Command) -> None:
    said = ticket_sig("inspect", folder / "T")
    assert said.code == 0 and "transcript of a search, not audited" in said.out
    value = read_json(ticket_sig("inspect", folder / "T", "--json"))
    assert (value["kind"], value["recipe"]["rounds"], value["ended"]) == ("search", 1, True)
