"""The spread code on the shipped ticket: what embedding moves, and what is read after an attack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.utils.prune
from torch import Tensor

from ticket_sig import InputError, Mask, Ticket
from ticket_sig.errors import NotThere
from ticket_sig.formats import load
from ticket_sig.marks.carrier import CarrierOptions, CarrierReading
from ticket_sig.marks.mark import as_ticket
from ticket_sig.marks.secret import Secret
from ticket_sig.marks.spread.mark import Spread
from ticket_sig.marks.spread.signs import signs_of
from ticket_sig.prf import Stream

SHIPPED = Path(__file__).parents[3] / "checkpoints" / "resnet20-cifar10"
SECRET = bytes(range(32))
MESSAGE = "owner 123"

Weights = dict[str, Tensor]


@pytest.fixture(scope="module")
def ticket() -> Ticket:
    """The shipped one, 34210 of 267264 weights kept."""
    return load(SHIPPED).ticket


@pytest.fixture(scope="module")
def mark(ticket: Ticket) -> Spread:
    return Spread.make(ticket, CarrierOptions(message=MESSAGE), SECRET)


@pytest.fixture(scope="module")
def signed(ticket: Ticket, mark: Spread) -> Ticket:
    return mark.embed(ticket)


def linear(density: float = 0.3, rows: int = 150, seed: int = 0) -> Ticket:
    """Two linear layers, and one that is dense."""
    draw = torch.Generator().manual_seed(seed)
    weights = {n: torch.randn(rows, 100, generator=draw) for n in ("a.weight", "b.weight", "dense.weight")}
    kept = {
        n: torch.rand(w.shape, generator=draw) < density for n, w in weights.items() if n != "dense.weight"
    }
    return Ticket(weights=Mask(kept).apply(weights), mask=Mask(kept))


def read(mark: Spread, weights: Weights) -> CarrierReading:
    """What stands in weights whose mask nobody tells."""
    reading = mark.read(weights)
    assert isinstance(reading, CarrierReading)
    return reading


def test_every_bit_stands_by_the_margin_and_every_layer_keeps_its_count(
    ticket: Ticket, mark: Spread, signed: Ticket
) -> None:
    reading = read(mark, dict(signed.weights))
    assert (reading.soft * reading.sent).min() >= mark.margin
    assert reading.sigma >= 51
    assert reading.message == MESSAGE
    assert {n: int(k.sum()) for n, k in signed.mask.items()} == {
        n: int(k.sum()) for n, k in ticket.mask.items()
    }
    gone = sum(int((k & ~signed.mask[n]).sum()) for n, k in ticket.mask.items())
    assert gone <= 0.14 * ticket.mask.kept  # 51 sqrt(sum d (1 - d)) / 2 is 12.9 %: what it takes at the least
    assert gone <= mark.room(signed.mask)


def test_the_smallest_of_those_on_the_wrong_side_go(ticket: Ticket, mark: Spread, signed: Ticket) -> None:
    signs = signs_of(Stream(SECRET, label_of(mark)), mark.layers, mark.code.size)
    flat = {
        n: np.concatenate([t[layer.name].reshape(-1).numpy() for layer in mark.layers])
        for n, t in (("w", ticket.weights), ("old", ticket.mask), ("new", signed.mask))
    }
    wrong = signs.signs * mark.code.encode(MESSAGE.encode())[signs.groups] < 0
    gone = flat["old"] & ~flat["new"]
    assert wrong[gone].all() and not wrong[flat["new"] & ~flat["old"]].any()
    stayed = flat["old"] & flat["new"] & wrong
    for bit in range(0, mark.code.size, 16):
        of_bit = signs.groups == bit
        largest = np.abs(flat["w"][gone & of_bit]).max(initial=0)
        assert largest <= np.abs(flat["w"][stayed & of_bit]).min(initial=np.inf)


def test_the_largest_rewind_weights_come_back(ticket: Ticket, mark: Spread) -> None:
    assert ticket.rewind is not None
    signed = mark.embed(ticket)
    came, left = [], []
    for name, kept in ticket.mask.items():
        sizes = ticket.rewind[name].abs() / ticket.rewind[name].abs()[~kept].median()
        came.append(sizes[signed.mask[name] & ~kept])
        left.append(sizes[~signed.mask[name]])
    assert torch.cat(came).median() > torch.cat(left).quantile(0.75)


def label_of(mark: Spread) -> str:
    """Taken from the mark: what its claim's choices are hashed to."""
    labels: list[str] = []
    original = Stream.__init__

    def noted(self: Stream, key: bytes, label: str) -> None:
        labels.append(label)
        original(self, key, label)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stream, "__init__", noted)
        mark.stream(Secret(SECRET))
    return labels[0]


