"""What all carriers share, on the least of them: options, claims, secrets, what is paid for and spared."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.probe_code import ProbeCode
from support.tickets import sparse_ticket
from torch import Tensor

from ticket_sig import InputError, Mask, Ticket, embed, extract, verify
from ticket_sig.marks import MARKS, claim_of, marks_of
from ticket_sig.marks.carrier import CarrierOptions, Layer, Payload, spared
from ticket_sig.marks.public_key import fingerprint, read_public_key
from ticket_sig.marks.secret import Secret
from ticket_sig.prf import Stream
from ticket_sig.statistics import LOG10_SECRETS

SECRET = Secret(bytes(range(32)))
TEXT = "owner-1"
KEYS = {
    "ed25519": ed25519.Ed25519PrivateKey.generate().public_key(),
    "ec": ec.generate_private_key(ec.SECP256R1()).public_key(),
    "rsa": rsa.generate_private_key(65537, 2048).public_key(),
}
PEM = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
SSH = (Encoding.OpenSSH, PublicFormat.OpenSSH)
DER = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MARKS, "probe-code", ProbeCode)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    (tmp_path / "key.pub").write_bytes(KEYS["ed25519"].public_bytes(*SSH))
    return tmp_path / "key.pub"


def mark(text: str = TEXT, ticket: Ticket | None = None) -> ProbeCode:
    return ProbeCode.make(ticket or sparse_ticket(), CarrierOptions(message=text), SECRET.value)


# Written and read


def test_a_message_stands_under_its_secret_and_under_no_other() -> None:
    signed = embed(sparse_ticket(), TEXT, mark="probe-code", secret=SECRET)
    assert signed.shown == {"secret": SECRET}
    verdict = verify(signed.ticket, signed.claim, **signed.shown)
    assert verdict.verified and verdict.reading.message == TEXT
    assert extract(signed.ticket, signed.claim, secret=SECRET).message == TEXT
    assert signed.ticket.mask.kept == sparse_ticket().mask.kept
    for suspect in (sparse_ticket(), sparse_ticket(seed=9)):
        assert not verify(suspect, signed.claim, **signed.shown).verified
        assert extract(suspect, signed.claim, **signed.shown).message is None


def test_bytes_do_for_a_secret() -> None:
    signed = embed(sparse_ticket(), TEXT, mark="probe-code", secret=SECRET.value)
    assert verify(signed.ticket, signed.claim, secret=SECRET.value).verified


def test_without_the_secret_nothing_is_decided() -> None:
    signed = embed(sparse_ticket(), TEXT, mark="probe-code")
    for read in (verify, extract):
        with pytest.raises(
            InputError, match=r"secret: expected the owner's secret, found none; .*--secret FILE"
        ):
            read(signed.ticket, signed.claim)
        with pytest.raises(
            InputError, match=r"secret: expected the one of sha256:.*, found that of another claim"
        ):
            read(signed.ticket, signed.claim, secret=SECRET)


def test_a_claim_and_all_that_is_shown_hold_no_secret() -> None:
    signed = embed(sparse_ticket(), TEXT, mark="probe-code+qr-code", secret=SECRET)
    verdict = verify(signed.ticket, signed.claim, **signed.shown)
    told = [json.dumps(signed.claim.to_json()), json.dumps(verdict.to_json()), repr(signed), repr(verdict)]
    assert not any(shown in one for one in told for shown in (SECRET.value.hex(), "\\x01\\x02\\x03"))


def test_all_bits_together_stand_by_the_carrier_s_own_strength_where_no_margin_is_given() -> None:
    for text in ("a", "x" * 20):
        own = mark(text)
        assert own.margin * math.sqrt(own.code.size) == pytest.approx(ProbeCode.usual_sigma)
    assert ProbeCode.make(sparse_ticket(), CarrierOptions(message=TEXT, margin=2)).margin == 2


# What is paid for


def test_a_text_is_paid_for_and_a_public_key_s_fingerprint_is_not(key: Path) -> None:
    text = mark("x" * 8).read(sparse_ticket())
    keyed = ProbeCode.make(sparse_ticket(), CarrierOptions(fingerprint=key), SECRET.value)
    signed = keyed.embed(sparse_ticket())
    reading = keyed.read(signed)
    assert text.payload.log10_choices == pytest.approx(64 * math.log10(2)) and text.log10_p == 0
    assert reading.log10_p == pytest.approx(reading.log10_p_here + LOG10_SECRETS)
    written = mark("x" * 8).embed(sparse_ticket())
    paid = mark("x" * 8).read(written)
    assert paid.log10_p == pytest.approx(paid.log10_p_here + LOG10_SECRETS + 64 * math.log10(2))


def test_what_a_claimant_chooses_but_a_text_draws_every_sign_anew(key: Path) -> None:
    own = mark()
    keyed = Payload(public_key=read_public_key(key))
    other = Payload(public_key=KEYS["ec"].public_bytes(*DER))
    first = replace(own.layers[0], kept=own.layers[0].kept - 1)
    changed = [
        replace(own, layers=own.layers[1:]),
        replace(own, layers=own.layers[::-1]),
        replace(own, layers=(first, *own.layers[1:])),
        replace(own, payload=Payload(TEXT + "x")),
        replace(own, payload=keyed),
        replace(own, payload=other),
    ]
    words = [one.stream(SECRET).words(0, 4096) for one in (own, *changed)]
    for index, one in enumerate(words):
        assert all(abs(np.mean((one ^ other) & 1) - 0.5) < 0.05 for other in words[:index])
    same = replace(own, payload=Payload("x" * len(TEXT)))
    assert np.array_equal(same.stream(SECRET).words(0, 9), words[0][:9]), "else nothing could be read"


def test_a_text_whose_code_is_near_to_the_written_one_is_not_verified_in_its_place() -> None:
    own = mark("ap")
    near = replace(own, payload=Payload("d6")).read(own.embed(sparse_ticket())).verdict()
    assert near.log10_p < -6 and near.reading.message == "ap"
    assert not near.verified and near.lacking == "the claimed message: another one is read"


def test_unrelated_secrets_read_chance() -> None:
    own, sent = mark(), mark().code.encode(mark().payload.data)
    signed = own.embed(sparse_ticket())
    secrets = [Secret(n.to_bytes(32, "big")) for n in range(200)]
    found = [own.measured(signed, own.stream(secret), sent) for secret in secrets]
    sigmas = [float(one.sums @ sent) / one.squares**0.5 for one in found]
    for secret in secrets[:5]:
        reading = replace(own, secret=secret, commitment=secret.commitment).read(signed)
        assert reading.log10_p == 0 and reading.message is None
    assert abs(np.mean(sigmas)) < 0.3 and 0.85 < np.std(sigmas) < 1.15


# Fingerprints


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("form", [PEM, SSH], ids=["pem", "ssh"])
def test_a_public_key_of_any_kind_gives_one_fingerprint_in_either_form(
    kind: str, form: tuple[Encoding, PublicFormat], tmp_path: Path
) -> None:
    (tmp_path / "key").write_bytes(KEYS[kind].public_bytes(*form) + b"\n")
    signed = embed(sparse_ticket(), mark="probe-code", fingerprint=tmp_path / "key")
    [fields] = [one.fields for one in signed.claim.marks]
    der = KEYS[kind].public_bytes(*DER)
    assert fields["public_key"] == der.hex() and "message" not in fields
    shown = f"SHA256:{fingerprint(der).hex()}"
    assert len(shown) == 7 + 16 and str(signed.mark) == f"probe-code, '{shown}'"
    verdict = verify(signed.ticket, signed.claim, **signed.shown)
    assert verdict.verified and verdict.reading.message == shown and "public key" in verdict.proves
    assert "shorter" not in signed.mark.remedy()


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "an empty one"),
        (b"hello", "something else"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "something else"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "a private key"),
        (b"ssh-ed25519 AAAA", "something else"),
        (bytes(range(256)), "something else"),
    ],
)
def test_what_is_no_public_key_is_named(content: bytes, found: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(InputError, match=f"/key: public key: expected .*, found {found}"):
        embed(sparse_ticket(), mark="probe-code", fingerprint=tmp_path / "key")


def test_a_message_or_a_fingerprint(key: Path) -> None:
    for given, found in (({}, "neither"), ({"message": "a", "fingerprint": key}, "both")):
        with pytest.raises(
            InputError, match=f"^--message, --fingerprint: expected one of them, found {found}; "
        ):
            embed(sparse_ticket(), mark="probe-code", **given)


# Claims


def test_a_claim_brings_the_mark_back(key: Path) -> None:
    keyed = ProbeCode.make(sparse_ticket(), CarrierOptions(fingerprint=key), SECRET.value)
    for own in (mark(), mark("ключ 🔑"), keyed):
        [back] = marks_of(claim_of([own], {}))
        assert isinstance(back, ProbeCode) and back == own and back.secret is None
        assert back.read(sparse_ticket(), secret=SECRET).sigma == own.read(sparse_ticket()).sigma
        assert str(back) == str(own)


_LAYER = {"name": "a.weight", "shape": [40, 36, 3, 3], "kept": 5}
_SPOILT: list[tuple[dict[str, Any], str]] = [
    ({"message": ""}, "message: expected 1 to 64 bytes in UTF-8, found 0"),
    ({"message": "ä" * 33}, "message: expected 1 to 64 bytes in UTF-8, found 66"),
    ({"message": 5}, "message: expected str, found int"),
    ({"message": "\udcff"}, "message: expected Unicode text"),
    ({"public_key": "00"}, "message, public_key: expected one of them, found both"),
    ({"commitment": "sha256:00"}, "commitment: expected text of the form"),
    ({"commitment": "sha256:" + "A" * 64}, "commitment: expected text of the form"),
    ({"layers": []}, "layers: expected 1 to 65536 objects, found 0 entries"),
    ({"layers": [_LAYER] * 65_537}, "layers: expected 1 to 65536 objects, found 65537 entries"),
    ({"layers": ["a.weight"]}, "layers: expected 1 to 65536 objects"),
    ({"layers": [_LAYER, _LAYER]}, "layers: expected each of another name, found two of one name"),
    ({"layers": [{**_LAYER, "name": 1}]}, "name: expected str, found int"),
    *(
        ({"layers": [{**_LAYER, "shape": shape}]}, "shape: expected 2 to 8 positive whole numbers")
        for shape in ([], [4], [4, 0], [4, -4], [4, 2.0], [True, 4], [[4], 4], [1] * 9, [1 << 20, 1 << 21])
    ),
    *(
        ({"layers": [{**_LAYER, "kept": kept}]}, "kept: expected ")
        for kept in (0, -1, 12_961, 1.0, True, None, 1 << 70)
    ),
]


@pytest.mark.parametrize(("changes", "says"), _SPOILT, ids=lambda one: str(one)[:40])
def test_a_spoilt_claim_is_one_line(changes: dict[str, Any], says: str) -> None:
    fields = {**mark().to_json(), **changes}
    with pytest.raises(InputError, match=says) as raised:
        ProbeCode.from_json(fields)
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize("digits", ["", "0", "00", "zz", "30" * 40])
def test_a_spoilt_public_key_is_one_line(digits: str) -> None:
    fields = {**mark().to_json(), "public_key": digits}
    del fields["message"]
    with pytest.raises(InputError, match="public_key: expected "):
        ProbeCode.from_json(fields)


def test_a_public_key_has_one_form_so_that_nobody_looks_for_a_fitting_one() -> None:
    der = KEYS["ed25519"].public_bytes(*DER)
    fields = {name: value for name, value in mark().to_json().items() if name != "message"}
    assert ProbeCode.from_json({**fields, "public_key": der.hex()}).payload.public_key == der
    for other in (der + b"\0", b"\x30\x81" + der[1:], der[:-1]):
        with pytest.raises(InputError, match=r"^public_key: expected a SubjectPublicKeyInfo in DER"):
            ProbeCode.from_json({**fields, "public_key": other.hex()})


# Beside others


def test_several_are_put_in_and_all_stand() -> None:
    signed = embed(sparse_ticket(), TEXT, mark="qr-code+probe-code", secret=SECRET)
    assert [one.name for one in signed.marks] == ["qr-code", "probe-code"] and signed.mark is signed.marks[0]
    verdict = verify(signed.ticket, signed.claim, **signed.shown)
    assert verdict.verified and verdict.reading.tried == 2
    code, _ = signed.marks
    assert code.read(signed.ticket).agreement == 1, "its place is spared"
    unseen = verify(signed.ticket, signed.claim)
    assert unseen.verified and unseen.mark == "qr-code"
    assert extract(signed.ticket, signed.claim).message == TEXT


def test_the_same_secret_gives_the_same_marks_and_other_marks_never_get_it() -> None:
    marked = [embed(sparse_ticket(), TEXT, mark="qr-code+probe-code", secret=SECRET) for _ in range(2)]
    weights = [one.ticket.weights for one in marked]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    together = embed(sparse_ticket(), TEXT, mark="probe-code+uchida", layer="a.weight", secret=SECRET)
    told = json.dumps(together.claim.to_json())
    assert SECRET.value.hex() not in told and SECRET.derived("uchida").hex() in told


class Careless(ProbeCode):
    """A carrier that spares nothing."""

    name = "careless"

    def written(self, ticket: Ticket, stream: Stream, spared: Mapping[str, Tensor]) -> Mask:
        """Every layer's mask, one column of kernels further."""
        return Mask({name: kept.roll(1, 1) for name, kept in ticket.mask.items()})


