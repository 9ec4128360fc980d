"""Who verifies, and who does not: honest signatures, innocent models, damaged models and liars."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.qr import reading_order
from support.tickets import sparse, sparse_ticket
from torch import Tensor

from ticket_sig import Claim, InputError, Mask, Ticket, embed, extract, verify
from ticket_sig.claim import ClaimedMark
from ticket_sig.lottery.prune import prune_ticket
from ticket_sig.marks import CodeMark, claim_of, of_kind
from ticket_sig.marks.qr_code import qr
from ticket_sig.marks.qr_code.placement import Placement, most_similar

SECRET = b"the secret of the tests"
ALPHANUMERIC = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"


def model(weights: Tensor) -> Ticket:
    """A model of one layer, as it is read from a bare file."""
    return Ticket(weights={"a.weight": weights}, mask=Mask.of_zeros({"a.weight": weights}))


def claimed(message: str, code: qr.QRCode, place: Placement, shape: tuple[int, ...]) -> Claim:
    """A claim that anybody can write without ever having signed."""
    return claim_of([CodeMark(message, code.version, code.level, code.data_mask, place, shape)], {})


def with_fields(claim: Claim, fields: Mapping[str, Any]) -> Claim:
    """The claim on a code with other fields."""
    return replace(claim, marks=(ClaimedMark("qr-code", fields),))


def innocent(seed: int, kind: str, density: float) -> Tensor:
    """Weights that nobody signed; `uneven` has rich and dead channels, as trained networks do."""
    if kind == "linear":
        return sparse(48, 56, density=density, seed=seed)
    weights = sparse(40, 44, 3, 3, density=density, seed=seed)
    if kind == "uneven":
        draw = np.random.default_rng(seed)
        rows, columns = draw.random(40) ** 2, draw.random(44) ** 2
        keeps = draw.random((40, 44)) < np.outer(rows, columns) * 2
        weights = weights * torch.from_numpy(keeps)[..., None, None]
    return weights


@pytest.mark.parametrize("kind", ["conv", "linear", "uneven"])
def test_an_innocent_model_never_verifies_even_at_its_most_similar_place(kind: str) -> None:
    found = []
    for seed in range(60):
        draw = np.random.default_rng(seed)
        ticket = model(innocent(seed, kind, density=(0.05, 0.1, 0.3, 0.6)[seed % 4]))
        message = "".join(draw.choice(list(ALPHANUMERIC), size=draw.integers(1, 20)))
        level = "LMQH"[seed // 4 % 4]
        codes = qr.encode(message, qr.smallest_version(message, level), level)
        place, code = most_similar({"a.weight": ticket.mask.kernel_map("a.weight").numpy()}, codes)
        claim = claimed(message, code, place, tuple(ticket.weights["a.weight"].shape))
        verdict = verify(ticket, claim)
        assert not verdict.verified
        found.append(verdict.log10_p)
    # The correction pays for the search: not even a p-value of 1 in 20 comes up more often than that.
    assert sum(p < math.log10(0.05) for p in found) <= 8


def test_p_values_at_one_place_are_calibrated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of unrelated masks at most a share p measures a p-value of p or less."""
    # No text is asked for, and to look for one takes most of the time.
    monkeypatch.setattr("ticket_sig.marks.qr_code.reading._decoded", lambda *_: None)
    code = qr.encode("calibration", 2, "H")[4]
    claim = claimed("calibration", code, Placement("a.weight", 1, 2), (28, 28, 3, 3))
    found = np.array(
        [
            extract(
                model(sparse(28, 28, 3, 3, density=(0.05, 0.15)[seed % 2], seed=seed)), claim
            ).log10_p_here
            for seed in range(800)
        ]
    )
    for share in (0.5, 0.1, 0.02):
        spread = math.sqrt(share * (1 - share) / len(found))
        assert (10**found <= share).mean() <= share + 4 * spread
    # Nor is it so careful that it says nothing.
    assert (10**found <= 0.5).mean() > 0.35


