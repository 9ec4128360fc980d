"""Uchida: every bit is read back in any layer; unrelated networks and liars read chance."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import cholesky
from scipy.stats import kstest
from support.tickets import sparse_ticket
from support.tiny import TinyNet, tiny_data, tiny_recipe
from torch import Tensor, nn

from ticket_sig import Claim, InputError, Mask, Ticket, retrain, verify
from ticket_sig.claim import ClaimedMark
from ticket_sig.digests import tensor_digest
from ticket_sig.marks import Uchida, claim_of, marks_of
from ticket_sig.marks.bits import bits_of, digits_of, text_of
from ticket_sig.marks.mark import as_weights
from ticket_sig.marks.payload import bits_from
from ticket_sig.marks.uchida import least_change
from ticket_sig.marks.uchida.mark import TaughtBits, UchidaOptions, layer_for
from ticket_sig.training.loop import Engine, train

SHAPE = (32, 64, 3, 3)


def key(label: object) -> bytes:
    return hashlib.sha256(str(label).encode()).digest()


def bits(count: int, seed: int = 0) -> tuple[bool, ...]:
    return tuple(np.random.default_rng(seed).random(count) < 0.5)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return 0.05 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def dense(**weights: Tensor) -> Ticket:
    named = {f"{name}.weight": w for name, w in weights.items()}
    return Ticket(weights=named, mask=Mask.full(named))


def network(shape: tuple[int, ...] = SHAPE, seed: int = 0) -> Ticket:
    return dense(
        first=normal(8, 3, seed=seed + 1), a=normal(*shape, seed=seed), last=normal(4, 8, seed=seed + 2)
    )


def mark(count: int = 64, shape: tuple[int, ...] = SHAPE, label: object = "owner", **options: Any) -> Uchida:
    return Uchida(bits(count), "a.weight", shape, secret=key(label), **options)


@pytest.mark.parametrize(
    ("layer", "counts"),
    [
        (nn.Conv2d(64, 32, 3), (1, 8, 64, 300, 576)),
        (nn.Conv1d(120, 16, 3), (1, 40, 360)),
        (nn.Conv3d(8, 16, 3), (120, 216)),
        (nn.Conv2d(128, 48, 3, groups=2), (64, 576)),
        (nn.Linear(300, 40), (1, 64, 300)),
        (nn.Linear(150, 1), (150,)),
    ],
    ids=["conv2d", "conv1d", "conv3d", "grouped", "linear", "one filter"],
)
def test_every_bit_is_read_back_and_verified(layer: nn.Module, counts: tuple[int, ...]) -> None:
    ticket = dense(a=normal(*layer.weight.shape, seed=4))
    for count in counts:
        made = mark(count, tuple(layer.weight.shape))
        reading = made.read(made.embed(ticket).weights)
        assert reading.bits == made.payload and reading.error_rate == 0
        assert min(reading.logits) > 0 and reading.verdict().verified
        assert not made.read(ticket.weights).verdict().verified


@pytest.mark.parametrize("shape", [(4, 1), (1, 12), (8, 1, 5), (6, 2, 3)])
def test_a_layer_too_small_to_prove_anything_still_holds_a_bit_a_weight(shape: tuple[int, ...]) -> None:
    for label in range(8):
        made = mark(math.prod(shape[1:]), shape, label)
        reading = made.read(made.embed(dense(a=normal(*shape, seed=label))).weights)
        assert reading.wrong == 0 and not reading.verdict().verified


def test_only_the_layer_is_changed_and_only_a_little() -> None:
    ticket = network((64, 64, 3, 3))
    before = tensor_digest(ticket.weights)
    made = mark(64, (64, 64, 3, 3))
    marked = made.embed(ticket)
    assert tensor_digest(ticket.weights) == before, "the caller's is left as it was"
    assert [e.step for e in marked.history] == ["sign"] and marked.mask == ticket.mask
    change = marked.weights["a.weight"] - ticket.weights["a.weight"]
    assert all(marked.weights[n] is ticket.weights[n] for n in ("first.weight", "last.weight"))
    assert 0 < change.norm() < 0.2 * ticket.weights["a.weight"].norm()
    # All filters move alike: that is the shortest way to move their mean.
    assert torch.allclose(change, change[:1].expand_as(change), atol=1e-7)
    # Twice the same, and the second time there is nothing left to do.
    assert torch.equal(made.embed(marked).weights["a.weight"], marked.weights["a.weight"])


def test_filters_in_another_order_or_scale_change_nothing_other_inputs_hide_it() -> None:
    made = mark()
    weights = made.embed(network()).weights["a.weight"]
    order = torch.randperm(32, generator=torch.Generator().manual_seed(0))
    for same in (weights[order], 1e-3 * weights, weights.to(memory_format=torch.channels_last)):
        reading = made.read({"a.weight": same})
        assert reading.wrong == 0 and reading.verdict().verified
    inputs = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    assert not made.read({"a.weight": weights[:, inputs]}).verdict().verified


def test_no_other_key_payload_or_network_verifies() -> None:
    made = mark()
    marked = made.embed(network()).weights
    one_off = (not made.payload[0], *made.payload[1:])
    for other in (
        mark(label="thief"),
        Uchida(one_off, "a.weight", SHAPE, secret=made.secret),
        Uchida(made.payload[:-1], "a.weight", SHAPE, secret=made.secret),
    ):
        reading = other.read(marked)
        assert not reading.verdict().verified and reading.wrong > len(other.payload) // 4
    for seed in range(1, 20):
        assert not made.read(network(seed=seed).weights).verdict().verified


def test_who_reads_bits_and_then_claims_them_reads_others() -> None:
    for weights in (network().weights, mark().embed(network()).weights):
        for label in range(20):
            liar = mark(64, label=label)
            for _ in range(3):
                read = liar.read(weights)
                liar = Uchida(read.bits, "a.weight", SHAPE, secret=liar.secret)
                assert 12 < liar.read(weights).wrong < 52
                assert not liar.read(weights).verdict().verified


def test_bits_are_bound_to_layer_and_shape() -> None:
    made = mark(64, (32, 576))
    marked = made.embed(dense(a=normal(32, 576))).weights["a.weight"]
    renamed = Uchida(made.payload, "b.weight", (32, 576), secret=made.secret)
    reshaped = Uchida(made.payload, "a.weight", SHAPE, secret=made.secret)
    assert made.read({"a.weight": marked}).verdict().verified
    assert not renamed.read({"b.weight": marked}).verdict().verified
    assert not reshaped.read({"a.weight": marked.reshape(SHAPE)}).verdict().verified


def test_the_p_value_is_calibrated_in_an_unrelated_network() -> None:
    # Neither normal nor centred, so that nothing but the key is random.
    layer = {"a.weight": normal(16, 8, 3, 3).exp() + normal(1, 8, 1, 1, seed=1)}
    readings = [mark(32, (16, 8, 3, 3), label).read(layer) for label in range(2000)]
    here = np.array([reading.log10_p_here for reading in readings])
    for level in (0.5, 0.05, 0.01):
        bound = level + 4 * math.sqrt(level * (1 - level) / len(here))
        assert (here < math.log10(level)).mean() <= bound
    margins = np.concatenate([reading.margins for reading in readings])
    assert kstest(margins, "norm").pvalue > 1e-3
    assert all(reading.log10_p == 0 for reading in readings)


def test_signs_of_64_bits_alone_do_not_verify_their_margins_do() -> None:
    made = mark(64)
    reading = made.read(made.embed(network()).weights)
    assert reading.wrong == 0 and reading.log10_p_of_bits == pytest.approx(-64 * math.log10(2))
    assert reading.log10_p_of_bits > -26 and reading.log10_p_of_margins < -50
    verdict = reading.verdict()
    assert verdict.log10_p == pytest.approx(
        reading.log10_p_of_margins + math.log10(2) + 64 * math.log10(2) + math.log10(3)
    )
    assert reading.error_rate == 0 and "record of the claim" in verdict.does_not_prove
    assert verdict.reading is reading
    json.dumps(verdict.to_json(), allow_nan=False)


def test_a_few_wrong_bits_are_evidence_and_no_veto() -> None:
    made = mark(64)
    weights = made.embed(network()).weights["a.weight"]
    noisy = weights + weights.mean(0).std() * torch.randn(
        SHAPE[1:], generator=torch.Generator().manual_seed(1)
    )
    reading = made.read({"a.weight": noisy})
    assert 0 < reading.wrong < 16 and reading.verdict().verified
    assert reading.to_json()["bit_error_rate"] == reading.wrong / 64
    assert sum(a != b for a, b in zip(reading.bits, made.payload, strict=True)) == reading.wrong


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_cast_network_is_read_and_a_network_of_that_type_is_marked(dtype: torch.dtype) -> None:
    made = mark()
    cast = made.embed(network()).weights["a.weight"].to(dtype)
    assert made.read({"a.weight": cast}).wrong == 0
    own = made.embed(dense(a=normal(*SHAPE).to(dtype))).weights["a.weight"]
    assert own.dtype == dtype and made.read({"a.weight": own}).wrong == 0
    assert made.read({"a.weight": own.float()}).verdict().verified


def test_a_sparse_ticket_keeps_its_zeros() -> None:
    ticket = sparse_ticket()
    made = Uchida.on(ticket.weights, bits(64), "a.weight", secret=key(0))
    marked = made.embed(ticket)
    marked.mask.check(marked.weights)
    assert marked.mask == ticket.mask and Mask.of_zeros(marked.weights) == ticket.mask
    assert made.read(marked.weights).verdict().verified
    assert torch.equal(marked.weights["b.weight"], ticket.weights["b.weight"])


def test_places_that_no_filter_keeps_stay_empty_and_too_few_are_refused() -> None:
    weights = normal(*SHAPE)
    weights[:, 7:] = 0
    ticket = Ticket(weights={"a.weight": weights}, mask=Mask.of_zeros({"a.weight": weights}))
    marked = mark(50).embed(ticket)
    assert not marked.weights["a.weight"][:, 7:].any()
    assert mark(50).read(marked.weights).wrong == 0
    with pytest.raises(
        InputError,
        match=r"a.weight: expected enough kept weights for 150 bits, found 2016 of 18432, at 63 of",
    ):
        mark(150).embed(ticket)
    empty = torch.zeros(SHAPE)
    for mask in (Mask.of_zeros({"a.weight": empty}), Mask.full({"a.weight": empty})):
        with pytest.raises(InputError, match=r"a.weight: expected weights other than zero, found none"):
            mark().embed(Ticket(weights={"a.weight": empty}, mask=mask))


def test_a_layer_without_a_mean_is_marked_and_before_that_proves_nothing() -> None:
    half = normal(16, 64, 3, 3)
    ticket = dense(a=torch.cat([half, -half]))
    zero_payload = Uchida([False] * 64, "a.weight", SHAPE, secret=key(0))
    for made in (mark(), zero_payload):
        before = made.read(ticket.weights)
        assert before.log10_p == 0 and before.size == 0 and before.wrong == 64
        assert not before.verdict().verified
        assert made.read(made.embed(ticket).weights).verdict().verified


def test_tied_weights_stay_one() -> None:
    table = normal(64, 576)
    weights = {"a.weight": table, "head.weight": table, "other.weight": normal(4, 4)}
    marked = mark(64, (64, 576)).embed(Ticket(weights=weights, mask=Mask({}))).weights
    assert marked["head.weight"] is marked["a.weight"] and marked["a.weight"] is not table


# training


def of_logits(logits: Tensor, payload: tuple[bool, ...], strength: float = 0.01) -> TaughtBits:
    """A regularizer that sees these logits: one filter, X the identity."""
    return TaughtBits(logits, np.eye(len(payload)), payload, strength)


@pytest.mark.parametrize("size", [0.0, 20.0, 100.0, 1e4, 1e30])
def test_loss_and_gradient_are_finite_at_any_logit(size: float) -> None:
    payload = (True, False, True, False)
    logits = torch.tensor([[size, -size, -size, size]], requires_grad=True)
    penalty = of_logits(logits, payload).penalty()
    penalty.backward()
    signed = np.array([size, size, -size, -size])
    expected = 0.01 * np.logaddexp(0, -signed).sum()
    assert penalty.dtype == torch.float32 and penalty.shape == ()
    assert penalty.item() == pytest.approx(expected, rel=1e-6)
    slope = 0.01 * np.array([-1, 1, -1, 1]) * np.exp(-np.logaddexp(0, signed))
    assert logits.grad is not None and logits.grad.flatten().tolist() == pytest.approx(
        slope, rel=1e-5, abs=1e-9
    )


def test_the_penalty_is_the_papers_and_does_not_see_autocast() -> None:
    conv = nn.Conv2d(64, 32, 3)
    model, made = nn.ModuleDict({"a": conv}), mark(16, strength=0.5)
    held = made.bind(model)
    mean = conv.weight.detach().double().mean(0).flatten().numpy()
    y = 1 / (1 + np.exp(-made.projection() @ mean))
    b = np.array(made.payload)
    expected = -0.5 * (b * np.log(y) + (1 - b) * np.log(1 - y)).sum()
    with torch.autocast("cpu", torch.bfloat16):
        penalty = held.penalty()
    assert penalty.dtype == torch.float32 and penalty.item() == pytest.approx(expected, rel=1e-5)
    penalty.backward()
    gradient = conv.weight.grad
    assert gradient is not None and conv.bias.grad is None
    slope = 0.5 * made.projection().T @ (y - b) / 32
    assert np.allclose(gradient.flatten(1).numpy(), slope, atol=1e-6), "the same for all filters"
    before = conv.weight.clone()
    held.put_back()
    assert torch.equal(before, conv.weight)


def test_half_precision_weights_are_taught_in_float32() -> None:
    model = nn.ModuleDict({"a": nn.Conv2d(64, 32, 3)}).to(torch.bfloat16)
    penalty = mark(16).bind(model).penalty()
    penalty.backward()
    gradient = model["a"].weight.grad
    assert penalty.dtype == torch.float32 and gradient is not None and gradient.dtype == torch.bfloat16


class WideNet(TinyNet):
    """The tiny network with a layer large enough to prove something, `c2.weight` [8, 40, 3, 3]."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            self.c1 = nn.Conv2d(1, 40, 3, padding=1, bias=False)
            self.bn = nn.BatchNorm2d(40)
            self.c2 = nn.Conv2d(40, 8, 3, padding=1)


