"""Several marks in one claim: verified where one of them stands, at the price of having tried them all."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from support import taught
from support.command_line import Outcome, run
from support.tickets import sparse_ticket
from torch import Tensor

from ticket_sig import Claim, InputError, Mask, Ticket, embed, extract, save, verify
from ticket_sig.digests import tensor_digest
from ticket_sig.files import write_json
from ticket_sig.marks import claim_of, marks_of
from ticket_sig.marks.bits import bits_of
from ticket_sig.marks.key_mask.split import split
from ticket_sig.marks.trained import claim_triggers
from ticket_sig.marks.uchida.mark import Uchida
from ticket_sig.verification.decide import Together
from ticket_sig.verification.white_box import verify_file

SECRET = bytes(range(32))


class Marked(NamedTuple):
    """A network with a code in `b.weight` and 128 bits in `a.weight`; the claim on both, and on each."""

    ticket: Ticket
    both: Claim
    code: Claim
    bits: Claim


@pytest.fixture(scope="module")
def marked() -> Marked:
    first = embed(sparse_ticket(), "the owner", layer="b.weight", secret=SECRET)
    second = embed(first.ticket, mark="uchida", random=128, layer="a.weight", secret=SECRET)
    both = claim_of([first.mark, second.mark], second.ticket.weights)
    return Marked(second.ticket, both, first.claim, second.claim)


def suspect(weights: Mapping[str, Tensor]) -> Ticket:
    """A model as a bare file has it."""
    return Ticket(weights=weights, mask=Mask.of_zeros(weights))


def without_code(ticket: Ticket) -> Ticket:
    """The network with another's weights where the code stood."""
    return suspect({**ticket.weights, "b.weight": sparse_ticket(seed=50).weights["b.weight"]})


def without_bits(ticket: Ticket) -> Ticket:
    """The network with filters negated where the bits stood."""
    return suspect({**ticket.weights, "a.weight": -ticket.weights["a.weight"]})


def renamed(ticket: Ticket, *layers: str) -> Ticket:
    """The same network, some of its layers under names that do not end in their own."""
    return suspect({f"x{n}" if n in layers else n: t for n, t in ticket.weights.items()})


def lacking(ticket: Ticket, *layers: str) -> Ticket:
    """The network without some of its layers."""
    return suspect({n: t for n, t in ticket.weights.items() if n not in layers})


def test_where_both_stand_the_best_counts_twice(marked: Marked) -> None:
    found = verify(marked.ticket, marked.both)
    code, bits = verify(marked.ticket, marked.code), verify(marked.ticket, marked.bits)
    assert code.verified and bits.verified and found.verified
    assert found.log10_p == min(code.log10_p, bits.log10_p) + math.log10(2)
    assert found.mark == "qr-code + uchida"
    assert code.statistic in found.statistic and bits.statistic in found.statistic
    rows = dict(found.rows())
    assert rows["marks tried"] == 2 and rows["qr-code"] == rows["uchida"] == "verified"
    assert rows["  claimed message"] == "the owner" and rows["  bit error rate"] == "0.0000"
    assert found.proves == f"qr-code: {code.proves}; uchida: {bits.proves}"
    told = found.to_json()["evidence"]
    assert [mark["mark"] for mark in told["marks"]] == ["qr-code", "uchida"]
    assert (told["tried"], told["could_not_be_read"]) == (2, [])


@pytest.mark.parametrize("left", ["code", "bits"])
def test_where_one_stands_it_decides_and_says_what_it_proves(left: str, marked: Marked) -> None:
    spoiled = without_bits(marked.ticket) if left == "code" else without_code(marked.ticket)
    alone = verify(spoiled, marked.code if left == "code" else marked.bits)
    found = verify(spoiled, marked.both)
    assert alone.verified and found.verified
    assert found.log10_p == alone.log10_p + math.log10(2)
    gone = "uchida" if left == "code" else "qr-code"
    assert found.proves == f"{alone.mark}: {alone.proves}"
    assert found.does_not_prove == f"{alone.mark}: {alone.does_not_prove}; nothing by {gone}"
    outcomes = [mark["verdict"] for mark in found.to_json()["evidence"]["marks"]]
    assert outcomes == (["verified", "not verified"] if left == "code" else ["not verified", "verified"])