def in_capitals(bits: np.ndarray) -> str:
    """The capitals and digits whose bits in a QR code come closest to these: two characters take 11 bits."""
    table = (np.arange(45 * 45)[:, None] >> np.arange(10, -1, -1)) & 1
    pairs = [int((table != bits[i : i + 11]).sum(1).argmin()) for i in range(13, len(bits) - 10, 11)]
    return "".join(ALPHANUMERIC[pair // 45] + ALPHANUMERIC[pair % 45] for pair in pairs)


def in_bytes(bits: np.ndarray) -> str:
    """The 7-bit characters whose bytes come closest to these bits."""
    octets = [bits[i : i + 8] for i in range(12, len(bits) - 7, 8)]
    return "".join(chr(int("".join(map(str, octet[1:])), 2)) for octet in octets)


def lies(weights: Tensor, version: int, speak: Callable[[np.ndarray], str]) -> Iterator[Claim]:
    """Claims made from an innocent mask itself: whatever text its modules come closest to, at many places.

    At level L four fifths of the symbols are the liar's to choose (versions up to 5: one block, so that
    the text is read off in the order of the modules).
    """
    kernels = Mask({"a.weight": weights != 0}).kernel_map("a.weight").numpy()
    blank, n = qr.encode("A", version, "L"), qr.side(version)
    order = reading_order(blank[0].data)[: 8 * (qr.capacity(version, "L") + 2)]
    chequers = np.indices((n, n)).sum(0) % 2 == 0  # data mask 0
    for row in range(0, kernels.shape[0] - n + 1, 4):
        for column in range(0, kernels.shape[1] - n + 1, 4):
            region = kernels[row : row + n, column : column + n]
            for data_mask, code in enumerate(blank):
                flips = code.light ^ blank[0].light ^ chequers
                text = speak((~region ^ flips).flat[order].astype(int))
                told = qr.encode(text, version, "L")[data_mask]
                yield claimed(text, told, Placement("a.weight", row, column), tuple(weights.shape))


@pytest.mark.parametrize("speak", [in_capitals, in_bytes])
@pytest.mark.parametrize(
    ("version", "kind", "density"),
    [
        (2, "conv", 0.07),
        *(pytest.param(*one, marks=pytest.mark.slow) for one in ((4, "linear", 0.5), (3, "uneven", 0.3))),
    ],
)
def test_a_message_made_up_from_an_innocent_mask_does_not_verify(
    speak: Callable[[np.ndarray], str], version: int, kind: str, density: float
) -> None:
    ticket = model(innocent(version, kind, density))
    readings = [(extract(ticket, claim), claim) for claim in lies(ticket.weights["a.weight"], version, speak)]
    best, claim = min(readings, key=lambda lie: lie[0].log10_p_here)
    # The lie is a good one: it would pass, were the choice of the message free.
    assert best.log10_p_here + best.log10_places < -10
    assert not verify(ticket, claim).verified
    assert all(reading.log10_p > -6 for reading, _ in readings)


@pytest.mark.slow
@pytest.mark.parametrize("speak", [in_capitals, in_bytes])
def test_nor_does_any_shorter_message_of_that_kind(speak: Callable[[np.ndarray], str]) -> None:
    ticket = model(innocent(1, "conv", 0.07))
    whole = min(
        lies(ticket.weights["a.weight"], 3, speak), key=lambda claim: extract(ticket, claim).log10_p_here
    )
    mark = of_kind(CodeMark, whole)
    for length in range(1, len(mark.message)):
        shorter = replace(mark, message=mark.message[:length])
        assert not verify(ticket, with_fields(whole, shorter.to_json())).verified


REGULAR = {
    "every second row": lambda row, column: row % 2 == 0,
    "two columns of three": lambda row, column: column % 3 > 0,
    "a chequerboard": lambda row, column: (row + column) % 2 == 0,
}


@pytest.mark.parametrize("name", REGULAR)
@pytest.mark.parametrize(("version", "level", "zeros"), [(5, "H", 106), (10, "H", 286), (10, "L", 650)])
def test_a_regular_mask_is_nobodys_signature(name: str, version: int, level: str, zeros: int) -> None:
    """Whoever prunes every second channel has drawn one of the eight data masks: the code of "000..."."""
    kept = np.fromfunction(REGULAR[name], (60, 60), dtype=int)
    ticket = model(torch.from_numpy(kept.astype(np.float32)))
    for data_mask in range(8):
        for shift in (0, 1):
            place = Placement("a.weight", shift, 0)
            told = CodeMark("0" * zeros, version, level, data_mask, place, (60, 60))
            with contextlib.suppress(InputError):
                assert not verify(ticket, claim_of([told], {})).verified


def test_every_place_and_every_code_is_paid_for() -> None:
    """Also those in layers that the claim does not name, and those outside the mask."""
    ticket = sparse_ticket()
    claim = embed(ticket, "places", secret=SECRET).claim
    weights = {**ticket.weights, "stem.weight": torch.ones(30, 25, 3, 3)}
    shapes = [(40, 36), (64, 48), (8, 8), (30, 25)]
    places = sum(
        max(0, rows - qr.side(version) + 1) * max(0, columns - qr.side(version) + 1)
        for rows, columns in shapes
        for version in range(1, 41)
    )
    reading = extract(replace(ticket, weights=weights), claim)
    assert reading.log10_places == pytest.approx(math.log10(places * 4 * 8))


@settings(deadline=None, max_examples=30)
@given(message=st.text(min_size=1, max_size=40), level=st.sampled_from("LMQH"))
def test_every_message_of_that_length_is_paid_for(message: str, level: str) -> None:
    version = qr.smallest_version(message, level)
    claim = claimed(message, qr.encode(message, version, level)[0], Placement("a.weight", 0, 0), (60, 60))
    reading = extract(model(sparse(60, 60)), claim)
    spoken = len(message.encode()) if not set(message) <= set(ALPHANUMERIC) else len(message) * 5.4 / 8
    if message.isdigit() and message.isascii():
        spoken = len(message) * math.log2(10) / 8
    assert reading.log10_messages >= 8 * spoken * math.log10(2) - 0.01
    assert reading.log10_p == pytest.approx(
        min(0.0, reading.log10_p_here + reading.log10_places + reading.log10_messages)
    )


@pytest.mark.parametrize(("layer", "rewind"), [("a.weight", True), ("a.weight", False), ("b.weight", True)])
def test_an_honest_signature_verifies_also_after_pruning(layer: str, rewind: bool) -> None:
    ticket = sparse_ticket(density=0.25, rewind=rewind)
    embedded = embed(ticket, "owner@example.org", layer=layer, secret=SECRET)
    verdict = verify(embedded.ticket, embedded.claim)
    assert verdict.verified and verdict.log10_p < -60
    assert verdict.reading.message == "owner@example.org"
    for rate in (0.1, 0.2):
        for scope in ("global", "random"):
            assert verify(prune_ticket(embedded.ticket, rate, scope=scope), embedded.claim).verified


def test_more_pruning_is_weaker_evidence_until_none_is_left() -> None:
    embedded = embed(sparse_ticket(density=0.25), "worn", layer="b.weight", secret=SECRET)
    ticket, found = embedded.ticket, []
    for _ in range(14):
        found.append(verify(ticket, embedded.claim).log10_p)
        ticket = prune_ticket(ticket, 0.25)
    assert found == sorted(found)
    assert found[0] < -6 and found[-1] > -6


def test_the_message_is_read_while_the_code_corrects_and_not_after() -> None:
    embedded = embed(sparse_ticket(density=0.3), "corrected", layer="a.weight", secret=SECRET)
    code, place = embedded.mark.code(), embedded.mark.placement
    order = reading_order(code.data)
    n, symbols = len(code.light), len(order) // 8
    corrections = symbols - (qr.capacity(embedded.mark.version, "H") + 2)
    for wrong, of_each in (
        (0, 1),
        (1, 1),
        (corrections // 2, 1),
        (corrections // 2 + 1, 1),
        (corrections, 2),
    ):
        weights = embedded.ticket.weights["a.weight"].clone()
        expected = np.zeros((n, n), bool)
        for symbol in range(wrong):
            light = [int(m) for m in order[8 * symbol : 8 * symbol + 8] if code.light.flat[m]]
            for row, column in (divmod(module, n) for module in light[:of_each]):
                expected[row, column] = True
                weights[place.row + row, place.column + column] = 0
        reading = extract(model(weights), embedded.claim)
        assert np.array_equal(reading.wrong, expected)
        assert reading.matches == reading.modules - expected.sum()
        assert reading.agreement == reading.matches / reading.modules
        if wrong <= corrections // 2 + 1:  # one more than the standard's decoder puts right
            assert (reading.message, reading.corrected, reading.codewords) == ("corrected", wrong, symbols)
        else:
            assert (reading.message, reading.corrected, reading.codewords) == (None, None, None)
            assert verify(model(weights), embedded.claim).verified  # the evidence does not hang on it


def test_an_unsigned_model_of_the_same_shape_does_not_verify() -> None:
    embedded = embed(sparse_ticket(), "signed", secret=SECRET)
    verdict = verify(sparse_ticket(seed=9), embedded.claim)
    assert (verdict.verified, verdict.outcome) == (False, "not verified")
    assert verdict.reading.message is None and not verdict.to_json()["evidence"]["message_equal"]


def test_a_claim_of_another_message_does_not_verify() -> None:
    embedded = embed(sparse_ticket(), "the owner", secret=SECRET)
    other = replace(embedded.mark, message="the thief")
    verdict = verify(embedded.ticket, with_fields(embedded.claim, other.to_json()))
    assert not verdict.verified
    # The code that does stand there is shown, next to what was claimed.
    assert (verdict.reading.message, verdict.reading.claimed) == ("the owner", "the thief")


def test_a_mask_that_only_says_so_is_no_evidence() -> None:
    """A thief may write any mask beside dense weights; only zeros count."""
    embedded = embed(sparse_ticket(), "word of the owner", layer="a.weight", secret=SECRET)
    forged = replace(
        embedded.ticket, weights={**embedded.ticket.weights, "a.weight": torch.zeros(40, 36, 3, 3)}
    )
    assert not verify(forged, embedded.claim).verified


def test_the_verdict_says_all_that_it_rests_on() -> None:
    embedded = embed(sparse_ticket(), "evidence", secret=SECRET)
    said = verify(embedded.ticket, embedded.claim).to_json()
    evidence = said["evidence"]
    assert said["verdict"] == "verified"
    assert said["log10_threshold"] == -6 and said["log10_p"] < -6
    assert math.log10(float(said["p_value"])) == pytest.approx(said["log10_p"], abs=0.03)
    assert f"{evidence['matches']} of {evidence['data_modules']}" in said["statistic"]
    assert evidence["claimed_message"] == evidence["message"] == "evidence"
    assert (evidence["kept"], evidence["total"]) == (embedded.ticket.mask.kept, embedded.ticket.mask.total)
    light = np.array([[module == "1" for module in row] for row in evidence["module_map"]])
    assert np.array_equal(light, embedded.mark.code().light)
    assert "message" in said["proves"] and "when" in said["does_not_prove"]
    innocent = verify(sparse_ticket(seed=9), embedded.claim).to_json()
    assert (innocent["verdict"], innocent["proves"]) == ("not verified", "nothing")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"row": 20},
            r"^claim: placement: expected a region of the 40x36 kernels of a\.weight, found rows 20\.\.48",
        ),
        ({"row": -1}, "^claim: row: expected a whole number of 0 or more, found -1"),
        ({"column": 8}, "^claim: placement"),
        ({"column": 10**40}, "^claim: column: expected a whole number of 0 or more, found 10000000"),
    ],
)
def test_a_claim_that_does_not_fit_the_model_is_no_verdict(changes: dict[str, object], words: str) -> None:
    embedded = embed(sparse_ticket(), "m" * 20, layer="a.weight", secret=SECRET)
    fields = embedded.mark.to_json()
    moved = {**fields, "placement": {**fields["placement"], **changes}}
    with pytest.raises(InputError, match=words):
        verify(embedded.ticket, with_fields(embedded.claim, moved))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"layer": "c.weight", "shape": [40, 36, 5, 5]},
            "model: layer: expected the claim's c.weight, found none of that name or shape",
        ),
        (
            {"shape": [40, 36, 5, 5]},
            "model: a.weight: expected the claim's shape [40, 36, 5, 5], found [40, 36, 3, 3]",
        ),
    ],
)
def test_a_layer_that_is_not_there_in_any_name_or_shape_is_not_verified(
    changes: dict[str, object], words: str
) -> None:
    embedded = embed(sparse_ticket(), "m" * 20, layer="a.weight", secret=SECRET)
    fields = embedded.mark.to_json()
    moved = {**fields, "placement": {**fields["placement"], **changes}}
    found = verify(embedded.ticket, with_fields(embedded.claim, moved))
    assert not found.verified and found.log10_p == 0
    said = dict(found.remarks)
    assert said["not found"] == words and "--reference FILE" in str(said["what may help"])
    assert not verify({"b.bias": torch.ones(3)}, embedded.claim).verified


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("message",), 3, "^claim: message: expected str, found int"),
        (("message",), "", "message: expected at least one character"),
        (("message",), "m" * 999, "message: expected at most"),
        (("message",), "\ud800", "message"),
        (("qr",), None, "^claim: qr: expected dict, found NoneType"),
        (("qr", "version"), "3", "^claim: version: expected a whole number, found '3'"),
        (("qr", "version"), True, "^claim: version: expected a whole number, found True"),
        (("qr", "version"), 41, "^claim: QR version: expected 1 to 40, found 41"),
        (("qr", "level"), "Z", "^claim: QR level: expected L, M, Q or H"),
        (("qr", "data_mask"), 8, "^claim: data_mask: expected 0 to 7, found 8"),
        (("placement", "row"), 1.5, r"^claim: row: expected a whole number of 0 or more, found 1\.5"),
        (("placement", "layer"), [], "^claim: layer: expected str, found list"),
        (("placement", "shape"), [40], "^claim: shape: expected two or more positive whole numbers"),
        (("placement", "shape"), [40, "36"], "^claim: shape: expected two or more"),
    ],
)
def test_a_claim_with_a_wrong_field_names_it(path: tuple[str, ...], value: object, words: str) -> None:
    embedded = embed(sparse_ticket(), "fields", secret=SECRET)
    with pytest.raises(InputError, match=words):
        verify(embedded.ticket, with_fields(embedded.claim, changed(embedded.mark.to_json(), path, value)))


