"""Every mark of the registry keeps the face: what it is, what is claimed of it, what is read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support import taught
from support.extending import SignBits
from support.tickets import sparse, sparse_ticket
from torch import nn

from ticket_sig import Claim, InputError, Mask, Ticket, embed, verify
from ticket_sig.digests import tensor_digest
from ticket_sig.marks import MARKS, KeyMark, Mark, TriggerMark, claim_of, marks_of
from ticket_sig.marks.bits import bits_of, digits_of
from ticket_sig.marks.embed import options_for
from ticket_sig.marks.key_mask.split import split
from ticket_sig.options import flag, options_of
from ticket_sig.verdict import Verdict

SECRET = bytes(range(32))
MESSAGE = "owner@example.org"
OPTIONS: dict[str, dict[str, Any]] = {
    "qr-code": {"message": MESSAGE},
    "freezenet": {"length": 60},
    "uchida": {"message": MESSAGE},
    "nct": {"message": MESSAGE},
    "spread": {"message": MESSAGE},
    "mirror": {"message": MESSAGE},
    "sign-bits": {"message": MESSAGE, "layer": "1.weight"},
}
NAMES = [*MARKS, "sign-bits"]


@pytest.fixture(autouse=True)
def one_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mark of the worked example, registered by one line."""
    monkeypatch.setitem(MARKS, "sign-bits", SignBits)


def network(name: str, seed: int = 0) -> Ticket:
    """One that the mark fits into."""
    if name == "mirror":  # of many patterns
        weights = {f"{n}.weight": sparse(64, 64, 5, 5, density=0.2, seed=seed + n) for n in range(2)}
        return Ticket(weights=weights, mask=Mask.of_zeros(weights))
    if MARKS[name].stands_in == "mask":
        return sparse_ticket()
    torch.manual_seed(seed)
    weights = dict(nn.Sequential(nn.Linear(8, 200), nn.Linear(200, 20), nn.Linear(20, 4)).state_dict())
    return Ticket(weights=weights, mask=Mask.full({n: w for n, w in weights.items() if w.ndim >= 2}))


def unmarked(name: str, before: Ticket) -> Ticket:
    """One without the mark: what it was put into or, where that is left as it is, another."""
    return network(name, seed=1) if MARKS[name].passive else before


def made(name: str, secret: bytes = SECRET) -> Mark:
    if name == "key-mask":
        ticket = sparse_ticket()
        [mark] = marks_of(split(ticket, 0.1, {n: ticket.weights[n].abs() for n in ticket.mask}).claim)
        return mark
    if name == "trigger-set":
        return TriggerMark.of(taught.triggers())
    return MARKS[name].make(network(name), options_for(name, **OPTIONS[name]), secret)


# What a mark is


def test_every_mark_that_can_be_embedded_is_tested_here() -> None:
    assert OPTIONS.keys() == {name for name, kind in MARKS.items() if kind.options}


@pytest.mark.parametrize("name", NAMES)
def test_a_mark_says_what_it_is(name: str) -> None:
    kind = MARKS[name]
    assert kind.name == name and kind.__doc__
    assert kind.stands_in in ("mask", "weights", "answers")
    assert kind.carries in ("bits", "numbers", "labels", "nothing")
    assert all(needed and text.endswith(".") for needed, text in kind.needs.items())


@pytest.mark.parametrize("name", NAMES)
def test_its_one_line_tells_no_secret(name: str) -> None:
    mark = made(name)
    said = str(mark)
    assert said.startswith(name) and said.isprintable() and "\n" not in said
    secrets = [SECRET.hex(), digits_of(bits_of(MESSAGE)), repr(SECRET)]
    assert not any(secret in told for secret in secrets for told in (said, repr(mark)))
    assert list(map(str, marks_of(claim_of([mark], {})))) == [said]


@pytest.mark.parametrize("name", NAMES)
def test_a_claim_brings_the_same_mark_back(name: str, tmp_path: Path) -> None:
    mark = made(name)
    (tmp_path / "claim.json").write_text(json.dumps(claim_of([mark], {}, 91.5).to_json(), allow_nan=False))
    claim = Claim.read(tmp_path / "claim.json")
    [back] = marks_of(claim)
    assert type(back) is MARKS[name] and claim.accuracy == 91.5
    assert back.digest == mark.digest and back.to_json() == mark.to_json()