def wide_ticket() -> Ticket:
    weights = {name: t.detach().clone() for name, t in WideNet().state_dict().items()}
    return Ticket(weights=weights, mask=Mask.full({n: w for n, w in weights.items() if w.ndim >= 2}))


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_training_with_the_mark_teaches_the_bits(precision: str, tmp_path: Path) -> None:
    made = Uchida(bits(64), "c2.weight", (8, 40, 3, 3), secret=key(0))
    recipe, options = tiny_recipe(precision=precision), {"model": WideNet(), "start": "model"}
    taught = retrain(wide_ticket(), recipe, tiny_data(), tmp_path / "taught", marks=[made], **options)
    plain = retrain(wide_ticket(), recipe, tiny_data(), tmp_path / "plain", **options)
    reading = made.read(taught.weights)
    assert reading.wrong == 0 and reading.verdict().verified
    assert made.read(plain.weights).wrong > 16
    with pytest.raises(InputError, match=r"belongs to another run: .*mark"):
        other = Uchida(bits(64), "c2.weight", (8, 40, 3, 3), secret=key(1))
        retrain(wide_ticket(), recipe, tiny_data(), tmp_path / "taught", marks=[other], **options)


def test_under_a_mask_the_kept_weights_alone_learn_the_bits() -> None:
    model, ticket = WideNet(), wide_ticket()
    kept = torch.rand(8, 40, 3, 3, generator=torch.Generator().manual_seed(1)) < 0.3
    made = Uchida(bits(32), "c2.weight", (8, 40, 3, 3), secret=key(0), strength=0.1)
    mask = Mask({"c2.weight": kept})
    model.load_state_dict(mask.apply(ticket.weights))
    trained = train(model, tiny_data(), tiny_recipe(), Engine(), mask=mask, marks=[made])
    mask.check(trained.weights)
    assert made.read(trained.weights).wrong == 0


