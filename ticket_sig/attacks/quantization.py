"""Quantization of the weights: a modification of IEEE 3304 (MPAI-NNW Traceability, robustness)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ticket_sig.attacks.attack import Attack, Attacked
from ticket_sig.attacks.layers import LAYER, changed
from ticket_sig.attacks.scene import Scene
from ticket_sig.options import option, within
from ticket_sig.ticket import Ticket


@dataclass(frozen=True, kw_only=True)
class Quantization(Attack):
    """Rounds the kept weights of each layer to 2^bits equally spaced values; pruned weights stay zero.

    The values reach from the layer's smallest kept weight to its largest. They are mapped back: what comes
    out has the precision that the weights had. The reference software of IEEE 3304 takes 16, 8 and 4 bits
    alone.
    """

    bits: int = option("Bits of a weight.", check=within(2, 32))
    layer: str | None = option(LAYER, default=None)

    def attacked(self, ticket: Ticket, scene: Scene) -> Attacked:
        """Returns the ticket with rounded weights; a layer of one value stays. InputError as of `changed`."""
        return Attacked(changed(ticket, self.layer, self._rounded))

    def _rounded(self, weights: Tensor) -> Tensor:
        if (low := weights.min()) == (high := weights.max()):
            return weights
        step = (high - low) / (2**self.bits - 1)
        rounded: Tensor = low + step * ((weights - low) / step).round()
        return rounded