def pruned(share: float) -> Callable[[Weights, torch.Generator], Weights]:
    """The smallest of all kept weights removed."""

    def attack(weights: Weights, draw: torch.Generator) -> Weights:
        sizes = torch.cat([w[w != 0].abs() for w in weights.values()])
        threshold = sizes.kthvalue(int(share * len(sizes))).values
        return {n: torch.where(w.abs() <= threshold, 0, w) for n, w in weights.items()}

    return attack


def added(share: float, size: float) -> Callable[[Weights, torch.Generator], Weights]:
    """Noise of `size` deviations of the layer's kept weights, in a share of the pruned places."""

    def attack(weights: Weights, draw: torch.Generator) -> Weights:
        noise = {n: torch.randn(w.shape, generator=draw) * size * w[w != 0].std() for n, w in weights.items()}
        where = {n: (w == 0) & (torch.rand(w.shape, generator=draw) < share) for n, w in weights.items()}
        return {n: torch.where(where[n], noise[n], w) for n, w in weights.items()}

    return attack


def filled_and_rescaled(weights: Weights, draw: torch.Generator) -> Weights:
    """Small numbers in all pruned places, then rows and columns multiplied by 1e-3 to 1e3."""
    out = {}
    for n, w in weights.items():
        fill = torch.randn(w.shape, generator=draw, dtype=torch.float64) * 1e-3 * w[w != 0].abs().min()
        rows, columns = (
            10 ** (6 * torch.rand(k, generator=draw, dtype=torch.float64) - 3) for k in w.shape[:2]
        )
        scaled = torch.where(w == 0, fill, w.double()).reshape(*w.shape[:2], -1) * rows[:, None, None]
        out[n] = (scaled * columns[:, None]).reshape(w.shape)
    return out


def quantized(weights: Weights, draw: torch.Generator) -> Weights:
    """To 3 bits: whole multiples of a third of the largest."""
    steps = {n: w.abs().max() / 3 for n, w in weights.items()}
    return {n: (w / steps[n]).round() * steps[n] for n, w in weights.items()}


@pytest.mark.parametrize(
    ("attack", "least"),
    [(pruned(0.5), 10), (added(0.05, 1.0), 10), (filled_and_rescaled, 45), (quantized, 10)],
    ids=["pruned", "added", "filled and rescaled", "quantized"],
)
def test_the_message_is_read_after_an_attack(
    mark: Spread, signed: Ticket, attack: Callable[[Weights, torch.Generator], Weights], least: float
) -> None:
    marked = {name: signed.weights[name] for name in signed.mask}
    reading = read(mark, attack(marked, torch.Generator().manual_seed(1)))
    assert reading.sigma > least
    assert reading.message == MESSAGE and reading.verdict().verified


@pytest.mark.parametrize("attack", [lambda weights, draw: weights, filled_and_rescaled])
def test_of_a_large_model_a_part_carries_it(
    ticket: Ticket, monkeypatch: pytest.MonkeyPatch, attack: Callable[[Weights, torch.Generator], Weights]
) -> None:
    monkeypatch.setattr("ticket_sig.marks.spread.mark.signs_of", partial(signs_of, cap=100_000))
    mark = Spread.make(ticket, CarrierOptions(message=MESSAGE), SECRET)
    signed = mark.embed(ticket)
    moved = sum(int((kept & ~signed.mask[n]).sum()) for n, kept in ticket.mask.items())
    expected = 51 * (ticket.mask.kept * (1 - ticket.mask.density) * 100_000 / ticket.mask.total) ** 0.5 / 2
    assert 0.8 * expected < moved < 1.25 * expected
    weights = attack({n: signed.weights[n] for n in signed.mask}, torch.Generator().manual_seed(1))
    reading = read(mark, weights)
    assert reading.sigma > 40 and reading.message == MESSAGE and reading.verdict().verified


@pytest.mark.parametrize("signed", [False, True])
def test_other_secrets_see_nothing_in_it(signed: bool) -> None:
    """Of 500 deviates the mean has the deviation 1 / sqrt(500), the variance sqrt(2 / 500); 4 of each."""
    ticket = linear()
    mark = Spread.make(ticket, CarrierOptions(message="me", margin=2.0), SECRET)
    suspect, sent = mark.embed(ticket) if signed else ticket, mark.code.encode(b"me")
    secrets = [Secret(seed.to_bytes(32, "big")) for seed in range(500)]
    found = [mark.measured(suspect, mark.stream(secret), sent) for secret in secrets]
    sigmas = [float(one.sums @ sent) / one.squares**0.5 for one in found]
    assert abs(np.mean(sigmas)) < 4 / 500**0.5
    assert abs(np.var(sigmas) - 1) < 4 * (2 / 500) ** 0.5
    for secret in secrets[:5]:
        reading = read(replace(mark, secret=secret, commitment=secret.commitment), dict(suspect.weights))
        assert reading.message is None and not reading.verdict().verified