class Wrapped(nn.Module):
    """What DataParallel and torch.compile make of names."""

    def __init__(self, model: nn.Module, name: str) -> None:
        super().__init__()
        self.add_module(name, model)


@pytest.mark.parametrize("name", ["module", "_orig_mod"])
def test_a_wrapped_network_is_taught_and_read(name: str) -> None:
    model = Wrapped(WideNet(), name)
    made = Uchida(bits(16), "c2.weight", (8, 40, 3, 3), secret=key(0))
    assert made.bind(model).penalty() > 0
    marked = made.embed(wide_ticket()).weights
    assert made.read({f"{name}.{n}": w for n, w in marked.items()}).wrong == 0


# what cannot be done


def test_a_layer_that_is_not_there_or_is_another_is_named() -> None:
    made, state = mark(16), {"a.weight": normal(8, 64, 3, 3)}
    for call in (
        lambda: made.read({"b.weight": normal(8, 64, 3, 3)}),
        lambda: made.bind(TinyNet()),
        lambda: made.embed(dense(b=normal(*SHAPE))),
    ):
        with pytest.raises(InputError, match=r"model: layer: expected the claim's a.weight, found none"):
            call()
    for call in (
        lambda: made.read(state),
        lambda: made.bind(nn.ModuleDict({"a": nn.Conv2d(64, 8, 3)})),
        lambda: made.embed(dense(a=state["a.weight"])),
    ):
        with pytest.raises(
            InputError,
            match=r"a.weight: expected the mark's shape \[32, 64, 3, 3\], found \[8, 64, 3, 3\]",
        ):
            call()
    frozen = nn.ModuleDict({"a": nn.Conv2d(64, 32, 3)}).requires_grad_(False)
    with pytest.raises(InputError, match=r"a.weight: expected a parameter that is trained, found a frozen"):
        made.bind(frozen)
    with pytest.raises(InputError, match=r"layer: expected the claim's a.weight, found none"):
        made.bind(nn.ModuleDict({"a": nn.LazyConv2d(32, 3)}))


