"""Casting: the thief ships the network in half precision, as many deployments do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from ticket_sig.attacks.attack import Attack, Attacked
from ticket_sig.attacks.scene import Scene, stolen
from ticket_sig.options import one_of, option
from ticket_sig.ticket import Ticket

PRECISIONS: Mapping[str, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class Cast(Attack):
    """Rounds every weight to half precision."""

    precision: str = option("bf16 or fp16.", default="bf16", check=one_of(PRECISIONS))

    def attacked(self, ticket: Ticket, scene: Scene) -> Attacked:
        """Returns the ticket with rounded weights, each in the dtype that it had."""
        dtype = PRECISIONS[self.precision]
        rounded = {
            n: t.to(dtype).to(t.dtype) if t.is_floating_point() else t for n, t in ticket.weights.items()
        }
        return Attacked(replace(stolen(ticket), weights=rounded))