@pytest.mark.parametrize("name", NAMES)
def test_every_field_of_a_claim_is_needed_and_checked(name: str) -> None:
    fields = json.loads(json.dumps(made(name).to_json()))
    for field in fields:
        with pytest.raises(InputError, match=rf"\b{field}\b"):
            MARKS[name].from_json({n: value for n, value in fields.items() if n != field})
        for wrong in ([[]], -(2.5**300)):
            with pytest.raises(InputError):
                MARKS[name].from_json({**fields, field: wrong})


@pytest.mark.parametrize("name", NAMES)
def test_a_mark_without_a_picture_says_so(name: str, tmp_path: Path) -> None:
    mark = made(name)
    if mark.frame() is None:
        with pytest.raises(InputError, match=f"^--png: expected a mark that has a picture, found {name}$"):
            mark.draw(None, tmp_path / "x.png")


# Options


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_has_a_help_and_no_other_is_taken(name: str) -> None:
    kind = MARKS[name].options
    assert kind is not None
    known = options_of(kind)
    assert all(one.metadata["help"].strip().endswith(".") for one in known)
    names = ", ".join(one.name for one in known)
    with pytest.raises(InputError, match=f"^{name}: expected options among {names}, found nonsense$"):
        embed(network(name), mark=name, nonsense=1)


@pytest.mark.parametrize("name", ["key-mask", "trigger-set", "nonsense"])
def test_what_embed_does_not_put_in_is_refused_with_what_it_does(name: str) -> None:
    with pytest.raises(InputError, match=f"^mark: expected one of {', '.join(OPTIONS)}, found '{name}'$"):
        embed(sparse_ticket(), mark=name)


# Embedded and read


@pytest.mark.parametrize("name", OPTIONS)
def test_it_verifies_where_it_was_put_in_and_not_before(name: str) -> None:
    before = network(name)
    digest = tensor_digest(before.weights)
    marked = embed(before, mark=name, secret=SECRET, **OPTIONS[name])
    assert tensor_digest(before.weights) == digest
    assert (tensor_digest(marked.ticket.weights) == digest) is MARKS[name].passive
    assert [entry.step for entry in marked.ticket.history] == ["sign"]
    assert marked.ticket.mask.kept == before.mask.kept
    marked.ticket.mask.check(marked.ticket.weights)
    suspects = marked.ticket, unmarked(name, before)
    verdict, other = (verify(one, marked.claim, **marked.shown) for one in suspects)
    assert verdict.detected and verdict.mark == name and verdict.to_json()["mark"] == name
    assert verdict.verified is not MARKS[name].passive
    assert not other.detected and not other.verified and other.to_json()["proves"] == "nothing"
    again = verify(dict(marked.ticket.weights), marked.claim, **marked.shown)
    assert again.log10_p == verdict.log10_p


@pytest.mark.parametrize("name", OPTIONS)
def test_a_reading_is_for_people_and_for_machines(name: str) -> None:
    before = network(name)
    marked, other = embed(before, mark=name, secret=SECRET, **OPTIONS[name]), unmarked(name, before)
    for ticket in (marked.ticket, other):
        reading = marked.mark.read(ticket)
        assert 0 <= reading.agreement <= 1 and reading.log10_p <= 0
        assert reading.message is None or isinstance(reading.message, str)
        assert all(isinstance(what, str) and str(value) for what, value in reading.rows())
        json.dumps(reading.to_json(), allow_nan=False)
        verdict = reading.verdict()
        assert isinstance(verdict, Verdict) and verdict.reading is reading and verdict.mark == name
        assert verdict.log10_p == reading.log10_p
        assert verdict.statistic and verdict.proves and verdict.does_not_prove
        symbols = reading.symbols
        assert symbols is not None and len(symbols.claimed) == len(symbols.read) > 1
        assert 1 - symbols.errors / len(symbols.claimed) == pytest.approx(reading.agreement)
    whole = marked.mark.read(marked.ticket)
    assert whole.agreement > marked.mark.read(other).agreement
    said = OPTIONS[name].get("message", MESSAGE)
    assert (whole.message == said) is (MARKS[name].carries == "bits")
    facts = marked.mark.facts(before, marked.ticket)
    assert all(isinstance(what, str) and str(value) for what, value in facts) and marked.mark.remedy()