def test_more_bits_than_weights_in_a_filter_are_refused() -> None:
    assert len(mark(576).payload) == 576
    with pytest.raises(InputError, match=r"capacity: expected at least 577 weights in a filter of a.weight"):
        mark(577)
    with pytest.raises(InputError, match=r"capacity: expected a layer with 577 weights in a filter"):
        Uchida.on(network().weights, bits(577))
    with pytest.raises(InputError, match=r"capacity: .* found 0"):
        layer_for({"bias": torch.zeros(4), "ids": torch.zeros(4, 4, dtype=torch.int64)}, 1)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite_are_refused_in_the_layer_alone(value: float) -> None:
    made, weights = mark(16), dict(network().weights)
    weights["first.weight"] = torch.full((8, 3), value)
    assert made.read(weights).wrong
    weights["a.weight"] = weights["a.weight"].clone().index_fill_(0, torch.tensor([3]), value)
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        cast = {"a.weight": weights["a.weight"].to(dtype)}
        with pytest.raises(InputError, match=r"weights: a.weight: expected finite numbers, found 576 that"):
            made.read(cast)


def test_huge_and_tiny_weights_are_read_without_overflow() -> None:
    made = mark()
    weights = made.embed(network()).weights["a.weight"].double()
    for scale in (1e38, 1e-200, 5e-310):
        reading = made.read({"a.weight": weights * scale})
        assert reading.verdict().verified
        json.dumps(reading.to_json(), allow_nan=False)
    with pytest.raises(InputError, match="finite numbers"):
        made.read({"a.weight": weights * 1e200})
    with pytest.raises(InputError, match=r"a.weight: expected one of float64, .*, found int32"):
        made.read({"a.weight": torch.ones(SHAPE, dtype=torch.int32)})


