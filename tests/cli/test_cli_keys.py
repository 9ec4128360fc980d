"""Split and unlock from the command line, and triggers that are taught while a ticket is trained."""

from __future__ import annotations

import filecmp
import json
import shutil
from pathlib import Path

import pytest
from support.command_line import Command, could_not, next_commands, read_json

from ticket_sig import load
from ticket_sig.scores import SCORES

PAPER = ("omp", "ewp", "betweenness")  # of NeurIPS'21


def same(one: Path, other: Path) -> bool:
    """All but the reference, which stays with its owner and is in no bundle that is handed out."""
    names = sorted(file.name for file in one.iterdir() if file.name != "reference.safetensors")
    return sorted(f.name for f in other.iterdir()) == names == filecmp.cmpfiles(one, other, names, False)[0]


@pytest.mark.parametrize(
    "score",
    [
        name if name in PAPER else pytest.param(name, marks=pytest.mark.slow)
        for name in SCORES
        if name != "hessian"
    ],
)
def test_split_and_unlock_give_the_bundle_back_bit_for_bit(
    score: str, digits_signed: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    said = ticket_sig("split", digits_signed, "--score", score, "--share", 0.05, "--out", tmp_path / "DIR")
    assert said.code == 0, said.err
    locked, key = tmp_path / "DIR" / "locked", tmp_path / "DIR" / "key.safetensors"
    kept = load(digits_signed).ticket.mask.kept
    assert load(locked).ticket.mask.kept == kept - round(0.05 * kept)
    assert "hand this out" in said.out and "keep this" in said.out
    own = digits_signed / "claim.json"
    assert f"the claim of the qr-code is not in the locked bundle; keep {own}\n" in said.out
    (unlock,) = next_commands(said.err, BUNDLE=tmp_path / "back")
    said = ticket_sig(*unlock)
    assert said.code == 0 and f"= {kept} weights" in said.out
    assert same(digits_signed, tmp_path / "back")
    # The key mask is verified on the whole ticket, and not on the locked one.
    claim = ["--claim", locked / "claim.json", "--key", key]
    said = ticket_sig("verify", digits_signed, *claim)
    assert said.code == 0 and "needed, whatever the p-value" in said.out
    assert ticket_sig("verify", locked, *claim).code == 1
    # The claim may lie elsewhere, if the locked ticket is named.
    shutil.copy(locked / "claim.json", tmp_path / "claim.json")
    claim = ["--claim", tmp_path / "claim.json", "--key", key]
    assert ticket_sig("verify", digits_signed, *claim, "--locked", locked).code == 0
    said = ticket_sig("verify", digits_signed, *claim)
    assert (
        said.code == 2 and "locked ticket: expected the bundle that this claim was handed out in" in said.err
    )


def test_a_sample_of_sources_says_how_far_off_it_can_be(
    digits_signed: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    asked = ["split", digits_signed, "--score", "betweenness", "--sources"]
    said = ticket_sig(*asked, 20, "--out", tmp_path / "A")
    assert said.code == 0 and "every sampled value is within " in said.out
    values = [
        read_json(ticket_sig(*asked, sources, "--out", tmp_path / str(sources), "--json"))
        for sources in (20, 80, 10_000)
    ]
    bounds = [value["error_bound"] for value in values]
    assert bounds[0] == pytest.approx(2 * bounds[1]) and bounds[2] == 0
    exact = read_json(ticket_sig(*asked[:-1], "--out", tmp_path / "B", "--json"))
    assert "error_bound" not in exact


def test_a_locked_ticket_trains_and_tells_no_message(
    digits_signed: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    ticket_sig("split", digits_signed, "--out", tmp_path / "DIR", "--json")
    locked = tmp_path / "DIR" / "locked"
    assert ticket_sig("train", locked, "--out", tmp_path / "trained").code == 0
    said = ticket_sig("extract", locked)
    could_not(
        said,
        "marks: expected one that carries bits (qr-code, uchida, nct, spread, mirror), found key-mask",
    )
    value = read_json(ticket_sig("split", digits_signed, "--out", tmp_path / "OTHER", "--json"))
    own = str(digits_signed / "claim.json")
    assert value["claim_kept_back"] == {"marks": ["qr-code"], "claim": own}
    assert value["weights"]["locked"] + value["weights"]["key"] == value["weights"]["kept"]


def test_triggers_are_taught_claimed_and_asked_for(
    digits_signed: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    secret = tmp_path / "triggers.json"
    made = ticket_sig(
        "triggers", "--dataset", "digits", "--count", 40, "--out", secret, "--png", tmp_path / "s.png"
    )
    assert made.code == 0, made.err
    arguments = ["--triggers", secret, "--trigger-batch", 40, "--epochs", 10, "--out", tmp_path / "taught"]
    said = ticket_sig("train", digits_signed, *arguments)
    assert said.code == 0, said.err
    assert "answered as taught" in said.out
    taught = load(tmp_path / "taught").ticket.history[-1]
    assert taught.triggers is not None and taught.triggers > 90
    claim = tmp_path / "taught" / "claim.json"
    # The mark in the mask is verified, as before, and the triggers beside it.
    verify, ask = next_commands(said.out)
    assert ask[-2:] == ["--triggers", str(secret)]
    assert [ticket_sig(*words).code for words in (verify, ask)] == [0, 0]
    assert ticket_sig("extract", tmp_path / "taught").out == "mine\n"
    assert ticket_sig("ask", digits_signed, "--claim", claim, "--triggers", secret).code == 1
    # A secret that is not the claim's decides nothing.
    other = tmp_path / "other.json"
    ticket_sig("triggers", "--dataset", "digits", "--count", 40, "--out", other)
    could_not(
        ticket_sig("ask", tmp_path / "taught", "--claim", claim, "--triggers", other), "commitment: expected"
    )


def test_the_promised_accuracy_is_held_against_the_network(
    digits_signed: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    assert ticket_sig("train", digits_signed, "--out", tmp_path / "trained").code == 0
    bundle, claim = tmp_path / "trained", tmp_path / "trained" / "claim.json"
    promised = json.loads(claim.read_text())["accuracy"]
    value = read_json(ticket_sig("verify", bundle, "--claim", claim, "--dataset", "digits", "--json"))
    assert value["fidelity"]["promised"] == promised and value["fidelity"]["holds"] is True
    shutil.copy(claim, tmp_path / "boast.json")
    boast = {**json.loads(claim.read_text()), "accuracy": 99.99}
    (tmp_path / "boast.json").write_text(json.dumps(boast))
    told = ["verify", bundle, "--claim", tmp_path / "boast.json", "--dataset", "digits"]
    assert read_json(ticket_sig(*told, "--json"))["fidelity"]["holds"] is False
    said = ticket_sig(*told)
    assert said.code == 0 and "99.99 % promised: does not hold (within 1 points)" in said.out
