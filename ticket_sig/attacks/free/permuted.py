"""Channels in another order."""

from __future__ import annotations

import torch

from ticket_sig.attacks.free.network import DoesNotApply, Network, Strength, one_of
from ticket_sig.attacks.permute_channels import PermuteChannels
from ticket_sig.attacks.scene import Scene
from ticket_sig.mask import Mask
from ticket_sig.ticket import Ticket


def permuted(network: Network, strength: Strength, draw: torch.Generator) -> Network:
    """Puts the channels of every layer, residual stream and concatenation in another order."""
    ticket = Ticket(weights=network.module.state_dict(), mask=Mask({}))
    other = PermuteChannels()(ticket, Scene(model=network.module, seed=one_of(1 << 31, draw)))
    if all(torch.equal(t, ticket.weights[name]) for name, t in other.weights.items()):
        raise DoesNotApply("no channels that may change places")
    return network.with_tensors(other.weights)
