"""Marks whose secret lies in a file of its own, from the command line: put in together, read and attacked."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.command_line import Command, could_not, next_commands, plain, read_json
from support.disk import content, file_size_limit, full_disk
from support.probe_code import ProbeCode

from ticket_sig import Claim
from ticket_sig.marks import MARKS
from ticket_sig.marks.secret import Secret

MESSAGE = "owner-1"
BOTH = ["--mark", "qr-code+probe-code", "--message", MESSAGE]
ALONE = ["--mark", "probe-code", "--message", MESSAGE]


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MARKS, "probe-code", ProbeCode)


@pytest.fixture
def signed(model: Path, tmp_path: Path, ticket_sig: Command) -> Path:
    """A bundle with both; its secret lies beside it."""
    said = ticket_sig("embed", model, *BOTH, "--out", tmp_path / "OUT")
    assert said.code == 0, said.err
    return tmp_path / "OUT"


def shown(bundle: Path, secret: bool = True) -> list[object]:
    return [
        "--claim",
        bundle / "claim.json",
        *(["--secret", bundle.with_name(f"{bundle.name}.secret")] if secret else []),
    ]


# embed


def test_each_mark_is_told_under_its_name_and_where_the_secret_is(
    model: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    out = tmp_path / "OUT"
    said = ticket_sig("embed", model, *BOTH, "--out", out)
    assert (said.code, said.err) == (0, "")
    first, second = said.out.split(f"probe-code, '{MESSAGE}'\n")
    assert first.startswith(f"qr-code, '{MESSAGE}'\n") and "208 of 208 data modules agree" in first
    assert "\nstatistic: the claimed message stands by" in second and f"message read: {MESSAGE}" in second
    assert (
        f"\nsecret: {out}.secret; lost, the mark cannot be verified; seen by a thief, it can be erased"
        in second
    )
    assert [one.name for one in Claim.read(out / "claim.json").marks] == ["qr-code", "probe-code"]
    verify = next_commands(said.out)[-1]
    assert verify[-2:] == ["--secret", f"{out}.secret"] and ticket_sig(*verify).code == 0


def test_all_of_them_are_in_the_json(model: Path, tmp_path: Path, ticket_sig: Command) -> None:
    value = read_json(ticket_sig("embed", model, *BOTH, "--out", tmp_path / "OUT", "--json"))
    assert [(one["mark"], one["verdict"]) for one in value["marks"]] == [
        ("qr-code", "verified"),
        ("probe-code", "verified"),
    ]
    assert value["secret"] == str(tmp_path / "OUT.secret") and value["mark"] == "qr-code"
    assert all(one["facts"]["weights moved"] > 0 for one in value["marks"])


def test_a_secret_is_made_beside_the_bundle_for_its_owner_alone(signed: Path, tmp_path: Path) -> None:
    secret = tmp_path / "OUT.secret"
    assert len(secret.read_bytes()) == 32 and stat.S_IMODE(secret.stat().st_mode) == 0o600
    told = [path.read_bytes() for path in signed.iterdir()]
    assert not any(
        own in one for one in told for own in (secret.read_bytes(), secret.read_bytes().hex().encode())
    )
    assert Claim.read(signed / "claim.json").marks[1].fields["commitment"] == Secret.read(secret).commitment


def test_a_secret_that_is_there_is_read_and_left(model: Path, tmp_path: Path, ticket_sig: Command) -> None:
    Secret(bytes(range(32))).write(tmp_path / "own")
    bundles = [tmp_path / "A", tmp_path / "B"]
    for bundle in bundles:
        said = ticket_sig("embed", model, *BOTH, "--secret", tmp_path / "own", "--out", bundle)
        assert said.code == 0 and f"secret: {tmp_path / 'own'};" in said.out
        assert bytes(range(32)).hex() not in said.out + said.err
    assert (tmp_path / "own").read_bytes() == bytes(range(32)) and not (tmp_path / "A.secret").exists()
    assert (bundles[0] / "model.safetensors").read_bytes() == (bundles[1] / "model.safetensors").read_bytes()
    said = ticket_sig("embed", model, *BOTH, "--secret", tmp_path / "new", "--out", tmp_path / "C")
    assert said.code == 0 and len((tmp_path / "new").read_bytes()) == 32, "where there is none, one is made"


def test_no_later_mark_puts_the_owner_s_secret_into_the_claim(
    signed: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    secret = tmp_path / "OUT.secret"
    out = tmp_path / "MORE"
    later = ["--mark", "uchida", "--message", "bits", "--secret", secret, "--out", out]
    said = ticket_sig("embed", signed, *later)
    assert said.code == 0, said.err
    assert secret.read_bytes().hex() not in (out / "claim.json").read_text()
    assert [one.name for one in Claim.read(out / "claim.json").marks] == ["qr-code", "probe-code", "uchida"]
    assert ticket_sig("verify", out, "--claim", out / "claim.json", "--secret", secret).code == 0


def test_no_secret_is_left_where_nothing_was_written(
    model: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    before = content(tmp_path)
    call = ["embed", model, "--mark", "probe-code", "--out", tmp_path / "OUT"]
    could_not(ticket_sig(*call), "--message, --fingerprint: expected one of them, found neither")
    could_not(ticket_sig(*call, "--message", "x" * 65), "message: expected 1 to 64 bytes in UTF-8, found 65")
    for fault in (full_disk(), file_size_limit(4096)):
        with fault:
            could_not(ticket_sig(*call, "--message", "m"), "OUT")
    assert content(tmp_path) == before


def test_a_fingerprint_is_written_and_read(model: Path, tmp_path: Path, ticket_sig: Command) -> None:
    key = ed25519.Ed25519PrivateKey.generate().public_key()
    (tmp_path / "key.pub").write_bytes(key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
    out = tmp_path / "OUT"
    call = ["embed", model, "--mark", "probe-code", "--fingerprint", tmp_path / "key.pub", "--out", out]
    said = ticket_sig(*call)
    assert said.code == 0 and "fingerprint of the claimed public key stands by" in said.out
    read = ticket_sig("extract", out, *shown(out)).out
    assert (
        read.startswith("SHA256:") and len(read) == 7 + 16 + 1 and f"probe-code, '{read.strip()}'" in said.out
    )


# verify, extract, inspect


def test_both_are_verified_with_the_secret_and_the_code_alone_without(
    signed: Path, ticket_sig: Command
) -> None:
    told = read_json(ticket_sig("verify", signed, *shown(signed), "--json"))
    assert (told["verdict"], told["mark"], told["not_looked_at"]) == ("verified", "qr-code + probe-code", [])
    said = ticket_sig("verify", signed, *shown(signed, secret=False))
    assert said.code == 0 and f"not looked at: probe-code, '{MESSAGE}'; it needs --secret" in said.out
    told = read_json(ticket_sig("verify", signed, *shown(signed, secret=False), "--json"))
    assert (told["mark"], told["not_looked_at"]) == ("qr-code", [f"probe-code, '{MESSAGE}'"])


def test_a_message_is_extracted_with_the_secret_and_without(
    signed: Path, model: Path, ticket_sig: Command
) -> None:
    for secret, mark in ((False, "qr-code"), (True, "probe-code")):
        said = ticket_sig("extract", signed, *shown(signed, secret))
        assert (said.code, said.out) == (0, f"{MESSAGE}\n") and said.err.startswith(f"{mark}: ")
    picture = signed.with_name("code.png")
    said = ticket_sig("extract", signed, *shown(signed), "--png", picture)
    assert said.code == 0 and said.err.startswith("qr-code: ") and picture.is_file(), "that has a picture"
    said = ticket_sig("extract", model, *shown(signed))
    assert said.code == 1 and said.out == "" and "no message can be read" in said.err


def test_a_mark_that_has_only_its_secret_asks_for_it(
    model: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    out = tmp_path / "OUT"
    assert ticket_sig("embed", model, *ALONE, "--out", out).code == 0
    for verb in ("verify", "extract"):
        said = ticket_sig(verb, out, *shown(out, secret=False))
        could_not(said, "secret: expected the owner's secret, found none; give it: --secret FILE")
        assert ticket_sig(verb, out, *shown(out)).code == 0
        assert ticket_sig(verb, model, *shown(out)).code == 1


@pytest.mark.parametrize("options", [BOTH, ALONE], ids=["both", "alone"])
def test_the_secret_of_another_claim_is_refused(
    options: list[str], model: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    Secret(bytes(32)).write(tmp_path / "other")
    out = tmp_path / "OUT"
    assert ticket_sig("embed", model, *options, "--out", out).code == 0
    for verb in ("verify", "extract"):
        said = ticket_sig(verb, out, "--claim", out / "claim.json", "--secret", tmp_path / "other")
        could_not(
            said, f"{tmp_path / 'other'}: secret: expected the one of sha256:", "found that of another claim"
        )


def test_inspect_says_what_is_claimed(signed: Path, ticket_sig: Command) -> None:
    said = ticket_sig("inspect", signed)
    assert said.code == 0 and f"claim: probe-code, '{MESSAGE}', signed " in said.out


# A claim beside the model


def test_marks_of_the_claim_beside_the_model_are_read_with_its_secret(
    signed: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    more = tmp_path / "MORE"
    # Of another length, and so under other signs: of the same, it would be written over the first.
    call = ["embed", signed, *ALONE[:2], "--message", "another one", "--out", more]
    could_not(
        ticket_sig(*call),
        "OUT/claim.json: secret: expected the one of sha256:",
        "give this claim's: --secret",
    )
    assert not more.exists() and not (tmp_path / "MORE.secret").exists()
    said = ticket_sig(*call, "--secret", tmp_path / "OUT.secret")
    assert said.code == 0, said.err
    assert f"\nstill claimed: qr-code, '{MESSAGE}'; probe-code, '{MESSAGE}'\n" in said.out
    names = [(one.name, one.fields["message"]) for one in Claim.read(more / "claim.json").marks]
    assert names[0] == ("qr-code", MESSAGE) and names[-1] == ("probe-code", "another one")


# attack


def test_an_attack_tries_it_where_the_secret_is_shown(
    signed: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    attack = ["attack", "magnitude-pruning", signed, "--rate", "0.1"]
    said = ticket_sig(*attack, *shown(signed, secret=False), "--out", tmp_path / "A")
    assert said.code == 0 and "not tried (no --secret)" in said.out
    assert "the owner wins: the qr-code is still verified" in said.out
    hidden = ["attack", "erase", signed, "--insider", *shown(signed, secret=False), "--out", tmp_path / "C"]
    assert "is gone; the probe-code could not be tried: it takes --secret\n" in ticket_sig(*hidden).out
    told = read_json(ticket_sig(*attack, *shown(signed), "--out", tmp_path / "B", "--json"))
    assert told["marks"]["probe-code"]["after"]["verdict"] == "verified" and told["winner"] == "owner"


def test_an_attack_without_the_secret_decides_nothing(
    model: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    alone = tmp_path / "OUT"
    assert ticket_sig("embed", model, *ALONE, "--out", alone).code == 0
    attack = ["attack", "magnitude-pruning", alone, "--rate", "0.1", "--out", tmp_path / "A", "--json"]
    told = read_json(ticket_sig(*attack))
    assert told["winner"] == "not_decided"
    assert told["outcome"] == "nothing is decided: probe-code could not be tried: it takes --secret"


def test_a_thief_s_own_mark_is_tried_with_his_secret(
    model: Path, tmp_path: Path, ticket_sig: Command
) -> None:
    attack = ["attack", "own-watermark", model, "--mark", "spread", "--out", tmp_path / "A", "--json"]
    assert read_json(ticket_sig(*attack))["forged"]["verdict"] == "verified"


def test_the_help_lists_the_names_and_says_how_to_put_in_several(
    ticket_sig: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    said = re.sub(r"[│\s]+", " ", plain(ticket_sig("embed", "--help").out))
    assert "Kind of the mark: qr-code, freezenet, uchida, nct" in said
    assert "probe-code. Several are put in as NAME+NAME." in said
    for verb in ("verify", "extract"):
        assert "--secret" in ticket_sig(verb, "--help").out