def test_the_ends_of_the_random_numbers_are_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = np.array([0, 2**64 - 1], dtype=np.uint64)
    monkeypatch.setattr("ticket_sig.marks.uchida.mark.keyed_words", lambda key, label, count: ends[:count])
    low, high = Uchida([True], "a", (1, 2)).projection()[0]
    assert low == pytest.approx(-high, rel=1e-3) and 8 < high < 9


def test_the_secret_matrix_is_standard_normal_and_its_own_for_every_key() -> None:
    first, second = (mark(64, label=label).projection() for label in range(2))
    assert kstest(first.flatten(), "norm").pvalue > 1e-3
    assert abs(np.corrcoef(first.flatten(), second.flatten())[0, 1]) < 0.03
    assert np.array_equal(first, mark(64, label=0).projection())
    rows = np.corrcoef(first) - np.eye(64)
    assert np.abs(rows).max() < 0.25, "no row is another's"
    fresh = [Uchida(bits(8), "a", (1, 8)) for _ in range(2)]
    assert fresh[0].secret != fresh[1].secret and len(fresh[0].secret) == 32


def test_the_layer_taken_by_default_has_the_most_weights_in_a_filter() -> None:
    shapes = {
        "first": (64, 900),
        "few": (8, 16, 3, 3),
        "wide": (8, 64, 3, 3),
        "more": (16, 64, 3, 3),
        "bn": (900,),
        "last": (64, 900),
    }
    weights = {name: torch.ones(shape) for name, shape in shapes.items()}
    assert layer_for(weights, 64) == "more"
    assert layer_for({"only": torch.ones(4, 4)}, 4) == "only"
    made = Uchida.on(weights, bits(4), "few")
    assert (made.layer, made.shape) == ("few", (8, 16, 3, 3))
    with pytest.raises(InputError, match="model: layer: expected 'none', found none of that name"):
        Uchida.on(weights, bits(4), "none")


