"""FreezeNet: a watermark verifies where it was applied and nowhere else, and its p-value is no boast."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom
from support.tickets import sparse_ticket
from support.tiny import TinyNet
from torch import Tensor, nn

from ticket_sig import Claim, InputError, Mask, Ticket, Watermark, load, save, verify
from ticket_sig.claim import ClaimedMark
from ticket_sig.digests import tensor_digest
from ticket_sig.marks import MARKS, claim_of, marks_of
from ticket_sig.marks.freezenet.derive import derive
from ticket_sig.marks.freezenet.reading import Matches, chances_to_match, matches
from ticket_sig.statistics import LOG10_SECRETS

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
SCALES = ("unit", "layer", "legacy")
N = 500  # parameters of TinyNet


def marked(
    length: int = 100, dtype: torch.dtype = torch.float32, **options: Any
) -> tuple[Watermark, TinyNet]:
    watermark, model = Watermark(b"a", length, **options), TinyNet().to(dtype)
    watermark.apply(model)
    return watermark, model


def ticket_of(model: nn.Module) -> Ticket:
    """A dense network as it is read from a file."""
    weights = {name: t.detach().clone() for name, t in model.state_dict().items()}
    return Ticket(weights=weights, mask=Mask.of_zeros(weights))


def filled(value: float) -> TinyNet:
    model = TinyNet()
    for parameter in model.parameters():
        nn.init.constant_(parameter, value)
    return model


def first_fixed(watermark: Watermark, model: nn.Module) -> tuple[Tensor, int]:
    """A parameter, and a place in it that the watermark fixes."""
    assert watermark.manifest is not None
    fixed = derive(watermark.data, watermark.length, watermark.manifest, watermark.scale)
    name = next(iter(fixed))
    return dict(model.named_parameters())[name], int(fixed[name].places[0])


def change(parameter: Tensor, place: int, value: float | Callable[[Tensor], Tensor]) -> None:
    with torch.no_grad():
        flat = parameter.view(-1)
        flat[place] = value(flat[place]) if callable(value) else value


# --- applied, or not ------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_of_two_watermarks_the_one_that_was_applied_last_verifies(dtype: torch.dtype, scale: str) -> None:
    a, b, model = Watermark(b"a", 100, scale=scale), Watermark(b"b", 100, scale=scale), TinyNet().to(dtype)
    assert (a.verify(model), b.verify(model)) == (False, False)
    for _ in range(2):
        a.apply(model)
        assert (a.verify(model), b.verify(model)) == (True, False)
        b.apply(model)
        assert (a.verify(model), b.verify(model)) == (False, True)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("dtype", [*DTYPES, torch.float64], ids=str)
@pytest.mark.parametrize("length", [0, 1, 137, N - 1, N])
def test_it_writes_its_values_bit_for_bit_and_nothing_else(
    length: int, dtype: torch.dtype, scale: str
) -> None:
    model = TinyNet().to(dtype)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    watermark = Watermark(b"a", length, scale=scale)
    watermark.apply(model)
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    for name, f in derive(b"a", length, shapes, scale).items():
        before[name].view(-1)[torch.from_numpy(f.places)] = torch.from_numpy(f.values).to(dtype)
    assert tensor_digest(model.state_dict()) == tensor_digest(before)
    assert watermark.verify(model)


class Odd(nn.Module):
    """Parameters in every layout in memory."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        plain = torch.randn(8, 6, 3, 3, generator=draw, dtype=dtype)
        self.last = nn.Parameter(plain.clone().to(memory_format=torch.channels_last))
        self.turned = nn.Parameter(torch.randn(5, 7, generator=draw, dtype=dtype).t())
        self.every_second = nn.Parameter(torch.randn(6, 8, generator=draw, dtype=dtype)[:, ::2])
        self.scalar = nn.Parameter(torch.tensor(0.5, dtype=dtype))
        self.none = nn.Parameter(torch.zeros(3, 0, dtype=dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_layout_in_memory_is_nothing_to_it(dtype: torch.dtype) -> None:
    model, watermark = Odd(dtype), Watermark(b"a", 400)
    strides = [p.stride() for p in model.parameters()]
    watermark.apply(model)
    assert [p.stride() for p in model.parameters()] == strides
    plain = {name: p.detach().contiguous() for name, p in model.named_parameters()}
    assert watermark.verify(model) and watermark.verify(plain)
    assert watermark.manifest is not None
    for name, f in derive(b"a", 400, watermark.manifest).items():
        assert torch.equal(
            plain[name].flatten()[torch.from_numpy(f.places)], torch.tensor(f.values).to(dtype)
        )


def test_every_tensor_holds_its_values_in_its_own_dtype() -> None:
    model = TinyNet()
    model.c2.half(), model.f1.bfloat16(), model.f2.double()
    watermark = Watermark(b"a", N)
    watermark.apply(model)
    assert watermark.read(model).whole
    assert {p.dtype for p in model.parameters()} == {*DTYPES, torch.float64}


def test_it_writes_where_deterministic_algorithms_are_asked_for() -> None:
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        watermark, model = marked()
        assert watermark.verify(model) and watermark.verify(watermark.embed(ticket_of(TinyNet())).weights)
    finally:
        torch.use_deterministic_algorithms(before)


@pytest.mark.parametrize("value", [-1.0, 1.0, 0.0])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_network_of_one_value_does_not_verify(value: float, dtype: torch.dtype) -> None:
    """Nor is it a lower bound or an upper one that stands."""
    model = filled(value).to(dtype)
    for number in range(50):
        watermark = Watermark(b"%d" % number, 16)
        assert not watermark.verify(model) and not watermark.read(model).verdict().verified


def test_a_shifted_network_does_not_verify() -> None:
    for sign in (-1, 1):
        watermark, model = marked()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(sign * 1e-3)
        assert watermark.read(model).found == 0


@pytest.mark.parametrize("dtype", [*DTYPES, torch.float64], ids=str)
@pytest.mark.parametrize("towards", [-math.inf, math.inf])
def test_one_value_off_by_the_least_is_enough_to_fail(dtype: torch.dtype, towards: float) -> None:
    watermark, model = marked(dtype=dtype)
    parameter, place = first_fixed(watermark, model)
    # The value rounded to bfloat16 stands too: in float16 that is up to four steps away.
    for _ in range(5 if dtype == torch.float16 else 1):
        change(parameter, place, lambda w: w.nextafter(torch.tensor(towards, dtype=dtype)))
    found = watermark.read(model)
    assert (found.found, found.whole, watermark.verify(model)) == (99, False, False)
    verdict = found.verdict()
    assert verdict.log10_p < -6 and not verdict.verified
    assert verdict.lacking == "1 of 100 values differ, and all must stand"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_what_is_not_finite_does_not_stand_and_is_named_with_its_count(
    value: float, dtype: torch.dtype
) -> None:
    watermark, model = marked(400, dtype)
    with torch.no_grad():
        model.f1.bias.fill_(value), model.f2.bias.fill_(value)
    assert not watermark.verify(model)
    assert watermark.manifest is not None
    fixed = derive(b"a", 400, watermark.manifest)
    counts = [f"{n}: expected finite numbers, found {len(fixed[n].places)}" for n in ("f1.bias", "f2.bias")]
    with pytest.raises(InputError, match=f"^weights: {counts[0]} that are not; {counts[1]} that are not$"):
        watermark.read(model)


def test_an_empty_watermark_stands_everywhere_and_proves_nothing() -> None:
    watermark, model = marked(0)
    assert (
        watermark.verify(model) and watermark.verify(TinyNet(seed=1)) and watermark.verify(filled(math.nan))
    )
    assert watermark.read(model).log10_p == 0 and not watermark.read(model).verdict().verified


_HALVES: dict[str, Callable[[nn.Module], nn.Module]] = {
    "half": lambda m: m.half(),
    "bfloat16": lambda m: m.bfloat16(),
    "half and back": lambda m: m.half().float(),
    "bfloat16 and back": lambda m: m.bfloat16().float(),
    "half, bfloat16 and back": lambda m: m.half().bfloat16().float(),
    "double": lambda m: m.double(),
    "half to double": lambda m: m.half().double(),
    "bfloat16, then half": lambda m: m.bfloat16().half(),
}


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("cast", _HALVES)
def test_a_copy_in_another_precision_verifies(cast: str, scale: str) -> None:
    watermark, model = marked(scale=scale)
    found = watermark.read(_HALVES[cast](model))
    assert found.whole and found.verdict().verified
    assert not Watermark(b"b", 100, scale=scale).verify(model)


def test_an_integer_copy_does_not() -> None:
    watermark, model = marked()
    rounded = {name: (t * 127).round() / 127 for name, t in model.state_dict().items()}
    assert not watermark.verify(rounded)


# --- which weights --------------------------------------------------------------------------------


class Tied(nn.Module):
    """A matrix of two layers, a buffer, and a frozen parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.z = nn.Linear(8, 8)
        self.a = nn.Linear(8, 8)
        self.z.weight = self.a.weight
        self.norm = nn.BatchNorm1d(8)
        self.frozen = nn.Linear(8, 8, bias=False).requires_grad_(False)


def test_tied_weights_count_once_and_buffers_and_frozen_parameters_do_not() -> None:
    model, watermark = Tied(), Watermark(b"a", 64 + 8 + 8 + 8 + 8)
    others = {n: t.clone() for n, t in model.state_dict().items() if n.startswith(("frozen", "norm.run"))}
    watermark.apply(model)
    assert watermark.verify(model) and watermark.read(model).length == watermark.read(model).total
    assert model.z.weight is model.a.weight
    assert all(torch.equal(t, model.state_dict()[name]) for name, t in others.items())
    with pytest.raises(InputError, match="length: expected 0 to 96, the network's parameters, found 97"):
        Watermark(b"a", 97).apply(model)


def test_a_liar_who_picks_tensors_gains_nothing() -> None:
    # Under one legacy stream each choice of tensors moves the places; the other streams are drawn anew.
    many = {f"t{n:03}": torch.randn(8, 8).half() for n in range(400)}
    ticket = Ticket(weights=many, mask=Mask.full(many))
    verdicts = {}
    for scale in ("unit", "legacy"):
        watermark = Watermark(b"mine", 20, scale=scale)
        verdicts[scale] = watermark.read(watermark.embed(ticket).weights).verdict()
    assert verdicts["unit"].verified and not verdicts["unit"].lacking
    assert verdicts["legacy"].log10_p > verdicts["unit"].log10_p + 5 and not verdicts["legacy"].verified


def test_a_name_that_is_an_alias_is_no_further_tensor() -> None:
    shared = torch.randn(30, 30)
    state = {"a.weight": shared, "b.weight": shared}
    liar = Watermark(b"mine", 20, scale="legacy", manifest={"b.weight": (30, 30)})
    with pytest.raises(InputError, match=r"b.weight: expected shape \[30, 30\], found none"):
        liar.read(state)


@pytest.mark.parametrize(
    ("manifest", "says"),
    [
        (
            ["a.weight", "module.a.weight", "b.weight"],
            "a tensor each for the claimed a.weight and module.a.w",
        ),
        (["module.a.weight", "b.weight"], "its tensors in the order of the network's names, found another"),
    ],
)
def test_a_liar_cannot_order_or_repeat_tensors_by_parts_of_wrappers(manifest: list[str], says: str) -> None:
    """Each order of the tensors under the legacy stream gives other places, and no p-value counts them."""
    state = {name: torch.randn(30, 30) for name in ("a.weight", "b.weight", "c.weight")}
    shapes = dict.fromkeys(manifest, (30, 30))
    with pytest.raises(InputError) as refused:
        Watermark(b"mine", 20, scale="legacy", manifest=shapes).read(state)
    assert says in str(refused.value)


@pytest.mark.parametrize("prefix", ["", "module.", "net.", "net._orig_mod."])
def test_a_legacy_manifest_is_found_under_other_names_in_its_order(prefix: str) -> None:
    state = {name: torch.randn(30, 30) for name in ("a.weight", "b.weight", "c.weight")}
    watermark = Watermark(b"mine", 20, scale="legacy")
    marked = watermark.embed(Ticket(weights=state, mask=Mask.full(state))).weights
    read = [watermark.read(tensors) for tensors in (marked, {f"{prefix}{n}": t for n, t in marked.items()})]
    assert read[1].whole and read[1].log10_p == read[0].log10_p


def test_a_claim_cannot_ask_for_all_memory() -> None:
    with pytest.raises(InputError, match="length: expected at most 33554432, found 33554433"):
        Watermark(b"mine", 2**25 + 1)
    with pytest.raises(InputError, match="network: expected at most 268435456 parameters"):
        Watermark(b"mine", 5, scale="legacy", manifest={"a": (2**20, 2**9)})


def test_tied_weights_of_a_state_dict_count_once() -> None:
    # It holds two tensors, each of its own, over one memory.
    model = Tied()
    model.requires_grad_(True)
    of_module, of_tensors = Watermark(b"a", 10), Watermark(b"a", 10)
    of_module.apply(model)
    assert of_tensors.verify(model.state_dict())
    assert of_tensors.read(model.state_dict()).total == of_module.read(model).total


def test_parameters_that_are_frozen_later_still_verify() -> None:
    watermark, model = marked()
    model.c2.requires_grad_(False)
    assert watermark.verify(model)
    model.requires_grad_(False)
    assert watermark.verify(model) and watermark.read(model).verdict().verified
    watermark.apply(model)
    assert watermark.verify(model)


def test_a_state_dict_is_read_as_its_network_is() -> None:
    watermark, model = marked()
    assert watermark.verify(model.state_dict())
    # Of a network with batch norm, whose statistics are no weights, also by one that never saw the module.
    assert Watermark(b"a", 100).verify(model.state_dict())


def test_what_changes_after_the_first_use_is_named() -> None:
    watermark, model = marked()
    model.f2 = nn.Linear(12, 5)
    model.add_module("new", nn.Linear(2, 2))
    del model.bn
    for use in (watermark.apply, watermark.verify, watermark.read, watermark.bind):
        with pytest.raises(InputError) as refused:
            use(model)
        assert str(refused.value) == (
            "freezenet: bn.bias: expected shape [4], found none; bn.weight: expected shape [4], found none; "
            "f2.bias: expected shape [4], found [5]; f2.weight: expected shape [4, 12], found [5, 12]"
        )
    many = nn.Sequential(*(nn.Linear(2, 2) for _ in range(6)))
    watermark = Watermark(b"a", 3)
    watermark.apply(many)
    with pytest.raises(InputError, match=r"3\.weight: expected shape \[2, 2\], found none; and 4 more$"):
        watermark.verify({})


def test_reading_changes_nothing() -> None:
    """A watermark that was never written looks in each network's own names and shapes."""
    watermark, networks = Watermark(b"a", 100), (TinyNet(), nn.Linear(20, 30), TinyNet().half())
    digest = watermark.digest
    for model in (*networks, *networks):
        before = tensor_digest(model.state_dict())
        assert not watermark.verify(model) and not watermark.read(model).verdict().verified
        assert not watermark.verify(model.state_dict()) and len(watermark.fixed_in(model.state_dict()))
        assert tensor_digest(model.state_dict()) == before
    assert watermark.manifest is None and watermark.digest == digest
    with pytest.raises(InputError, match=r"manifest: .*, found none"):
        watermark.to_json()
    for model in networks:
        Watermark(b"a", 100).apply(model)
        assert watermark.verify(model)
    assert all(watermark.verify(model) for model in networks)


def test_a_claim_stays_what_it_is_whatever_it_is_held_against() -> None:
    watermark, model = marked()
    [back] = marks_of(claim_of([watermark], model.state_dict()))
    assert isinstance(back, Watermark)
    for one in (watermark, back):
        digest, told = one.digest, one.to_json()
        assert not one.verify(TinyNet(seed=1)) and one.verify(model)
        with pytest.raises(InputError, match="expected shape"):
            one.verify(nn.Linear(20, 30))
        assert (one.digest, one.to_json()) == (digest, told) and one.verify(model)


class Compiled(nn.Module):
    """Names parameters as `torch.compile` does, without its seconds."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._orig_mod = model


_WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "data parallel": nn.DataParallel,
    "compiled": Compiled,
    "both": lambda m: nn.DataParallel(Compiled(m)),
}


@pytest.mark.parametrize("wrapper", _WRAPPERS)
def test_a_wrapped_network_is_the_plain_one(wrapper: str) -> None:
    model = TinyNet()
    wrapped = _WRAPPERS[wrapper](model)
    one, other = Watermark(b"a", 100), Watermark(b"b", 100)
    one.apply(wrapped)
    assert one.verify(model) and one.verify(wrapped) and one.verify(wrapped.state_dict())
    other.apply(model)
    assert other.verify(model) and other.verify(wrapped) and other.verify(wrapped.state_dict())
    assert one.manifest == other.manifest


# --- what is refused ------------------------------------------------------------------------------


def with_parameter(parameter: nn.Parameter) -> nn.Module:
    model = nn.Sequential(nn.Linear(3, 3))
    model.register_parameter("odd", parameter)
    return model


@pytest.mark.parametrize(
    ("parameter", "found"),
    [
        (lambda: torch.zeros(4).to(torch.float8_e4m3fn), "expected one of float64.*, found float8_e4m3fn"),
        (lambda: torch.zeros(4, dtype=torch.complex64), "expected one of float64.*, found complex64"),
        (lambda: torch.zeros(4, device="meta"), "expected a dense tensor in memory, found one without"),
        (lambda: torch.eye(4).to_sparse(), "expected a dense tensor in memory, found one .*sparse"),
    ],
    ids=["float8", "complex", "meta", "sparse"],
)
def test_a_parameter_that_cannot_hold_the_values_is_named(
    parameter: Callable[[], Tensor], found: str
) -> None:
    model, watermark = with_parameter(nn.Parameter(parameter())), Watermark(b"a", 16)
    for use in (watermark.apply, watermark.verify, watermark.read, watermark.bind):
        with pytest.raises(InputError, match=f"^freezenet: odd: {found}"):
            use(model)
    if "float8" in found:
        return  # as tensors of a file they are read as float32
    manifest = {name: tuple(p.shape) for name, p in model.named_parameters()}
    with pytest.raises(InputError, match=f"^freezenet: odd: {found}"):
        Watermark(b"a", 16, manifest=manifest).verify(dict(model.named_parameters()))


def test_a_lazy_parameter_is_named() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.LazyLinear(3))
    with pytest.raises(InputError, match=r"^freezenet: 1\.weight: .*, found one not yet initialised$"):
        Watermark(b"a", 1).apply(model)


def test_a_quantized_or_whole_numbered_tensor_is_named() -> None:
    watermark, model = marked(N)
    for dtype in (torch.int8, torch.bool):
        weights = {**model.state_dict(), "f1.bias": torch.ones(12).to(dtype)}
        with pytest.raises(InputError, match=r"^freezenet: f1\.bias: expected one of float64, .*, found "):
            watermark.verify(weights)


def test_a_network_without_trainable_parameters_is_refused() -> None:
    for model in (nn.ReLU(), TinyNet().requires_grad_(False)):
        with pytest.raises(
            InputError, match=r"^freezenet: network: expected trainable parameters, found none"
        ):
            Watermark(b"a", 0).apply(model)


@pytest.mark.parametrize(
    ("data", "length", "scale", "says"),
    [
        (b"", 1, "unit", "data: expected 1 byte or more, found none"),
        ("text", 1, "unit", "data: expected 1 byte or more, found a str"),
        (None, 1, "unit", "data: expected 1 byte or more, found a NoneType"),
        (b"a", -1, "unit", "length: expected a whole number of 0 or more, found a negative one"),
        (b"a", True, "unit", "length: expected a whole number of 0 or more, found True"),
        (b"a", 2.0, "unit", r"length: expected a whole number of 0 or more, found 2\.0"),
        (b"a", "7", "unit", "length: expected a whole number of 0 or more, found '7'"),
        (b"a", 1, "Unit", "scale: expected one of unit, layer, legacy, found 'Unit'"),
        (b"a", 1, None, "scale: expected one of unit, layer, legacy, found None"),
    ],
)
def test_what_makes_no_watermark_is_refused(data: Any, length: Any, scale: Any, says: str) -> None:
    with pytest.raises(InputError, match=f"^freezenet: {says}$"):
        Watermark(data, length, scale=scale)


def test_more_values_than_parameters_are_refused_and_no_weight_is_touched() -> None:
    model = TinyNet()
    before = tensor_digest(model.state_dict())
    with pytest.raises(InputError, match=r"^freezenet: length: expected 0 to 500, .*, found 501$"):
        Watermark(b"a", N + 1).apply(model)
    assert tensor_digest(model.state_dict()) == before


# --- the p-value ----------------------------------------------------------------------------------


def rounded(dtype: torch.dtype, seed: int = 0, count: int = 4096) -> Tensor:
    """Weights as networks have them, in float32, as a copy in `dtype` would hold them."""
    draw = torch.Generator().manual_seed(seed)
    return (torch.randn(count, generator=draw) * 0.3).to(dtype).float()


def innocent(weights: Tensor, lengths: NDArray[np.int64], scale: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Matches and their expected number of unrelated watermarks of these lengths, one a row."""
    manifest = {"a.weight": (len(weights) // 16, 16)}
    fixed = [derive(b"%d" % n, int(length), manifest, scale)["a.weight"] for n, length in enumerate(lengths)]
    here = weights[torch.from_numpy(np.concatenate([f.places for f in fixed]))]
    found = matches(here, np.concatenate([f.values for f in fixed])).numpy()
    chances = chances_to_match(here, fixed[0].bound)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    return np.add.reduceat(found.astype(np.int64), starts), np.add.reduceat(chances, starts)


def p_here(found: NDArray[Any], expected: NDArray[Any], lengths: NDArray[np.int64]) -> NDArray[Any]:
    """What `read` gives for `log10_p_here`, as a chance."""
    p = binom.sf(found - 1, lengths, np.minimum(1, expected / lengths))
    return np.where(found >= expected + 1, p, 1.0)


@pytest.mark.parametrize("scale", ["unit", pytest.param("layer", marks=pytest.mark.slow)])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_of_10_000_unrelated_watermarks_no_more_match_than_expected(dtype: torch.dtype, scale: str) -> None:
    lengths = np.random.default_rng(0).integers(16, 65, 10_000)
    found, expected = innocent(rounded(dtype), lengths, scale)
    total, most = int(found.sum()), float(expected.sum())
    assert total <= most + 4 * math.sqrt(most)
    if dtype != torch.float32:  # where there is something to count, the bound is no empty one
        assert most > 50 and total >= 0.7 * most - 4 * math.sqrt(most)
    chances = p_here(found, expected, lengths)
    for alpha in (0.1, 0.03, 0.01, 1e-3, 1e-4):
        below = int((chances <= alpha).sum())
        assert below <= 10_000 * alpha + 4 * math.sqrt(10_000 * alpha)
    assert (found < lengths).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_a_p_value_below_alpha_is_no_more_likely_than_alpha(dtype: torch.dtype) -> None:
    """With lengths at which matches by chance are common, and weights that are met as often as any."""
    weights = rounded(dtype).sign() * (0.5 + rounded(dtype, 1).abs() % 0.01).to(dtype).float()
    lengths = np.random.default_rng(0).integers(500, 2000, 1_000)
    found, expected = innocent(weights, lengths, "unit")
    assert expected.mean() > 0.3
    chances = p_here(found, expected, lengths)
    for alpha in (0.3, 0.1, 0.03, 0.01):
        assert (chances <= alpha).sum() <= 1_000 * alpha + 4 * math.sqrt(1_000 * alpha)
    assert found.sum() <= expected.sum() + 4 * math.sqrt(expected.sum())


def test_read_gives_what_was_tested_above() -> None:
    weights = rounded(torch.bfloat16, count=512)
    lengths = np.full(200, 400)
    found, expected = innocent(weights, lengths, "unit")
    chances = p_here(found, expected, lengths)
    assert (chances < 1).any()
    for number in range(200):
        reading = Watermark(b"%d" % number, 400).read({"a.weight": weights.reshape(-1, 16)})
        assert reading.found == found[number]
        assert reading.expected == pytest.approx(expected[number])
        assert 10**reading.log10_p_here == pytest.approx(chances[number])


def tail(chances: NDArray[np.float64], found: int) -> float:
    """P(at least so many) of independent trials of these chances, exactly."""
    ways = np.zeros(len(chances) + 1)
    ways[0] = 1
    for chance in chances:
        ways[1:] = ways[1:] * (1 - chance) + ways[:-1] * chance
        ways[0] *= 1 - chance
    return float(ways[found:].sum())


@settings(deadline=None, max_examples=40)
@given(
    length=st.integers(2, 60), share=st.floats(0, 1), spread=st.floats(0, 8), seed=st.integers(0, 2**32 - 1)
)
def test_it_is_no_smaller_than_the_exact_tail_of_unequal_chances(
    length: int, share: float, spread: float, seed: int
) -> None:
    """Weights of all sizes: some are met by every hundredth value, some by no more than their own."""
    draw = np.random.default_rng(seed)
    weights = torch.from_numpy(np.exp2(-spread * draw.random(256)) * draw.choice([-1, 1], 256)).bfloat16()
    watermark, own = Watermark(seed.to_bytes(4, "big"), length), weights.float().reshape(16, 16)
    fixed = derive(watermark.data, length, {"a": (16, 16)})["a"]
    stand = draw.random(length) < share
    own.view(-1)[torch.from_numpy(fixed.places[stand])] = (
        torch.from_numpy(fixed.values[stand]).bfloat16().float()
    )
    reading = watermark.read({"a": own})
    assert reading.found >= stand.sum()
    exact = tail(chances_to_match(own.view(-1)[torch.from_numpy(fixed.places)], 1.0), reading.found)
    assert 10**reading.log10_p_here >= exact * (1 - 1e-9)


def in_reach(weight: float, bound: float) -> NDArray[np.float32]:
    """All values of a bound that could be rounded to a weight, and some more.

    To float16 a value moves by 2^-25 or 2^-12 of its size, to bfloat16 by 2^-9 of it.
    """
    middle = (weight / bound + 1) * 2**23
    slack = int((abs(weight) * 2**-7 + 2.0**-24.9) / bound * 2**23) + 3
    cells = np.arange(max(0, int(middle) - slack), min(2**24, int(middle) + slack + 1))
    return ((2 * cells + 1 - 2**24) / 2**24 * bound).astype(np.float32)


def hard(dtype: torch.dtype, bound: float, count: int = 15) -> Iterator[float]:
    """Weights at which a bound could fail: powers of two, zero, subnormals, the ends, and any."""
    draw = np.random.default_rng(0)
    sizes = [
        0.0,
        2.0**-24,
        2.0**-25,
        3 * 2.0**-24,
        2.0**-14,
        2.0**-14 - 2.0**-24,
        bound,
        bound * (1 + 2.0**-8),
    ]
    sizes += [bound * 2.0**-n for n in range(1, 24, 3)] + (bound * np.exp2(-20 * draw.random(count))).tolist()
    for rounding in (torch.float32, torch.bfloat16, torch.float16):
        weights = torch.tensor(sizes).to(rounding).to(dtype).double()
        yield from weights.tolist()
    yield from (-w for w in sizes[:8])


# Near the smallest step of float16, and of tensors with millions of inputs down to one.
BOUNDS = (1.3 * 2**-20, math.sqrt(6 / 2**22), math.sqrt(6 / 4608), 1.0, math.sqrt(6))


@pytest.mark.parametrize("bound", BOUNDS, ids="{:.2g}".format)
@pytest.mark.parametrize("dtype", [*DTYPES, torch.float64], ids=str)
def test_no_weight_is_met_by_more_values_than_it_is_said_to(dtype: torch.dtype, bound: float) -> None:
    tightest = 0.0
    for weight in hard(dtype, bound):
        values = in_reach(weight, bound)
        met = int(matches(torch.full((len(values),), weight, dtype=torch.float64).to(dtype), values).sum())
        most = float(chances_to_match(torch.tensor([weight], dtype=torch.float64).to(dtype), bound)[0])
        assert met / 2**24 <= most, f"{weight!r} is met by {met} of 2^24 values"
        tightest = max(tightest, met / 2**24 / most if met else 0)
    assert tightest > 0.9, "at some weight it is nearly reached"


def test_every_value_is_among_those_that_the_bound_was_tested_with() -> None:
    """Of a whole stream of values only those in reach match."""
    fixed = derive(b"a", 200_000, {"a": (200_000,)})["a"]
    for weight in (0.5, -0.25, 2.0**-10, 0.3):
        own = torch.tensor(weight).bfloat16().double()
        found = fixed.values[matches(own.expand(200_000), fixed.values).numpy()]
        assert np.isin(found, in_reach(float(own), 1.0)).all() and (len(found) or weight == 2.0**-10)


def test_weights_beyond_every_value_are_never_met() -> None:
    assert chances_to_match(torch.tensor([1.01, -2.0, 1e30]), 1.0).tolist() == [0, 0, 0]
    assert chances_to_match(torch.tensor([math.nan, math.inf]), 1.0).max() <= 1


@pytest.mark.parametrize(
    ("dtype", "too_short"), [(torch.float32, 4), (torch.bfloat16, 8), (torch.float16, 6)]
)
def test_a_short_watermark_could_have_been_searched_for_and_does_not_verify(
    dtype: torch.dtype, too_short: int
) -> None:
    """By an accuser's luck every value stands; but 2^64 data and every length could be tried."""
    for length in range(1, 40):
        watermark, model = marked(length, dtype)
        found = watermark.read(model)
        assert found.whole
        if length <= too_short:
            assert not found.verdict().verified
    assert found.verdict().verified


def test_the_correction_pays_for_data_lengths_and_scales() -> None:
    given: dict[str, Any] = {"expected": 1e-5, "total": 999, "scale": "unit", "tensors": 7, "odd": {}}
    found = Matches(stands=np.ones(100, dtype=bool), log10_p_here=-60.0, **given)
    assert found.log10_p == pytest.approx(-60 + LOG10_SECRETS + 3 + math.log10(3))
    legacy = replace(found, scale="legacy")
    assert legacy.log10_p == pytest.approx(found.log10_p + 7 * math.log10(2))
    assert replace(found, log10_p_here=-1.0).log10_p == 0
    assert found.verdict().verified
    assert not replace(found, log10_p_here=-28.0).verdict().verified


def test_a_legacy_verdict_says_that_other_data_give_the_same_values() -> None:
    for scale in SCALES:
        watermark, model = marked(scale=scale)
        verdict = watermark.read(model).verdict()
        assert verdict.verified and verdict.reading.scale == scale
        assert ("others give the same values" in verdict.does_not_prove) is (scale == "legacy")


# --- as a mark: tickets and claims ----------------------------------------------------------------


def test_embedding_changes_the_fixed_values_and_the_history_alone() -> None:
    ticket, watermark = ticket_of(TinyNet()), Watermark(b"a", 100)
    ticket = replace(ticket, rewind={n: t.clone() for n, t in ticket.weights.items()}, recipe={"arch": "own"})
    before = tensor_digest(ticket.weights)
    signed = watermark.embed(ticket)
    assert tensor_digest(ticket.weights) == before, "the ticket that was handed in"
    model = TinyNet()
    watermark.apply(model)
    assert tensor_digest(signed.weights) == tensor_digest(model.state_dict())
    assert list(signed.weights) == list(ticket.weights)
    assert (signed.mask, signed.recipe) == (ticket.mask, ticket.recipe)
    assert signed.rewind is ticket.rewind
    assert [r.step for r in signed.history] == ["sign"]


def test_tied_weights_of_a_ticket_stay_tied(tmp_path: Path) -> None:
    matrix = torch.randn(8, 8)
    weights = {"z.weight": matrix, "a.weight": torch.randn(8, 8), "y.weight": matrix}
    watermark = Watermark(b"a", 128)
    signed = watermark.embed(Ticket(weights=weights, mask=Mask.of_zeros({"a.weight": weights["a.weight"]})))
    assert signed.weights["z.weight"] is signed.weights["y.weight"]
    save(signed, tmp_path / "bundle")
    assert watermark.verify(load(tmp_path / "bundle").ticket.weights)


def test_a_sparse_ticket_is_refused_with_its_layers() -> None:
    with pytest.raises(
        InputError, match=r"^model: weights: expected a dense network, found pruned weights in a\.weight"
    ):
        Watermark(b"a", 2000).embed(sparse_ticket())


@pytest.mark.parametrize("dtype", [torch.float8_e5m2, torch.complex64], ids=str)
def test_a_ticket_that_cannot_hold_the_values_is_refused_by_name(dtype: torch.dtype) -> None:
    weights = {"a.weight": torch.ones(4, 4), "b.weight": torch.ones(4, 4).to(dtype)}
    watermark = Watermark(b"a", 32, manifest={name: (4, 4) for name in weights})
    with pytest.raises(InputError, match=r"^freezenet: b\.weight: expected one of float64, .*, found "):
        watermark.embed(Ticket(weights=weights, mask=Mask({})))


def through_a_file(claim: Claim, path: Path) -> Claim:
    path.write_text(json.dumps(claim.to_json()))
    return Claim.read(path)


@pytest.mark.parametrize("scale", SCALES)
def test_a_claim_verifies_the_marked_network_and_no_other(scale: str, tmp_path: Path) -> None:
    watermark = Watermark(bytes(range(256)), 100, scale=scale)
    signed = watermark.embed(ticket_of(TinyNet()))
    claim = through_a_file(claim_of([watermark], signed.weights, 91.5), tmp_path / "claim.json")
    assert ([one.name for one in claim.marks], claim.accuracy) == (["freezenet"], 91.5)
    assert claim.subject == tensor_digest(signed.weights)
    [back] = marks_of(claim)
    assert isinstance(back, Watermark)
    assert (back.data, back.length, back.scale) == (watermark.data, 100, scale)
    assert back.manifest == watermark.manifest and back.to_json() == watermark.to_json()
    verdict = verify(signed, claim)
    assert verdict.verified and verdict.reading.found == 100
    # Written by another process, in half precision, read in parts.
    save(signed, tmp_path / "bundle")
    assert verify(load(tmp_path / "bundle").ticket, claim).verified
    half = replace(
        signed, weights={n: t.half() if t.is_floating_point() else t for n, t in signed.weights.items()}
    )
    assert verify(half, claim).verified
    for innocent_one in (ticket_of(TinyNet()), ticket_of(TinyNet(seed=1)), ticket_of(filled(1.0))):
        other = verify(innocent_one, claim)
        assert not other.verified and other.log10_p == 0 and other.outcome == "not verified"


def test_a_claim_needs_a_network_to_have_been_seen() -> None:
    with pytest.raises(InputError, match=r"^freezenet: manifest: .*, found none; apply it first$"):
        claim_of([Watermark(b"a", 5)], {})


def test_a_claim_on_a_part_of_a_network_pays_for_what_it_is() -> None:
    """An accuser may choose the tensors: what he draws from is bound to them, and is searched anew."""
    watermark, model = marked(N)
    weights = {n: t for n, t in model.state_dict().items() if not n.endswith(("mean", "var", "tracked"))}
    for name, weight in weights.items():
        part = Watermark(b"a", weight.numel(), manifest={name: tuple(weight.shape)})
        reading = part.read(model.state_dict())
        assert reading.total == weight.numel() and not reading.whole
    assert Watermark(b"a", N, manifest=watermark.manifest).verify(model)


_SHAPES = {name: list(p.shape) for name, p in TinyNet().named_parameters()}


def claimed(**changes: Any) -> str:
    fields = {"data": "00ff", "length": 5, "scale": "unit", "manifest": _SHAPES, **changes}
    mark = ClaimedMark("freezenet", {n: v for n, v in fields.items() if v != "leave out"})
    return json.dumps(Claim(marks=(mark,), subject="x").to_json())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        *(({name: "leave out"}, f"{name}: expected") for name in ("data", "length", "scale", "manifest")),
        *(
            ({"data": v}, "data: expected")
            for v in (7, None, ["00"], {"a": 1}, "0", "zz", "\u0660\u0660", "")
        ),
        *(({"length": v}, "length: expected") for v in (True, 5.0, "5", None, [5], -1, N + 1, 10**4000)),
        *(({"scale": v}, "scale: expected") for v in (1, None, "other", "UNIT", ["unit"])),
        *(({"manifest": v}, "manifest: expected") for v in (None, [], "x", 3)),
        *(
            ({"manifest": {"a": v}}, "manifest, a: expected a shape, found")
            for v in (
                3,
                None,
                "3",
                {"0": 3},
                [True],
                [2.0],
                ["3"],
                [-1],
                [2**48],
                [10**4000],
                [[3]],
                [1] * 65,
            )
        ),
        ({"manifest": {}}, "network: expected trainable parameters, found none"),
        ({"manifest": {"a": [0, 5]}}, "network: expected trainable parameters, found none"),
        ({"manifest": {"a": [2**47] * 64}}, r"network: expected fewer than 2\^63 parameters, found more"),
        ({"manifest": {"a\nb": [5]}}, r"a b: expected shape \[5\], found none"),
        ({"manifest": {**_SHAPES, "f2.bias": [5]}}, r"f2\.bias: expected shape \[5\], found \[4\]"),
        (
            {"manifest": {"bn.num_batches_tracked": []}, "length": 1},
            r"bn\.num_batches_tracked: .*found int64",
        ),
        ({"manifest": {"absent": [2**46, 2**16]}, "length": 2**20}, "absent: expected shape"),
    ],
    ids=lambda value: str(value)[:40] if len(repr(value)) < 1000 else "huge",
)
def test_a_hostile_claim_is_one_line(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    (tmp_path / "claim.json").write_text(claimed(**changes))
    with pytest.raises(InputError, match=says) as refused:
        [mark] = marks_of(Claim.read(tmp_path / "claim.json"))
        mark.read(ticket_of(TinyNet()))
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 600


def test_the_whole_claim_is_read_where_nothing_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "claim.json").write_text(claimed())
    assert not verify(ticket_of(TinyNet()), Claim.read(tmp_path / "claim.json")).verified


def test_a_claim_of_no_watermark_is_refused_with_the_known_ones() -> None:
    claim = Claim(marks=(ClaimedMark("frozen", {}),), subject="", written_by="ticket_sig 9.9")
    said = r"mark: expected one of .*freezenet, .*found 'frozen', written by ticket_sig 9\.9$"
    with pytest.raises(InputError, match=said):
        marks_of(claim)
    assert MARKS["freezenet"] is Watermark


def test_the_digest_tells_watermarks_apart_and_stays_when_they_are_used() -> None:
    model = TinyNet()
    marks = [
        Watermark(b"a", 5),
        Watermark(b"b", 5),
        Watermark(b"a", 6),
        Watermark(b"a", 5, scale="layer"),
        Watermark(b"a", 5, manifest={"f2.bias": (4,), "f1.bias": (12,)}),
        Watermark(b"a", 5, manifest={"f2.bias": (4,), "f2.weight": (4, 12)}),
    ]
    before = [mark.digest for mark in marks]
    assert len(set(before)) == len(marks)
    for mark in marks:
        mark.apply(model)
    assert [mark.digest for mark in marks] == before
    backwards = Watermark(b"a", 5, manifest={"f1.bias": (12,), "f2.bias": (4,)})
    assert backwards.digest == marks[4].digest
