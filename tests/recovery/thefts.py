"""Networks that a thief rewrote with free attacks, and what must come back of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest
import torch
from support.free import NETWORKS, victim
from torch import Tensor, nn

from ticket_sig import Ticket
from ticket_sig.attacks.free import KINDS, DoesNotApply, Network, Strength
from ticket_sig.attacks.free_attack import _composition
from ticket_sig.formats.load import load
from ticket_sig.models import build_for
from ticket_sig.recovery import Aligned, Reference

SHIPPED = Path(__file__).parents[2] / "checkpoints" / "resnet20-cifar10"


@dataclass(frozen=True)
class Victim:
    """A network, its ticket, and what it answers on some images."""

    network: Callable[[], nn.Module]
    ticket: Ticket
    reference: Reference
    images: Tensor
    answers: Tensor


@cache
def small(name: str) -> Victim:
    """A small network with random weights, half of them pruned; in float64."""
    torch.manual_seed(0)
    network = NETWORKS[name]()
    ticket = victim(network)
    size = 8 if name in ("perceptron", "flattened") else 16
    return _victim(lambda: NETWORKS[name]().double().eval(), ticket, Reference.of(network), size)


@cache
def shipped() -> Victim:
    """The shipped ResNet-20, in float64."""
    ticket = load(SHIPPED).ticket
    weights = {n: t.double() if t.is_floating_point() else t for n, t in ticket.weights.items()}
    ticket = replace(ticket, weights=weights, rewind=None)
    return _victim(lambda: build_for("resnet20", weights).double().eval(), ticket, Reference.of(ticket), 32)


def _victim(network: Callable[[], nn.Module], ticket: Ticket, reference: Reference, size: int) -> Victim:
    images = torch.rand(2, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return Victim(network, ticket, reference, images, answers(network(), ticket, images))


@torch.no_grad()
def answers(network: nn.Module, ticket: Ticket, images: Tensor) -> Tensor:
    """What a network answers with a ticket's weights."""
    network.load_state_dict(ticket.weights)
    return network(images)  # type: ignore[no-any-return]


@torch.no_grad()
def stolen(of: Victim, kinds: Sequence[str] = (), seed: int = 0) -> Ticket:
    """The ticket after free attacks, in this order; a random one by default. Skips where none fits."""
    draw = torch.Generator().manual_seed(seed)
    network, did = Network.of(of.network(), of.ticket), 0
    size = of.images.shape[-1]
    for kind in kinds or [name for name, taken in _composition(draw) if taken]:
        try:
            network, did = KINDS[kind](network, Strength(sizes=(size,)), draw), did + 1
        except DoesNotApply as error:
            if kinds:
                pytest.skip(str(error))
    assert did or not kinds
    return replace(network.ticket(of.ticket), recipe=None)


def check_recovered(found: Aligned, of: Victim) -> None:
    """Names, shapes, every bit of the mask, and the answers on the images as they were."""
    assert {n: t.shape for n, t in found.ticket.weights.items()} == {
        n: t.shape for n, t in of.ticket.weights.items()
    }
    assert found.ticket.mask == of.ticket.mask
    torch.testing.assert_close(answers(of.network(), found.ticket, of.images), of.answers)
