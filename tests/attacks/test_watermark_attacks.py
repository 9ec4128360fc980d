"""Attacks on dense networks: half precision, and a watermark of the thief's own."""

from __future__ import annotations

import pytest
import torch
from support.tickets import sparse_ticket
from torch import nn

from ticket_sig import InputError, Mask, Ticket, embed
from ticket_sig.attacks import Scene, attack
from ticket_sig.marks import MARKS, CodeMark, Mark, claim_of, of_kind
from ticket_sig.models import build
from ticket_sig.verification import verify

SIZES = {"freezenet": 40, "uchida": 96}
OWNER, OTHER = b"owner".ljust(32), b"other".ljust(32)


def mark_of(name: str, secret: bytes) -> Mark:
    kind = MARKS[name]
    return kind.make(dense(), kind.options.of_size(SIZES[name]), secret)  # type: ignore[union-attr]


def dense() -> Ticket:
    torch.manual_seed(0)
    weights = nn.Sequential(nn.Linear(8, 200), nn.Linear(200, 20), nn.Linear(20, 4)).state_dict()
    return Ticket(weights=weights, mask=Mask.full({n: w for n, w in weights.items() if w.ndim >= 2}))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("name", SIZES)
def test_half_precision_takes_no_watermark_away(name: str, precision: str) -> None:
    mark = mark_of(name, OWNER)
    marked = mark.embed(dense())
    cast = attack("cast", precision=precision)(marked, Scene())
    assert verify(cast, claim_of([mark], marked.weights)).verified
    assert {t.dtype for t in cast.weights.values()} == {t.dtype for t in marked.weights.values()}


@pytest.mark.parametrize("name", SIZES)
def test_a_thief_s_own_watermark_is_one_as_the_owner_s_is(name: str) -> None:
    marked, claim, *_ = attack("own-watermark", mark=name, size=SIZES[name]).carry_out(dense(), Scene())
    assert claim is not None
    assert verify(marked, claim).verified and not verify(dense(), claim).verified
    mark = mark_of(name, OTHER)
    assert not verify(marked, claim_of([mark], marked.weights)).verified


def test_a_thief_s_own_code_is_drawn_and_stands_beside_the_owner_s() -> None:
    signed = embed(sparse_ticket(), "owner", layer="a.weight", secret=OWNER)
    forged, claim, *_ = attack("own-watermark", mark="qr-code").carry_out(signed.ticket, Scene())
    assert claim is not None
    assert verify(forged, claim).verified and len(of_kind(CodeMark, claim).message) == 8


def test_flipped_signs_leave_every_answer_as_it_was() -> None:
    network, images = build("freezenet", 10, 1, seed=0).eval(), torch.randn(8, 1, 8, 8)
    weights = {name: t.clone() for name, t in network.state_dict().items()}
    ticket = Ticket(weights=weights, mask=Mask.full({n: w for n, w in weights.items() if w.ndim >= 2}))
    before = network(images)
    flipped = attack("sign-flip")(ticket, Scene(model=build("freezenet", 10, 1)))
    network.load_state_dict(flipped.weights)
    assert torch.equal(network(images), before)
    changed = [name for name, t in flipped.weights.items() if not torch.equal(t, ticket.weights[name])]
    assert sum(name.startswith("features") and name.endswith("0.weight") for name in changed) >= 1
    with pytest.raises(InputError, match="layers: expected a batch norm behind a convolution, found none"):
        attack("sign-flip")(dense(), Scene(model=nn.Linear(2, 2)))


def test_a_mark_that_is_not_embedded_is_refused_with_the_known_ones() -> None:
    for mark in ("qr", "trigger-set"):
        with pytest.raises(InputError, match=f"mark: expected one of qr-code, freezenet.*, found '{mark}'"):
            attack("own-watermark", mark=mark)
    with pytest.raises(InputError, match="precision: expected one of bf16, fp16, found 'int4'"):
        attack("cast", precision="int4")