# texts and claims


@settings(max_examples=60, deadline=None)
@given(text=st.text(min_size=1, max_size=40))
def test_a_text_is_its_bits(text: str) -> None:
    made = bits_of(text)
    assert len(made) == 8 * len(text.encode()) and text_of(made) == text
    assert bits_from(digits_of(made)) == made


def test_bits_that_are_no_text_have_none() -> None:
    assert text_of(bits_from("11111111")) is None and text_of(bits_from("0110000")) is None
    assert digits_of(bits_of("a")) == "01100001", "the highest bit first"


def test_random_bits_follow_from_the_secret() -> None:
    layer = network().weights
    drawn, again, other, fresh = (
        Uchida.make(layer, UchidaOptions(random=512), secret).payload
        for secret in (key("owner"), key("owner"), key("other"), None)
    )
    assert len(drawn) == 512 and 150 < sum(drawn) < 362 and drawn == again
    assert len({drawn, other, fresh}) == 3


def test_a_claim_is_written_read_and_verified(tmp_path: Path) -> None:
    made = mark(64, strength=0.02)
    marked = made.embed(network())
    (tmp_path / "claim.json").write_text(json.dumps(claim_of([made], marked.weights, 91.5).to_json()))
    claim = Claim.read(tmp_path / "claim.json")
    [again] = marks_of(claim)
    assert again.digest == made.digest and again.to_json() == made.to_json()
    assert verify(marked, claim).verified and verify(as_weights(marked.weights), claim).verified
    assert not verify(network(), claim).verified
    assert claim.accuracy == 91.5 and again.digest != mark(64).digest, "how it is taught counts, too"


