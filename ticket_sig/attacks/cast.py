"""Casting: the thief ships the network in half precision, as many deployments do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from ticket_sig.attacks.scene import Scene, stolen
from ticket_sig.errors import bad_input
from ticket_sig.ticket import Ticket

PRECISIONS: Mapping[str, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class Cast:
    """Rounds every weight to half precision.

    Attributes:
        precision: "bf16" or "fp16".
    """

    precision: str = "bf16"

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise bad_input("", "precision", f"one of {', '.join(PRECISIONS)}", repr(self.precision)[:80])

    def __call__(self, ticket: Ticket, scene: Scene) -> Ticket:
        """Returns the ticket with rounded weights, each in the dtype that it had."""
        dtype = PRECISIONS[self.precision]
        rounded = {
            n: t.to(dtype).to(t.dtype) if t.is_floating_point() else t for n, t in ticket.weights.items()
        }
        return replace(stolen(ticket), weights=rounded)
