"""Flipping signs: filters before a batch norm are negated, and the norm with them, to the same network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import nn

from ticket_sig.attacks.attack import Attack, Attacked
from ticket_sig.attacks.scene import Scene, stolen
from ticket_sig.errors import bad_input
from ticket_sig.models import build_for
from ticket_sig.options import option, share
from ticket_sig.ticket import Ticket

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True, kw_only=True)
class SignFlip(Attack):
    """Negates filters that a batch norm follows, drawn at random; every answer stays."""

    share: float = option("Share of the filters to negate.", default=0.5, check=share)

    def attacked(self, ticket: Ticket, scene: Scene) -> Attacked:
        """Returns the ticket with other signs.

        Raises:
            InputError: no recipe, weights that do not fit its network, or no batch norm behind a convolution.
        """
        model = scene.model or build_for(scene.recipe_for(ticket).arch, ticket.weights)
        pairs = list(_pairs(model))
        if not pairs:
            raise bad_input("model", "layers", "a batch norm behind a convolution", "none")
        weights, draw = dict(ticket.weights), scene.draw("sign flip")
        for convolution, norm in pairs:
            chosen = torch.rand(len(weights[f"{norm}.running_mean"]), generator=draw) < self.share
            signs = torch.where(chosen, -1.0, 1.0)
            names = (f"{convolution}.weight", f"{convolution}.bias", f"{norm}.running_mean", f"{norm}.weight")
            for name in weights.keys() & names:
                shape = (-1, *[1] * (weights[name].ndim - 1))
                weights[name] = weights[name] * signs.reshape(shape).to(weights[name].dtype)
        return Attacked(replace(stolen(ticket), weights=weights))


def _pairs(model: nn.Module) -> Iterator[tuple[str, str]]:
    """Names of the convolutions and batch norms that follow each other."""
    for (name, module), (after, norm) in pairwise(model.named_modules()):
        if not isinstance(module, _CONVOLUTIONS) or not isinstance(norm, _NORMS):
            continue
        if norm.affine and norm.track_running_stats and norm.num_features == module.out_channels:
            yield name, after
