"""The face of every attack: options, and what it makes of a ticket. A new one is one file and one line."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from ticket_sig.attacks.scene import Scene
from ticket_sig.claim import Claim
from ticket_sig.mask import Mask
from ticket_sig.options import Options
from ticket_sig.ticket import Ticket


class Attacked(NamedTuple):
    """What a thief has then: the network, and the claim of a mark of his own, if he writes one.

    Attributes:
        shown: what his own mark needs beside the network (`Mark.needs`).
        network: with the ticket's weights, where its architecture is no longer the recipe's.
        images: what `network` needs done to images [batch, channels, height, width] before.
        did: what was done, in words.
    """

    ticket: Ticket
    claim: Claim | None = None
    shown: Mapping[str, Any] = MappingProxyType({})
    network: nn.Module | None = None
    images: Callable[[Tensor], Tensor] | None = None
    did: tuple[str, ...] = ()

    @property
    def answering(self) -> nn.Module | None:
        """A copy of the network, in float32, that takes the images as they are."""
        if self.network is None:
            return None
        return _Answering(copy.deepcopy(self.network).float(), self.images)


class _Answering(nn.Module):
    def __init__(self, network: nn.Module, images: Callable[[Tensor], Tensor] | None) -> None:
        super().__init__()
        self.network, self.images = network, images

    def forward(self, x: Tensor) -> Any:
        """What the network answers."""
        return self.network(x if self.images is None else self.images(x))


@dataclass(frozen=True, kw_only=True)
class Attack(Options, ABC):
    """A set of options, called with the ticket to attack; the caller's ticket is left as it is.

    Attributes:
        of_insiders: whether the attack has a use for the place of the owner's code (`Scene.place`).
    """

    of_insiders: ClassVar[bool] = False

    def __call__(self, ticket: Ticket, scene: Scene) -> Ticket:
        """The attacked ticket; errors as of `carry_out`."""
        return self.carry_out(ticket, scene).ticket

    def carry_out(self, ticket: Ticket, scene: Scene) -> Attacked:
        """The attacked ticket, and the thief's own claim.

        Kept means not zero: a weight that the attack left at zero is not kept in what is returned, so that a
        report and whoever reads the file afterwards count the same.

        Raises:
            InputError: the attack lacks something of the scene, or the ticket does not fit it.
        """
        done = self.attacked(ticket, scene)
        return done._replace(ticket=_kept_means_not_zero(done.ticket))

    @abstractmethod
    def attacked(self, ticket: Ticket, scene: Scene) -> Attacked:
        """What the attack makes of a ticket."""


def _kept_means_not_zero(ticket: Ticket) -> Ticket:
    kept = Mask({name: k & (ticket.weights[name] != 0).cpu() for name, k in ticket.mask.items()})
    return ticket if kept.kept == ticket.mask.kept else replace(ticket, mask=kept)
