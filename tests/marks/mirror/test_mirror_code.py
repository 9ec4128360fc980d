"""The mirror code: what is left of it after attacks, what changes nothing, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ticket_sig import InputError, Mask, Ticket
from ticket_sig.attacks.add_on import AddOn
from ticket_sig.attacks.attack import Attack
from ticket_sig.attacks.magnitude_pruning import MagnitudePruning
from ticket_sig.attacks.quantization import Quantization
from ticket_sig.attacks.scene import Scene
from ticket_sig.formats import load
from ticket_sig.marks.carrier import CarrierOptions, CarrierReading, Layer
from ticket_sig.marks.mask_change import moved
from ticket_sig.marks.mirror.cells import Patterns, Turn
from ticket_sig.marks.mirror.mark import Mirror
from ticket_sig.marks.mirror.reading import Tally
from ticket_sig.marks.qr_code.mark import CodeMark, CodeOptions
from ticket_sig.prf import Stream

SHIPPED = Path(__file__).parents[3] / "checkpoints" / "resnet20-cifar10"
SECRET = bytes(range(32))
MESSAGE = "8 bytes!"

Weights = Mapping[str, Tensor]


@pytest.fixture(scope="module")
def ticket() -> Ticket:
    """The shipped one, 34210 of 267264 weights kept."""
    return load(SHIPPED).ticket


@pytest.fixture(scope="module")
def mark(ticket: Ticket) -> Mirror:
    return Mirror.make(ticket, CarrierOptions(message=MESSAGE), SECRET)


@pytest.fixture(scope="module")
def signed(ticket: Ticket, mark: Mirror) -> Ticket:
    return mark.embed(ticket)


@pytest.fixture(scope="module")
def reading(mark: Mirror, signed: Ticket) -> CarrierReading:
    return mark.read(dict(signed.weights))


def network(*shapes: tuple[int, ...], density: float = 0.2) -> Ticket:
    """One of random weights."""
    draw = torch.Generator().manual_seed(0)
    weights = {f"{n}.weight": torch.randn(shape, generator=draw) for n, shape in enumerate(shapes)}
    mask = Mask({name: torch.rand(w.shape, generator=draw) < density for name, w in weights.items()})
    return Ticket(weights=mask.apply(weights), mask=mask)


def shuffled(weights: Weights) -> dict[str, Tensor]:
    """Channels in another order, with other scales and signs: every row and column of each layer."""
    draw, out = torch.Generator().manual_seed(0), dict(weights)
    for name, w in weights.items():
        if w.ndim > 2:
            for axis in (0, 1):
                size = w.shape[axis]
                scale = (10 ** (6 * torch.rand(size, generator=draw) - 3)) * torch.randn(
                    size, generator=draw
                ).sign()
                w = w.index_select(axis, torch.randperm(size, generator=draw))
                w = w * scale.view([-1 if n == axis else 1 for n in range(w.ndim)])
            out[name] = w
    return out


def renamed(weights: Weights) -> dict[str, Tensor]:
    """Under other names, in another order."""
    return {f"part{n}": w for n, w in enumerate(reversed(list(weights.values())))}


def exchanged(weights: Weights) -> dict[str, Tensor]:
    """Under the same names, but each of the next layer of its shape."""
    out = dict(weights)
    for shape in {w.shape for w in weights.values()}:
        names = [name for name, w in weights.items() if w.shape == shape and w.ndim > 2]
        out |= dict(zip(names, (weights[name] for name in [*names[1:], *names[:1]]), strict=True))
    return out


def turned(turn: Callable[[Tensor], Tensor]) -> Callable[[Weights], dict[str, Tensor]]:
    """The network of images that are turned as a whole."""
    return lambda weights: {name: turn(w) if w.ndim > 2 else w for name, w in weights.items()}


# What is left after an attack


def test_the_message_stands_and_every_layer_keeps_its_count(
    ticket: Ticket, mark: Mirror, signed: Ticket, reading: CarrierReading
) -> None:
    assert reading.message == MESSAGE
    assert np.sqrt(mark.code.size) * (reading.soft * reading.sent).mean() >= 40
    assert reading.sigma > 35
    assert moved(ticket.mask, signed.mask) < 0.08 * ticket.mask.kept
    assert {n: int(k.sum()) for n, k in signed.mask.items()} == {
        n: int(k.sum()) for n, k in ticket.mask.items()
    }


def test_weights_move_with_their_taps(ticket: Ticket, signed: Ticket) -> None:
    assert ticket.rewind is not None and signed.rewind is not None
    for name, kept in ticket.mask.items():
        changed = (kept != signed.mask[name]).flatten(2).any(2)
        assert torch.equal(signed.weights[name][changed], ticket.weights[name][changed].flip(-1))
        assert torch.equal(signed.weights[name][~changed], ticket.weights[name][~changed])
        assert torch.equal(signed.rewind[name], ticket.rewind[name])


@pytest.mark.parametrize(
    "attack",
    [
        MagnitudePruning(rate=0.1),
        MagnitudePruning(rate=0.2),
        AddOn(rate=0.01),
        AddOn(rate=0.02),
        Quantization(bits=3),
    ],
    ids=str,
)
def test_the_message_is_read_after_an_attack(mark: Mirror, signed: Ticket, attack: Attack) -> None:
    attacked = attack.attacked(signed, Scene(seed=1)).ticket
    reading = mark.read(attacked)
    assert reading.message == MESSAGE
    assert reading.log10_p < -60


# What changes nothing


def test_order_signs_and_scales_of_channels_change_nothing(
    mark: Mirror, signed: Ticket, reading: CarrierReading
) -> None:
    found = mark.read(shuffled(signed.weights))
    assert found.sigma == reading.sigma
    assert np.array_equal(found.soft, reading.soft)


def test_small_numbers_everywhere_and_other_scales_are_seen_through(mark: Mirror, signed: Ticket) -> None:
    """A network of which no weight is zero any more."""
    draw = torch.Generator().manual_seed(1)
    filled = {
        n: torch.where(w == 0, 1e-3 * w[w != 0].abs().min() * torch.randn(w.shape, generator=draw), w)
        for n, w in signed.weights.items()
    }
    found = mark.read(shuffled(filled))
    assert found.message == MESSAGE and found.log10_p < -60


@pytest.mark.parametrize("change", [renamed, exchanged])
def test_layers_of_other_names_are_found_by_what_they_say(
    change: Callable[[Weights], dict[str, Tensor]], mark: Mirror, signed: Ticket, reading: CarrierReading
) -> None:
    found = mark.read(change(shuffled(signed.weights)))
    assert found.sigma == pytest.approx(reading.sigma)
    assert found.message == MESSAGE
    # The orders of layers of one shape; 8 symmetries; by name or not.
    shapes = [layer.shape for layer in mark.layers]
    orders = sum(np.log10(np.arange(1, shapes.count(shape) + 1)).sum() for shape in set(shapes))
    assert found.log10_choices == pytest.approx(orders + np.log10(16))
    assert len(found.found_as) > 10


@pytest.mark.parametrize(
    "turn",
    [
        lambda w: w.flip(-1),
        lambda w: w.flip(-2),
        lambda w: w.transpose(-1, -2),
        lambda w: w.transpose(-1, -2).flip(-1),
        lambda w: w.transpose(-1, -2).flip(-2),
        lambda w: w.flip(-1, -2),
    ],
    ids=["mirrored", "upside down", "transposed", "quarter turn", "quarter turn back", "half turn"],
)
def test_a_network_that_is_turned_as_a_whole_is_turned_back(
    turn: Callable[[Tensor], Tensor], mark: Mirror, signed: Ticket, reading: CarrierReading
) -> None:
    found = mark.read(turned(turn)(signed.weights))
    assert found.sigma == pytest.approx(reading.sigma)
    assert found.message == MESSAGE


# What stands without it


def test_other_secrets_find_nothing(ticket: Ticket, mark: Mirror, signed: Ticket) -> None:
    sent = mark.code.encode(MESSAGE.encode())
    for suspect in (ticket, signed):
        cells = [Patterns.of_kernels(kept).cells(Turn()) for kept in suspect.mask.values()]
        sigmas, soft = [], []
        for number in range(200):
            stream = Stream(number.to_bytes(32, "big"), "another secret")
            tallies = [Tally.of_cells(one, stream, layer, len(sent)) for layer, one in enumerate(cells)]
            tally = reduce(add, tallies)
            sigmas.append(float(tally.sums @ sent) / np.sqrt(tally.squares))
            soft.append(float((tally.sums**2).sum() / tally.variances.sum()))
        assert abs(np.mean(sigmas)) < 4 / np.sqrt(200)
        assert np.std(sigmas) == pytest.approx(1, abs=4 / np.sqrt(400))
        assert max(np.abs(sigmas)) < 4.5
        # What the decoder takes for noise is that of the unsigned network.
        assert np.mean(soft) == pytest.approx(1, abs=0.15) or suspect is signed


def test_the_best_of_all_orders_and_turns_is_paid_for(ticket: Ticket, mark: Mirror) -> None:
    for number in range(2):
        other = Mirror.make(ticket, CarrierOptions(message=MESSAGE), number.to_bytes(32, "big"))
        found = other.read(dict(ticket.weights))
        assert found.message is None
        assert found.log10_p_here + found.log10_choices > -2


def test_the_secret_decides_all(ticket: Ticket, mark: Mirror, signed: Ticket) -> None:
    assert mark.embed(ticket).mask == signed.mask
    other = Mirror.make(ticket, CarrierOptions(message=MESSAGE), bytes(32)).embed(ticket)
    assert other.mask != signed.mask


def test_words_of_blocks_are_those_of_aes() -> None:
    blocks = np.array([[1, 0], [0, 1], [1, 0]], dtype=np.uint64)
    words = Stream(SECRET, "label").of_blocks(3, blocks)
    assert words[0].tolist() == words[2].tolist() != words[1].tolist()
    assert words[:2].tolist() == [
        [3783133367, 3894833987, 1411299659, 565926920],
        [3288313430, 4177211037, 3609458140, 530137951],
    ]
    assert not (Stream(SECRET, "label").of_blocks(4, blocks) == words).any()


# Other networks


@pytest.mark.parametrize(
    "shapes",
    [
        [(64, 64, 9)] * 6,
        [(64, 32, 5, 5)] * 2,
        [(64, 64, 3, 3, 3)],
        [(2048, 1, 7, 7), (512, 8, 3, 3), (512, 8, 3, 3), (512, 8, 5, 5)],
        [(64, 32, 11, 11), (100, 10)],
    ],
    ids=["line", "5x5", "3-D", "depth-wise and grouped", "121 taps"],
)
def test_kernels_of_any_size_carry_it(shapes: list[tuple[int, ...]]) -> None:
    before = network(*shapes)
    mark = Mirror.make(before, CarrierOptions(message=MESSAGE), SECRET)
    signed = mark.embed(before)
    found = mark.read(renamed(turned(lambda w: w.flip(-1))(shuffled(signed.weights))))
    assert found.message == MESSAGE and found.log10_p < -20
    assert all(layer.shape[2:] for layer in mark.layers)


def test_layers_without_a_width_are_left_alone() -> None:
    before = network(
        (128, 128, 3, 3), (64, 64, 1, 1), (100, 10), (64, 64, 3, 1), (4, 4, 3, 50), (64, 64, 3, 3)
    )
    mark = Mirror.make(before, CarrierOptions(message="me", margin=1), SECRET)
    assert [layer.name for layer in mark.layers] == ["0.weight", "5.weight"]
    signed = mark.embed(before)
    assert all(torch.equal(signed.mask[f"{n}.weight"], before.mask[f"{n}.weight"]) for n in range(1, 5))


def test_a_code_of_whole_kernels_stays_as_it_is(ticket: Ticket) -> None:
    code = CodeMark.make(ticket, CodeOptions(message="QR"), SECRET)
    coded = code.embed(ticket)
    signed = Mirror.make(coded, CarrierOptions(message=MESSAGE), SECRET).embed_beside(coded, [code])
    where = code.placement.layer
    assert torch.equal(signed.mask.kernel_map(where), coded.mask.kernel_map(where))
    assert code.read(signed).message == "QR"


# What is refused


def test_a_network_without_a_width_is_told_which_mark_would_do() -> None:
    with pytest.raises(
        InputError, match=r"kernels of a width of 2 or more.* found none; take the mark spread"
    ):
        Mirror.make(network((50, 40), (30, 20, 1, 1)), CarrierOptions(message=MESSAGE))


def test_a_claim_of_a_layer_without_a_width_is_refused(mark: Mirror) -> None:
    claim = mark.to_json()
    assert Mirror.from_json(claim) == mark
    claim["layers"][3]["shape"] = [16, 16, 3, 1]
    with pytest.raises(
        InputError, match=r"^claim: layers: expected kernels of .*, found .* of shape \[16, 16, 3, 1\]"
    ):
        Mirror.from_json(claim)


def test_a_message_that_does_not_fit_is_told_what_would(ticket: Ticket) -> None:
    small = network(*[(32, 32, 3, 3)] * 4)
    mark = Mirror.make(small, CarrierOptions(message="a message of 32 bytes, and no more"), SECRET)
    with pytest.raises(
        InputError, match=r"^mirror: message: expected at most \d+ bytes at margin [\d.]+, found 34"
    ):
        mark.embed(small)
    strong = Mirror.make(ticket, CarrierOptions(message=MESSAGE, margin=8), SECRET)
    with pytest.raises(InputError, match=r"; it would fit at --margin (\d\.\d)$") as error:
        strong.embed(ticket)
    margin = float(str(error.value).split()[-1])
    found = replace(strong, margin=margin).read(replace(strong, margin=margin).embed(ticket))
    assert found.message == MESSAGE and (found.soft**2).mean() >= margin**2


def test_a_network_of_another_architecture_is_refused(mark: Mirror) -> None:
    with pytest.raises(InputError, match=r"^model: layers: expected \d of shape \[16, 16, 3, 3\], found 0"):
        mark.read(network((64, 64, 3, 3)))


def test_a_claim_of_more_orders_than_can_be_tried_is_read_by_its_names_or_refused(mark: Mirror) -> None:
    shape = (2, 2, 2, 2)
    layers = tuple(Layer(f"{n}.weight", shape, 5) for n in range(200))
    hostile, one = replace(mark, layers=layers), torch.rand(shape)
    assert hostile.read({layer.name: one for layer in layers}).log10_choices == pytest.approx(np.log10(16))
    with pytest.raises(InputError, match=r"layers: expected at most 131072 pairs .*, found 160000; restore"):
        hostile.read({f"other{n}": one for n in range(200)})


def test_where_pairs_are_few_more_kernels_are_mirrored_until_it_is_verified() -> None:
    draw = torch.Generator().manual_seed(0)
    kernels = torch.randn(320, 320, 3, 3, generator=draw) * (torch.rand(320, 320, 3, 3, generator=draw) < 0.4)
    few = Ticket(weights={"conv.weight": kernels}, mask=Mask.of_zeros({"conv.weight": kernels}))
    usual = Mirror.make(few, CarrierOptions(message="me"), SECRET)
    fixed = Mirror.make(few, CarrierOptions(message="me", margin=usual.margin), SECRET)
    [rises, stays] = [mark.read(mark.embed(few)) for mark in (usual, fixed)]
    assert rises.sigma > stays.sigma
    assert replace(rises.verdict(), tried=16).verified and not replace(stays.verdict(), tried=16).verified
