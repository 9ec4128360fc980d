"""The reference: the owner's network, which a suspect is compared with."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from torch import nn

from ticket_sig.errors import InputError, bad_input
from ticket_sig.mask import dtype_name
from ticket_sig.models import MODELS, build_for
from ticket_sig.models.channels import eps_in
from ticket_sig.models.graph import KernelGraph, kernel_graph
from ticket_sig.models.own import plain_copy, ticket_of
from ticket_sig.recovery.features import Features, features_of
from ticket_sig.ticket import Ticket

_MODULE = "in Python give the module: verify(suspect, claim, reference=module)"
UNSIGNED = "a reference without the mark, best the unsigned one, can be searched for"


@dataclass(frozen=True)
class Reference:
    """The owner's ticket, best the unsigned one, and what is known of its network.

    Attributes:
        ticket: under the names and in the shapes that a suspect is brought to; in the order of the
            network or, where that is not known, of the names: a file's order is in no digest, and must decide
            nothing.
        model: the network with these weights; None where its architecture is not known.
        arch: its name in the package (`MODELS`); None for a module of one's own, too.
        graph: its channels, batch norms among the links; None where they cannot be followed.
        unread: why there is no graph, for a message and beside a verdict.
    """

    ticket: Ticket
    model: nn.Module | None = None
    graph: KernelGraph | None = None
    unread: str | None = None
    arch: str | None = None

    @classmethod
    def of(cls, model: Ticket | nn.Module, arch: str | None = None) -> Reference:
        """Reads a reference.

        Args:
            model: a ticket, or a network of any architecture, of which a copy is kept.
            arch: of a ticket's network (`MODELS`); that of its recipe by default.

        Raises:
            InputError: no such `arch`, or the ticket is not of it; a layer of no floats; or as `ticket_of`.
        """
        read = cls._read(model, arch)
        return replace(read, ticket=_in_order(read.ticket, read.model.state_dict() if read.model else ()))

    def followed(self) -> tuple[nn.Module, KernelGraph]:
        """The network and its graph; InputError, which says why, where there is none."""
        if self.model is None or self.graph is None:
            expected, found = "one whose channels can be followed", self.unread or "none"
            raise bad_input("reference", "network", expected, found)
        return self.model, self.graph

    @cached_property
    def features(self) -> Features:
        """What suspects are compared by; errors as of `followed`."""
        model, graph = self.followed()
        return features_of(graph, self.ticket.weights, eps_in(model))

    @classmethod
    def _read(cls, model: Ticket | nn.Module, arch: str | None) -> Reference:
        """As `of`, in whatever order the tensors come."""
        if isinstance(model, nn.Module):
            own = plain_copy(model).cpu().eval()
            return cls._with_graph(ticket_of(own), own)
        if arch is not None:
            return cls._with_graph(model, build_for(arch, model.weights).eval(), arch)
        named = str((model.recipe or {}).get("arch", "none"))
        if named not in MODELS:
            return cls(model, unread=f"the reference's network is not known; {_MODULE}")
        try:
            return cls._with_graph(model, build_for(named, model.weights).eval(), named)
        except InputError as error:
            return cls(model, unread=str(error))

    @classmethod
    def _with_graph(cls, ticket: Ticket, model: nn.Module, arch: str | None = None) -> Reference:
        try:
            graph = kernel_graph(model, norms=True)
        except InputError as error:
            return cls(ticket, model, unread=str(error), arch=arch)
        for name in (link.name for link in graph.links if link.name in ticket.weights):
            if not ticket.weights[str(name)].is_floating_point():
                raise bad_input("reference", str(name), "floats", dtype_name(ticket.weights[str(name)].dtype))
        return cls(ticket, model, graph, arch=arch)


def _in_order(ticket: Ticket, known: Iterable[str] = ()) -> Ticket:
    places = {name: place for place, name in enumerate(known)}
    order = sorted(ticket.weights, key=lambda name: (places.get(name, len(places)), name))
    return replace(ticket, weights={name: ticket.weights[name] for name in order})


def weights_of(layers: Collection[str]) -> set[str]:
    """The names of layers, and of their weights; for `without`, which takes both."""
    return {name for layer in layers for name in (layer, f"{layer}.weight")}