@pytest.mark.parametrize("name", OPTIONS)
def test_the_secret_decides_all_that_looks_like_chance(name: str) -> None:
    secrets = (SECRET, SECRET, bytes(32), None, None)
    marked = [embed(network(name), mark=name, secret=one, **OPTIONS[name]) for one in secrets]
    digests = [one.mark.digest for one in marked]
    if not MARKS[name].passive:
        digests = [tensor_digest(one.ticket.weights) for one in marked]
    assert digests[0] == digests[1] and len(set(digests)) == 4
    assert marked[0].claim.marks == marked[1].claim.marks


def test_marks_that_stand_together_are_claimed_together() -> None:
    ticket = embed(network("uchida"), mark="uchida", secret=SECRET, **OPTIONS["uchida"])
    second = embed(ticket.ticket, mark="sign-bits", secret=SECRET, message=MESSAGE, layer="0.weight")
    claim = claim_of([ticket.mark, second.mark], second.ticket.weights)
    verdict = verify(second.ticket, claim)
    assert verdict.verified and verdict.mark == "uchida + sign-bits"
    assert list(map(str, marks_of(claim))) == [str(ticket.mark), str(second.mark)]


def test_a_key_mask_asks_for_its_key() -> None:
    mark = made("key-mask")
    assert isinstance(mark, KeyMark)
    with pytest.raises(InputError, match=f"give it: {flag('key')} FILE"):
        verify(sparse_ticket(), claim_of([mark], {}))


# The worked example: its p-value is no boast


def test_signs_are_written_and_magnitudes_left() -> None:
    before = network("sign-bits")
    after = embed(before, mark="sign-bits", secret=SECRET, **OPTIONS["sign-bits"]).ticket
    changed = after.weights["1.weight"] != before.weights["1.weight"]
    assert 0 < changed.sum() < 8 * len(MESSAGE)
    assert torch.equal(after.weights["1.weight"].abs(), before.weights["1.weight"].abs())
    assert all(after.weights[n] is w for n, w in before.weights.items() if n != "1.weight")


@pytest.mark.parametrize(("size", "verified"), [(8, False), (10, False), (12, True), (40, True)])
def test_a_text_of_12_bytes_or_more_can_be_verified(size: int, verified: bool) -> None:
    marked = embed(network("sign-bits"), mark="sign-bits", message="x" * size, layer="1.weight")
    assert verify(marked.ticket, marked.claim).verified is verified


def test_unrelated_secrets_and_texts_read_chance() -> None:
    marked = embed(network("sign-bits"), mark="sign-bits", secret=SECRET, **OPTIONS["sign-bits"])
    own = marked.mark
    assert isinstance(own, SignBits)
    # Neither normal nor centred, so that nothing but the secret is random.
    odd = {"1.weight": network("sign-bits").weights["1.weight"].exp() - 0.7}
    others = [replace(own, secret=n.to_bytes(8, "big")) for n in range(300)]
    others += [replace(own, message=f"{MESSAGE}{n}"[-len(MESSAGE) :]) for n in range(300)]
    for suspect in (dict(marked.ticket.weights), odd):
        readings = [other.read(suspect) for other in others]
        right = [reading.agreement for reading in readings]
        assert abs(sum(right) / len(right) - 0.5) < 0.01 and max(right) < 0.7
        assert all(reading.log10_p == 0 and not reading.verdict().verified for reading in readings)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"message": MESSAGE, "layer": "none"}, "model: layer: expected 'none', found none of that name"),
        (
            {"message": "", "layer": "1.weight"},
            "sign-bits: signs: expected 1 to 4000, the weights of the layer",
        ),
        ({"message": "x" * 501, "layer": "1.weight"}, "sign-bits: signs: expected 1 to 4000, .*, found 4008"),
        ({"message": 5, "layer": "1.weight"}, "message: expected a text, found 5"),
        (
            {"message": "\udcff", "layer": "1.weight"},
            r"message: expected Unicode text, found '\\udcff' in it",
        ),
        ({"layer": "1.weight"}, "--message: expected a text, found none; sign-bits needs it"),
    ],
)
def test_what_a_plain_mark_cannot_be_is_named(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=f"^{says}"):
        embed(network("sign-bits"), mark="sign-bits", **options)