def test_where_both_are_gone_nothing_is_verified(marked: Marked) -> None:
    for spoiled in (without_bits(without_code(marked.ticket)), sparse_ticket(seed=70)):
        found = verify(spoiled, marked.both)
        assert not found.verified and found.log10_p > -1
        assert found.to_json()["proves"] == "nothing"


def test_tries_are_paid_for_however_often_a_mark_is_listed(marked: Marked) -> None:
    """A liar may list sixteen codes: one that is near the threshold by chance is not verified for that."""
    one = verify(marked.ticket, marked.code)
    many = verify(marked.ticket, replace(marked.code, marks=marked.code.marks * 16))
    assert many.log10_p == one.log10_p + math.log10(16)


def test_marks_of_one_kind_are_told_apart() -> None:
    first = embed(sparse_ticket(), "the first", layer="b.weight", secret=SECRET)
    second = embed(first.ticket, "the second", layer="a.weight", secret=SECRET)
    claim = claim_of([first.mark, second.mark], second.ticket.weights)
    gone = suspect({**second.ticket.weights, "b.weight": sparse_ticket(seed=50).weights["b.weight"]})
    verdict = verify(gone, claim)
    assert verdict.mark == "qr-code 1 + qr-code 2" and verdict.verified
    rows = dict(verdict.rows())
    assert (rows["qr-code 1"], rows["qr-code 2"]) == ("not verified", "verified")
    assert verdict.proves.startswith("qr-code 2: ")
    assert verdict.does_not_prove.endswith("; nothing by qr-code 1")


def test_the_message_shown_is_that_of_a_mark_that_is_verified(marked: Marked) -> None:
    found = verify(marked.ticket, marked.both).reading
    assert isinstance(found, Together) and found.message == "the owner"
    code, bits = sorted(found.verdicts, key=lambda one: one.mark)
    assert Together([replace(code, lacking="a date"), bits], 2).message == bits.reading.message


def test_a_mark_that_cannot_be_read_is_told_and_still_paid_for(marked: Marked) -> None:
    found = verify(lacking(marked.ticket, "b.weight"), marked.both)
    alone = verify(lacking(marked.ticket, "b.weight"), marked.bits)
    assert found.verified and found.log10_p == alone.log10_p + math.log10(2)
    assert isinstance(found.reading, Together)
    error = "model: layer: expected the claim's b.weight, found none of that name or shape"
    assert found.reading.errors == [error]
    assert ("could not be read", error) in found.rows()
    gone = verify(lacking(marked.ticket, "a.weight", "b.weight"), marked.both)
    assert not gone.verified and error in str(dict(gone.remarks)["not found"])
    assert gone.mark == "qr-code + uchida" and gone.to_json()["evidence"]["log10_p"] == 0
    assert not verify(lacking(without_bits(marked.ticket), "b.weight"), marked.both).verified
    # What stands in a damaged layer, nobody knows: where no other mark does, that is no "not verified".
    odd = {**without_bits(marked.ticket).weights, "b.weight": marked.ticket.weights["b.weight"].int()}
    with pytest.raises(InputError, match=r"^b\.weight: expected weights, found"):
        verify(suspect(odd), marked.both)


def test_renamed_layers_are_found_by_their_shapes_at_the_same_price(marked: Marked) -> None:
    found = verify(renamed(marked.ticket, "a.weight", "b.weight"), marked.both)
    assert found.verified and found.log10_p == verify(marked.ticket, marked.both).log10_p
    assert isinstance(found.reading, Together)
    told = [dict(one.rows())["found under another name"] for one in found.reading.verdicts]
    assert told == [f"1 tensor renamed: {name} as x{name}" for name in ("b.weight", "a.weight")]