def test_one_that_no_longer_stands_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MARKS, "careless", Careless)
    says = r"^qr-code: expected all of it read in the copy, found \d+ of 208 .*; it does not stand beside"
    with pytest.raises(InputError, match=says):
        embed(sparse_ticket(), TEXT, mark="qr-code+careless")


def test_options_go_to_all_that_have_them_and_no_other_is_taken() -> None:
    signed = embed(sparse_ticket(), TEXT, mark="qr-code+probe-code", level="Q", margin=2)
    code, own = signed.marks
    assert code.level == "Q" and own.margin == 2  # type: ignore[attr-defined]
    with pytest.raises(
        InputError, match=r"^qr-code\+probe-code: expected options among message, .*found length$"
    ):
        embed(sparse_ticket(), TEXT, mark="qr-code+probe-code", length=4)
    for names, found in (("probe-code+", "''"), ("probe-code+key-mask", "'key-mask'"), ("+", "each once")):
        with pytest.raises(InputError, match=f"^mark: expected .*{found}"):
            embed(sparse_ticket(), TEXT, mark=names)


def test_what_is_spared_is_where_others_stand() -> None:
    ticket = embed(sparse_ticket(), "a", layer="a.weight").ticket
    [frame] = [embed(sparse_ticket(), "a", layer="a.weight", secret=b"x").mark.frame()]
    assert frame is not None
    code = embed(sparse_ticket(), "a", layer="a.weight", secret=b"x").mark
    where = spared(ticket.mask, [code, mark()])
    assert list(where) == ["a.weight"] and int(where["a.weight"].sum()) == frame.side**2 * 9
    assert spared(Ticket(weights={}, mask=Mask({})).mask, [code]) == {}


def test_room_is_what_embedding_can_move() -> None:
    ticket = sparse_ticket()
    assert mark().room(ticket.mask) == ticket.mask.kept
    code = embed(ticket, "a", layer="a.weight").mark
    frame = code.frame()
    assert frame is not None and code.room(ticket.mask) == frame.side**2 * 9


def test_one_drawn_for_an_evaluation_can_be_verified_with_what_it_shows() -> None:
    drawn = ProbeCode.drawn(sparse_ticket(), SECRET.value)
    assert isinstance(drawn.mark, ProbeCode) and drawn.shown == {"secret": SECRET}
    assert len(drawn.mark.payload.data) * 8 == ProbeCode.usual_size
    signed = drawn.mark.embed(sparse_ticket())
    assert verify(signed, claim_of([drawn.mark], signed.weights), **drawn.shown).verified
    with pytest.raises(InputError, match="size: expected bits of a text"):
        ProbeCode.drawn(sparse_ticket(), SECRET.value, 9)


def test_a_layer_says_itself() -> None:
    layer = Layer("a", (3, 4), 5)
    assert Layer.from_json(json.loads(json.dumps(layer.to_json()))) == layer