def without(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda value: value.pop(name)


def changed(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda value: value.update(changes)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (without("key"), "claim: key: expected str, found none"),
        (changed(key=5), "claim: key: expected str, found int"),
        (changed(key="zz" * 32), "claim: key: expected 64 hexadecimal digits, found something else"),
        (changed(key="ab"), "key: expected 64 hexadecimal digits, found something else"),
        (changed(payload=[1, 0]), "claim: payload: expected str, found list"),
        (changed(payload=""), "payload: expected 1 to 8192 bits, found 0"),
        (changed(payload="0121"), "payload: expected digits 0 and 1, found '0121'"),
        (changed(payload="\u0661" * 4), "payload: expected digits 0 and 1"),
        (changed(payload="01" * 10**6), "payload: expected 1 to 8192 bits, found 2000000"),
        (changed(payload="01" * 300), "capacity: expected at least 600 weights in a filter of a.weight"),
        (changed(layer=""), "layer: expected the name of a tensor, found ''"),
        (changed(layer="x" * 10**6), "layer: expected the name of a tensor"),
        (changed(layer=None), "claim: layer: expected str, found NoneType"),
        (changed(shape="3"), "claim: shape: expected list, found str"),
        (changed(shape=[]), "shape: expected 2 or more sizes of 1 or more"),
        (changed(shape=[576]), "shape: expected 2 or more sizes"),
        (changed(shape=[0, 576]), "shape: expected 2 or more sizes"),
        (changed(shape=[32, -64, -9]), "shape: expected 2 or more sizes"),
        (changed(shape=[32, True, 576]), "shape: expected 2 or more sizes"),
        (changed(shape=[32, 576.0]), "shape: expected 2 or more sizes"),
        (changed(shape=[1] * 9), "shape: expected 2 or more sizes"),
        (changed(shape=[32, 10**400]), "shape: expected 2 or more sizes"),
        (changed(shape=[1, 2**40, 2**40]), "payload: expected at most 0 bits in a filter of"),
        (changed(strength=0), "strength: expected a finite number above 0, found 0"),
        (changed(strength=-1.5), "claim: strength: expected a number from 0 to 1.26765e+30, found "),
        (changed(strength=math.nan), "claim: strength: expected a number from 0 to 1.26765e+30, found "),
        (changed(strength=10**400), "claim: strength: expected a number from 0 to 1.26765e+30, found "),
        (changed(strength=True), "claim: strength: expected a number from 0 to 1.26765e+30, found True"),
        (changed(strength="1"), "claim: strength: expected a number from 0 to 1.26765e+30, found '1'"),
        (without("strength"), "claim: strength: expected a number from 0 to 1.26765e+30, found None"),
    ],
)
def test_a_hostile_claim_is_refused_in_one_line(change: Callable[[dict[str, Any]], Any], says: str) -> None:
    made = mark(64)
    value = made.to_json()
    change(value)
    with pytest.raises(InputError) as refused:
        marks_of(Claim(marks=(ClaimedMark("uchida", value),), subject="sha256:none"))
    assert says in str(refused.value) and len(str(refused.value)) < 400


def test_what_is_no_mark_is_refused_in_python_too() -> None:
    with pytest.raises(InputError, match="payload: expected bits, 0 or 1, found '0'"):
        Uchida("0101", "a", (1, 8))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="secret: expected 32 bytes, found a str"):
        Uchida([1], "a", (1, 8), secret="k" * 32)  # type: ignore[arg-type, list-item]


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 30), seed=st.integers(0, 1000))
def test_no_shorter_change_moves_every_bit_as_far(count: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    rows, wanted = draw.standard_normal((count, 30)), draw.standard_normal(count)
    shares = least_change._shares(cholesky(rows @ rows.T + 1e-9 * np.eye(count)), wanted)
    # The conditions of Karush, Kuhn and Tucker.
    spare = rows @ (rows.T @ shares) - wanted
    assert shares.min() >= 0 and spare.min() > -1e-6
    assert np.abs(shares * spare).max() < 1e-5
