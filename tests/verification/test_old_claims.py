"""What version 0.1 wrote is still read, and verifies with the same p-value to the last digit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ticket_sig import Claim, load
from ticket_sig.digests import tensor_digest
from ticket_sig.files import write_json
from ticket_sig.marks import marks_of
from ticket_sig.marks.key_mask.key import Key
from ticket_sig.marks.key_mask.split import unlock
from ticket_sig.marks.trigger_set.record import read_queries
from ticket_sig.verdict import Verdict
from ticket_sig.verification.ask import judge
from ticket_sig.verification.ask.answers_file import read_answers
from ticket_sig.verification.ask.asking import Asking, ask_suspect, triggers_of
from ticket_sig.verification.white_box import extract_file, verify_file

ROOT = Path(__file__).parents[2]
OLD = ROOT / "tests" / "fixtures" / "claims-v1"
EXPECTED: dict[str, dict[str, Any]] = json.loads((OLD / "expected.json").read_text(encoding="utf-8"))


class Case(NamedTuple):
    """A claim, the marks that it is of, and what it is held against: a model file, or else answers."""

    claim: Path
    marks: list[str]
    suspect: Path | None
    message: str | None = None
    shown: dict[str, Path] | None = None


CODE, TRIGGERS = OLD / "qr-code" / "suspect.safetensors", OLD / "trigger-set"
FOLDER = OLD / "trigger-folder"
KEY = {"key": OLD / "key-mask" / "key.safetensors", "locked": OLD / "key-mask" / "locked"}
BUNDLE, SHIPPED = ROOT / "tests" / "fixtures" / "bundle-v1-signed", ROOT / "checkpoints" / "resnet20-cifar10"
BESIDE = ["qr-code", "trigger-set"]
CASES = {
    "qr-code": Case(OLD / "qr-code" / "claim.json", ["qr-code"], CODE),
    "key-mask": Case(
        OLD / "key-mask" / "locked" / "claim.json",
        ["key-mask"],
        OLD / "key-mask" / "suspect.safetensors",
        shown=KEY,
    ),
    "trigger-set": Case(TRIGGERS / "claim.json", BESIDE, None),
    "trigger-set alone": Case(TRIGGERS / "claim-alone.json", ["trigger-set"], None),
    "trigger-set, mark in the mask": Case(TRIGGERS / "claim.json", BESIDE, CODE),
    "trigger-folder": Case(FOLDER / "claim.json", ["trigger-set"], None),
    "freezenet": Case(
        OLD / "freezenet" / "claim.json", ["freezenet"], OLD / "freezenet" / "suspect.safetensors"
    ),
    "freezenet, legacy": Case(
        OLD / "freezenet" / "claim-legacy.json",
        ["freezenet"],
        OLD / "freezenet" / "suspect-legacy.safetensors",
    ),
    "uchida": Case(
        OLD / "uchida" / "claim.json", ["uchida"], OLD / "uchida" / "suspect.safetensors", "old owner"
    ),
    "bundle-v1-signed": Case(BUNDLE / "claim.json", ["qr-code"], BUNDLE, "owner-1"),
    "checkpoints/resnet20-cifar10": Case(SHIPPED / "claim.json", ["qr-code"], SHIPPED, "signature"),
}


def verdict(case: Case, claim: Claim) -> Verdict:
    """What a claim comes to, whichever file it was read from."""
    if case.suspect:
        return verify_file(case.suspect, claim, case.shown)
    if case.claim.parent == FOLDER:
        queries = read_queries(FOLDER / "queries.json", claim, triggers_of(claim, FOLDER))
        given = [read_answers(FOLDER / name, len(queries)) for name in ("answers.csv", "control.csv")]
        return judge(claim, queries, given[0], given[1:])
    asking = Asking(answers=TRIGGERS / "answers.csv", queries=TRIGGERS / "queries.json")
    return ask_suspect(claim, TRIGGERS / "triggers.json", asking)[0]


def test_every_old_claim_is_held_against_its_suspect() -> None:
    assert CASES.keys() == EXPECTED.keys()
    assert {one.claim for one in CASES.values()} >= set(OLD.rglob("claim*.json"))


@pytest.mark.parametrize("name", CASES)
def test_an_old_claim_verifies_as_it_did_and_so_it_does_written_again(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    first = Claim.read(case.claim)
    write_json(tmp_path / "claim.json", first.to_json())
    again = Claim.read(tmp_path / "claim.json")
    assert again.to_json()["version"] == 2
    assert (first.written_by, first.subject) == ("ticket_sig 0.1", again.subject)
    assert (first.created, first.accuracy) == (again.created, again.accuracy)
    for claim in (first, again):
        assert [mark.name for mark in marks_of(claim)] == case.marks
        found = verdict(case, claim)
        said = found.to_json()
        kept = {field: said[field] for field in ("verdict", "statistic", "p_value")}
        assert {**kept, "log10_p": found.log10_p} == EXPECTED[name]


@pytest.mark.parametrize("name", [name for name, one in CASES.items() if one.message])
def test_an_old_message_is_still_read(name: str) -> None:
    case = CASES[name]
    assert case.suspect is not None
    assert extract_file(case.suspect, Claim.read(case.claim))[1].message == case.message


def test_an_old_accuracy_is_still_promised() -> None:
    assert Claim.read(CASES["uchida"].claim).accuracy == 88.5


def test_an_old_locked_ticket_is_unlocked_and_gives_back_the_claim_that_was_sealed() -> None:
    loaded = load(OLD / "key-mask" / "locked")
    assert loaded.claim and loaded.sealed
    key = Key.read(KEY["key"])
    ticket, earlier = unlock(loaded.ticket, key, Claim.read(loaded.claim), loaded.sealed.read_bytes())
    sealed = Claim.from_json(earlier or {})
    assert sealed == Claim.read(CASES["qr-code"].claim)
    assert sealed.subject == tensor_digest(ticket.weights)
