"""Models to attack."""

from __future__ import annotations

from helpers import TinyNet, tiny_recipe

from ticket_sig import Mask, Ticket
from ticket_sig.ticket import Round

HISTORY = (Round(step="dense", kept=9, total=9, test=90.0),)


def tiny_ticket(rewind: bool = False) -> Ticket:
    """A trainable one, half of it pruned."""
    weights = {name: t.clone() for name, t in TinyNet().state_dict().items()}
    mask = Mask({n: weights[n].abs() > weights[n].abs().median() for n in ("c2.weight", "f1.weight")})
    known = {name: t.clone() for name, t in weights.items()} if rewind else None
    recipe = tiny_recipe().to_json()
    return Ticket(weights=mask.apply(weights), mask=mask, rewind=known, recipe=recipe, history=HISTORY)
