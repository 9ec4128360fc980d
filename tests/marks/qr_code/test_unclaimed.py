"""QR codes are read without a claim: at a place, and wherever they stand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from reedsolo import RSCodec
from support.tickets import sparse_ticket

from ticket_sig import InputError, Mask, Ticket, embed, load
from ticket_sig.marks.qr_code import qr
from ticket_sig.marks.qr_code.correctable import correctable
from ticket_sig.marks.qr_code.mark import CodeMark
from ticket_sig.marks.qr_code.placement import Placement
from ticket_sig.marks.qr_code.unclaimed import read_at, search

SHIPPED, PLACE = "checkpoints/resnet20-cifar10", Placement("layer3.2.conv1.weight", 13, 20)


def layer(seed: int = 0, side: int = 44) -> Ticket:
    """A layer of which about half of the kernels are kept."""
    draw = torch.Generator().manual_seed(seed)
    weights = torch.randn(side, side, 3, 3, generator=draw)
    kept = torch.rand(side, side, 3, 3, generator=draw) < 0.08
    return Ticket(weights={"a.weight": weights * kept}, mask=Mask({"a.weight": kept}))


def pruned(ticket: Ticket, count: int) -> Ticket:
    """The shipped ticket without so many kernels of its code, drawn at random."""
    code, weights = qr.encode("signature", 3, "H")[1], dict(ticket.weights)
    light = np.argwhere(code.data & code.light) + np.array([PLACE.row, PLACE.column])
    rows, columns = torch.from_numpy(np.random.default_rng(0).permutation(light)[:count]).T
    weights[PLACE.layer] = weights[PLACE.layer].index_put((rows, columns), torch.tensor(0.0))
    return Ticket(weights=weights, mask=Mask({name: weights[name] != 0 for name in ticket.mask}))


def test_blocks_are_told_apart_by_what_reed_solomon_can_correct() -> None:
    rng, symbols, data = np.random.default_rng(0), 35, 13
    codec, corrects = RSCodec(symbols - data), (symbols - data) // 2
    words = np.array([list(codec.encode(rng.bytes(data))) for _ in range(70)], dtype=np.uint8)
    flips = rng.integers(0, 256, (3, symbols), dtype=np.uint8)
    for number, word in enumerate(words):
        wrong = rng.choice(symbols, number % (corrects + 2), replace=False)
        word[wrong] ^= rng.integers(1, 256, len(wrong), dtype=np.uint8)
        word ^= flips[number % 3]
    bits, patterns = (np.unpackbits(one, axis=1).T.astype(bool) for one in (words, flips))
    found = correctable(bits, patterns, data)
    expected = np.zeros((3, 70), dtype=bool)
    numbers = np.arange(70)
    expected[numbers % 3, numbers] = numbers % (corrects + 2) <= corrects
    assert np.array_equal(found, expected)


def test_the_shipped_code_is_read_at_its_place_and_found_without_it() -> None:
    ticket = load(SHIPPED).ticket
    code = read_at(ticket, PLACE)
    assert code and (code.message, code.version, code.level, code.data_mask) == ("signature", 3, "H", 1)
    assert np.array_equal(code.light, qr.encode("signature", 3, "H")[1].light)
    assert read_at(ticket, replace(PLACE, layer="layer3.2.conv1")).to_json() == code.to_json()
    assert read_at(ticket, replace(PLACE, row=14), version=3, level="H") is None
    (found,) = search(ticket, version=3)
    assert found.to_json() == code.to_json()


def test_a_code_that_lost_kernels_is_found_as_long_as_it_can_be_corrected() -> None:
    signed = load(SHIPPED).ticket
    (found,) = search(pruned(signed, 14), version=3, level="H")
    assert (found.message, found.placement) == ("signature", PLACE) and 10 <= found.corrected <= 14
    damaged = pruned(signed, 60)
    assert search(damaged, version=3, level="H") == [] and read_at(damaged, PLACE) is None
    soft = read_at(damaged, PLACE, version=3, level="H")  # by the modules that are the least likely wrong
    assert soft and soft.message == "signature"


def test_nothing_is_found_in_a_network_that_nobody_signed() -> None:
    assert search(layer(side=32)) == [] == search(sparse_ticket(), version=3)
    dense = {"a.weight": torch.ones(64, 64, 3, 3)}
    assert search(Ticket(weights=dense, mask=Mask.full(dense))) == []


@pytest.mark.parametrize(("version", "level"), [(1, "L"), (2, "M"), (5, "Q"), (6, "H")])
def test_codes_of_every_level_are_found_anywhere(version: int, level: str) -> None:
    made = embed(layer(version), "a", secret=b"s", version=version, level=level)
    (mark,) = [CodeMark.from_json(one.fields) for one in made.claim.marks]
    found = search(made.ticket, version=version)
    assert [(one.message, one.placement, one.level, one.data_mask) for one in found] == [
        ("a", mark.placement, level, mark.data_mask)
    ]


def test_what_was_done_is_told() -> None:
    told: list[int] = []

    class Bar:
        def begin(self, label: str, total: int) -> None:
            told.append(total)

        def advance(self, done: int, detail: str = "") -> None:
            told.append(done)

        def note(self, text: str) -> None: ...

    search(layer(side=40), version=3, progress=Bar())
    assert told[0] == told[-1] == 12 * 12 and told[1:] == sorted(told[1:])


@pytest.mark.parametrize(
    ("place", "form", "expected"),
    [
        (Placement("c", 0, 0), {}, "layer: expected one of the mask's (a.weight), found c"),
        (Placement("a", 24, 0), {}, "a.weight: place: expected room for 21x21 of its 44x44 kernels"),
        (Placement("a", -1, 0), {}, "a.weight: place: expected room for 21x21 of its 44x44 kernels"),
        (Placement("a", 0, 16), {"version": 3}, "a.weight: place: expected room for 29x29 of its 44x44"),
        (Placement("a", 0, 0), {"version": 41}, "version: expected 1 to 40, found 41"),
        (Placement("a", 0, 0), {"level": "h"}, "level: expected one of L, M, Q, H, found 'h'"),
    ],
)
def test_a_place_or_a_form_that_cannot_be_is_refused(
    place: Placement, form: dict[str, object], expected: str
) -> None:
    with pytest.raises(InputError) as error:
        read_at(layer(), place, **form)  # type: ignore[arg-type]
    assert str(error.value).startswith(expected)


def test_a_search_without_room_is_refused() -> None:
    with pytest.raises(InputError, match="kernel maps: expected one of at least 61x61 kernels, found 44x44"):
        search(layer(), version=11)