def test_the_latest_text_that_can_be_read_is_extracted_and_bits_where_there_is_none(marked: Marked) -> None:
    assert extract(marked.ticket, marked.both).message == "the owner"
    turned = replace(marked.both, marks=marked.both.marks[::-1])
    assert extract(marked.ticket, turned).message == "the owner"
    digits = extract(marked.ticket, marked.bits).message
    assert digits is not None and len(digits) == 128
    assert extract(without_code(marked.ticket), marked.both).message == digits
    assert extract(lacking(marked.ticket, "b.weight"), marked.both).message == digits
    with pytest.raises(InputError, match=r"^model: layer: expected the claim's b\.weight"):
        extract(lacking(marked.ticket, "a.weight", "b.weight"), marked.both)


def test_a_trigger_set_beside_a_code_is_left_to_be_asked(marked: Marked) -> None:
    digest = tensor_digest(marked.ticket.weights)
    claim = claim_triggers(taught.triggers(), digest, beside=marked.code)
    found, alone = verify(marked.ticket, claim), verify(marked.ticket, marked.code)
    assert (found.log10_p, found.mark) == (alone.log10_p, "qr-code")
    assert found.to_json() == alone.to_json()
    assert extract(marked.ticket, claim).message == "the owner"
    taught_alone = claim_triggers(taught.triggers(), digest)
    named = r"marks: expected one that is read in weights \(.*\), found trigger-set; ask the network"
    with pytest.raises(InputError, match=named):
        verify(marked.ticket, taught_alone)


class Keyed(NamedTuple):
    """A key mask and a code in one claim, the parts of the split, and their files."""

    ticket: Ticket
    claim: Claim
    shown: Mapping[str, object]
    files: Mapping[str, Path]


@pytest.fixture
def keyed(marked: Marked, tmp_path: Path) -> Keyed:
    ticket = marked.ticket
    parts = split(ticket, 0.1, {name: ticket.weights[name].abs() for name in ticket.mask}, score="omp")
    claim = claim_of([*marks_of(parts.claim), *marks_of(marked.code)], ticket.weights)
    save(parts.locked, tmp_path / "locked", claim=parts.claim.to_json())
    parts.key.write(tmp_path / "key.safetensors")
    save(ticket, tmp_path / "suspect")
    write_json(tmp_path / "claim.json", claim.to_json())
    files = {"key": tmp_path / "key.safetensors", "locked": tmp_path / "locked"}
    return Keyed(ticket, claim, {"key": parts.key, "locked": parts.locked}, files)


def test_without_its_key_a_key_mask_is_no_try(marked: Marked, keyed: Keyed) -> None:
    alone = verify(keyed.ticket, marked.code)
    assert verify(keyed.ticket, keyed.claim).to_json() == alone.to_json()
    found = verify(keyed.ticket, keyed.claim, **keyed.shown)
    assert [mark["mark"] for mark in found.to_json()["evidence"]["marks"]] == ["key-mask", "qr-code"]
    assert found.verified and found.log10_p < alone.log10_p
    # The code needs no date; without it, the key mask alone stands, and does.
    assert found.headline == "verified"
    assert ("  condition", "holds if the claim is older than the suspect") in found.rows()
    gone = verify(without_code(keyed.ticket), keyed.claim, **keyed.shown)
    assert gone.headline == "verified; key-mask: holds if the claim is older than the suspect"


def test_a_key_mask_that_lacks_weights_leaves_the_decision_to_the_code(marked: Marked, keyed: Keyed) -> None:
    """The locked ticket holds none of the key; the code stands in it all the same."""
    locked = keyed.shown["locked"]
    assert isinstance(locked, Ticket)
    found = verify(locked, keyed.claim, **keyed.shown)
    alone = verify(locked, marked.code)
    assert found.lacking == "" and found.log10_p == alone.log10_p + math.log10(2)
    assert not verify(without_code(locked), keyed.claim, **keyed.shown).verified