def test_it_is_not_in_the_network_that_was_signed(mark: Spread, ticket: Ticket) -> None:
    reading = read(mark, dict(ticket.weights))
    assert abs(reading.sigma) < 4 and reading.message is None
    assert not reading.verdict().verified


def test_the_same_secret_gives_the_same_mask_and_another_one_another(ticket: Ticket, signed: Ticket) -> None:
    options = CarrierOptions(message=MESSAGE)
    assert Spread.make(ticket, options, SECRET).embed(ticket).mask == signed.mask
    assert Spread.make(ticket, options, SECRET[::-1]).embed(ticket).mask != signed.mask


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_linear_layers_carry_it_in_every_type(dtype: torch.dtype) -> None:
    ticket = linear()
    ticket = replace(ticket, weights={n: w.to(dtype) for n, w in ticket.weights.items()})
    mark = Spread.make(ticket, CarrierOptions(message="me", margin=1.5), SECRET)
    assert [layer.name for layer in mark.layers] == ["a.weight", "b.weight"]
    signed = mark.embed(ticket)
    assert {n: w.dtype for n, w in signed.weights.items()} == {n: w.dtype for n, w in ticket.weights.items()}
    assert torch.equal(signed.weights["dense.weight"], ticket.weights["dense.weight"])
    reading = read(mark, {f"model.{n}": w for n, w in signed.weights.items()})
    assert reading.message == "me" and reading.verdict().verified
    assert reading.found_as == {n: f"model.{n}" for n in ("a.weight", "b.weight")}


def test_modules_and_tied_weights_carry_it() -> None:
    network = torch.nn.Sequential(torch.nn.Embedding(300, 64), torch.nn.Linear(64, 300, bias=False))
    torch.nn.utils.prune.random_unstructured(network[0], "weight", 0.6)
    torch.nn.utils.prune.remove(network[0], "weight")
    network[1].weight = network[0].weight
    mark = Spread.make(network, CarrierOptions(message="me", margin=1.5), SECRET)
    signed = mark.embed(as_ticket(network))
    assert signed.weights["0.weight"] is signed.weights["1.weight"]
    network.load_state_dict(dict(signed.weights))
    reading = mark.read(network)
    assert reading.message == "me" and reading.verdict().verified


def test_a_message_that_does_not_fit_is_told_what_would() -> None:
    ticket = linear(density=0.1, rows=100)
    with pytest.raises(InputError, match=r"at most \d+ bytes at margin 3") as caught:
        Spread.make(ticket, CarrierOptions(message="a" * 20, margin=3.0), SECRET).embed(ticket)
    told = float(str(caught.value).rpartition("--margin ")[2])
    fits = Spread.make(ticket, CarrierOptions(message="a" * 20, margin=told), SECRET)
    assert fits.embed(ticket).mask.kept == ticket.mask.kept
    with pytest.raises(InputError, match="would fit at"):
        Spread.make(ticket, CarrierOptions(message="a" * 20, margin=1.2 * told), SECRET).embed(ticket)


def test_weights_of_other_marks_stay(ticket: Ticket, mark: Spread) -> None:
    name = mark.layers[-1].name
    spared = {name: torch.zeros(ticket.mask[name].shape, dtype=torch.bool)}
    spared[name][:32] = True
    written = mark.written(ticket, mark.stream(Secret(SECRET)), spared)
    assert torch.equal(written[name][:32], ticket.mask[name][:32])
    assert not torch.equal(written[name][32:], ticket.mask[name][32:])


def test_bad_networks(ticket: Ticket, mark: Spread) -> None:
    with pytest.raises(InputError, match="--prune"):
        Spread.carrying(Mask.full(dict(ticket.mask)))
    with pytest.raises(InputError, match="2048 or more weights in pruned layers, found 700"):
        Spread.carrying(Mask({"a.weight": linear(rows=7).mask["a.weight"]}))
    name = mark.layers[3].name
    for lacking in ({}, {name: torch.eye(2)}):
        suspect = {**{n: w for n, w in ticket.weights.items() if n != name}, **lacking}
        with pytest.raises(NotThere, match=r"model: layers: expected \d of shape .*, found \d"):
            mark.read(suspect)
