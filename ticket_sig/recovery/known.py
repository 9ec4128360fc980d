"""What is known of the reference's layers and batch norms, before any suspect is seen."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from ticket_sig.models.channels import eps_in
from ticket_sig.models.graph import Link
from ticket_sig.recovery.comparing import Rows, rows_of
from ticket_sig.recovery.reference import Reference, weights_of


class Known:
    """The reference's layers, made comparable once for all walks."""

    def __init__(self, reference: Reference, without: Collection[str] = ()) -> None:
        assert reference.graph is not None and reference.model is not None
        self.graph, self.eps = reference.graph, eps_in(reference.model)
        self.weights = reference.ticket.weights
        self.layers = {link.name for link in self.graph.links if link.name is not None and not link.norm}
        self._names = {str(link.name): link.parts(self.weights) for link in reversed(self.graph.links)}
        self.marked = self.layers & weights_of(without)  # of these only the shapes are looked at
        self._rows: dict[str, Rows] = {}

    def names(self, name: str) -> dict[str, str]:
        """The names by role (`PARTS`) of the tensors of the layer or batch norm that has this weight."""
        return self._names[name]

    def values(self, name: str) -> dict[str, Tensor]:
        """These tensors by role."""
        return {role: self.weights[own] for role, own in self._names[name].items()}

    def rows(self, link: Link) -> Rows:
        """Of a layer."""
        assert link.name is not None
        if link.name not in self._rows:
            kernels = link.kernels(self.weights[link.name])
            self._rows[link.name] = rows_of(ungrouped(kernels.flatten(0, 1).double(), link))
        return self._rows[link.name]

    def read_on(self) -> list[str]:
        """Which of the marked layers write what another layer or a batch norm reads."""
        return [
            str(link.name)
            for index, link in enumerate(self.graph.links)
            if link.name in self.marked and self._is_read(index)
        ]

    def _is_read(self, index: int) -> bool:
        reached = self.graph.links[index].heads.flatten()
        for link in self.graph.links[index + 1 :]:
            if bool(torch.isin(link.tails, reached).any()):
                if link.name is not None:
                    return True
                reached = torch.cat([reached, link.heads.flatten()])
        return False

    def norms_from(self, index: int) -> int:
        """How many batch norms there are from a link on."""
        return len({link.name for link in self.graph.links[index:] if link.norm})


def ungrouped(kernels: Tensor, link: Link) -> Tensor:
    """Kernels [out, in of a group, taps] with zeros for the inputs that a row's group does not read.

    Those of depthwise layers, and of layers without groups, stay as they are.
    """
    groups, _, inputs = link.shape
    if groups == 1 or inputs == 1:
        return kernels
    whole = kernels.new_zeros(groups, len(kernels) // groups, groups, *kernels.shape[1:])
    own = torch.arange(groups)
    whole[own, :, own] = kernels.reshape(groups, -1, *kernels.shape[1:])
    return whole.reshape(len(kernels), groups * inputs, -1)