def test_what_is_shown_without_need_is_refused(marked: Marked, keyed: Keyed) -> None:
    expected = "marks: expected a claim on key-mask, for --key, --locked, found qr-code"
    with pytest.raises(InputError, match=f"claim: {expected}"):
        verify(marked.ticket, marked.code, **keyed.shown)
    with pytest.raises(InputError, match="marks: expected a claim on a mark, for --colour, found qr-code"):
        verify(marked.ticket, marked.code, colour="red")


def test_files_are_opened_for_the_mark_that_needs_them(keyed: Keyed, tmp_path: Path) -> None:
    file, claim = tmp_path / "suspect", Claim.read(tmp_path / "claim.json")
    assert verify_file(file, claim).mark == "qr-code"
    found = verify_file(file, claim, keyed.files)
    assert found.log10_p == verify(keyed.ticket, keyed.claim, **keyed.shown).log10_p
    with pytest.raises(InputError, match=r"locked ticket: expected the bundle that this claim was handed"):
        verify_file(file, claim, {"key": keyed.files["key"]})
    with pytest.raises(InputError, match=r"key: expected the key's file, to verify a key mask, .*--key FILE"):
        verify_file(file, claim, {"locked": keyed.files["locked"]})


def test_the_command_line_says_which_marks_stand(marked: Marked, tmp_path: Path) -> None:
    save(without_bits(marked.ticket), tmp_path / "suspect")
    write_json(tmp_path / "claim.json", marked.both.to_json())
    said: Outcome = run(["verify", tmp_path / "suspect", "--claim", tmp_path / "claim.json"])
    assert said.code == 0 and said.out.startswith("verified\n")
    assert "marks tried" in said.out and "message: the owner" in said.out
    save(sparse_ticket(seed=70), tmp_path / "innocent")
    said = run(["verify", tmp_path / "innocent", "--claim", tmp_path / "claim.json"])
    assert said.code == 1 and "proves: nothing" in said.out


def test_numbers_say_nothing_and_the_marks_that_do_are_named() -> None:
    weights = {"a.weight": torch.randn(32, 24, 3, 3), "b.weight": torch.randn(64, 128)}
    made = embed(Ticket(weights=weights, mask=Mask.full(weights)), mark="freezenet", length=500)
    assert verify(made.ticket, made.claim).verified
    bits = "qr-code, uchida, nct, spread, mirror"
    expected = rf"^claim: marks: expected one that carries bits \({bits}\), found freezenet$"
    with pytest.raises(InputError, match=expected):
        extract(made.ticket, made.claim)


def test_a_layer_that_is_stored_in_eight_bits_hides_no_other_mark(marked: Marked) -> None:
    """PyTorch has few operations for float8: a thief may store the layer of one code in it."""
    second = embed(marked.ticket, "the owner again", layer="a.weight", secret=SECRET)
    claim = claim_of([*marks_of(marked.code), second.mark], second.ticket.weights)
    cast = {**second.ticket.weights, "b.weight": second.ticket.weights["b.weight"].to(torch.float8_e4m3fn)}
    assert verify(cast, claim).verified
    assert extract(cast, claim).message == "the owner again"


def test_of_what_can_be_read_the_verified_message_is_shown(marked: Marked) -> None:
    """Bits of a network without them are a text by chance now and then; verify and extract show the same."""
    short = Uchida(bits_of("ab"), "a.weight", marked.ticket.weights["a.weight"].shape, secret=SECRET)
    claim = claim_of([*marks_of(marked.code), short], marked.ticket.weights)
    for seed in range(40):
        weights = {**marked.ticket.weights, "a.weight": sparse_ticket(seed=seed).weights["a.weight"]}
        assert extract(suspect(weights), claim).message == "the owner"
        assert verify(suspect(weights), claim).reading.message == "the owner"