def changed(value: Any, path: tuple[str | int, ...], new: object) -> Any:
    """A copy of a JSON object with one field changed."""
    copied = deepcopy(value)
    *above, last = path
    reduce(lambda inner, name: inner[name], above, copied)[last] = new
    return copied


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
SIGNED = embed(sparse_ticket(), "any content", secret=SECRET)
MARK: tuple[str | int, ...] = ("marks", 0)
FIELDS = [
    *[(field,) for field in ("marks", "subject", "created", "format", "version", "written_by", "accuracy")],
    *[MARK, (*MARK, "mark"), (*MARK, "fields")],
    *[(*MARK, "fields", field) for field in ("message", "qr", "placement")],
    *[(*MARK, "fields", "qr", field) for field in ("version", "level", "data_mask", "digest")],
    *[(*MARK, "fields", "placement", field) for field in ("layer", "row", "column", "shape")],
]


@settings(deadline=None, max_examples=150)
@given(path=st.sampled_from(FIELDS), value=anything)
def test_a_claim_of_any_content_gives_a_verdict_or_one_line(
    path: tuple[str | int, ...], value: object
) -> None:
    try:
        verify(SIGNED.ticket, Claim.from_json(changed(SIGNED.claim.to_json(), path, value)))
    except InputError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("scale", [1e-12, 1e-4, 1e-2])
@pytest.mark.parametrize("rate", [0.1, 1.0])
def test_small_numbers_at_pruned_places_hide_nothing(scale: float, rate: float) -> None:
    embedded = embed(sparse_ticket(rewind=True), "signature", version=3)
    draw = torch.Generator().manual_seed(0)
    weights = dict(embedded.ticket.weights)
    for name, kept in embedded.ticket.mask.items():
        noise = (
            scale * torch.randn(kept.shape, generator=draw) * (torch.rand(kept.shape, generator=draw) < rate)
        )
        weights[name] = weights[name] + noise * ~kept
    thief = Ticket(weights=weights, mask=Mask.of_matrices(weights))
    reading = extract(thief, embedded.claim)
    assert reading.message == "signature" and reading.agreement > 0.95
    assert verify(thief, embedded.claim).verified


@given(seed=st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_a_dense_network_is_not_verified(seed: int) -> None:
    claim = embed(sparse_ticket(), "signature", version=3).claim
    draw = torch.Generator().manual_seed(seed)
    weights = {name: torch.randn(w.shape, generator=draw) for name, w in sparse_ticket().weights.items()}
    assert not verify(Ticket(weights=weights, mask=Mask.of_matrices(weights)), claim).verified
