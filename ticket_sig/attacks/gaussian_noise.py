"""Gaussian noise on the weights: a modification of IEEE 3304 (MPAI-NNW Traceability, robustness).

`noise` moves weights of the mask elsewhere; this one leaves the mask and changes values.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ticket_sig.attacks.attack import Attack, Attacked
from ticket_sig.attacks.layers import LAYER, changed
from ticket_sig.attacks.scene import Scene
from ticket_sig.options import option, positive
from ticket_sig.ticket import Ticket


@dataclass(frozen=True, kw_only=True)
class GaussianNoise(Attack):
    """Adds noise of mean zero to the weights that are kept; pruned weights stay zero."""

    scale: float = option(
        "Standard deviation of the noise, in those of its layer's kept weights.", check=positive
    )
    layer: str | None = option(LAYER, default=None)

    def attacked(self, ticket: Ticket, scene: Scene) -> Attacked:
        """Returns the ticket with other weights at the same places; InputError as of `changed`."""
        draw = scene.draw("gaussian noise")

        def noisy(weights: Tensor) -> Tensor:
            noise = torch.randn(weights.shape, generator=draw, dtype=torch.float64)
            return weights + self.scale * weights.std(correction=0) * noise

        return Attacked(changed(ticket, self.layer, noisy))
