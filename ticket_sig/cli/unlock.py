"""Put a locked ticket and its key together again, bit for bit (key mask).

A key of another ticket, or one that was altered, is refused; so is a locked ticket that was changed, or that
has lost its sealed part.

Example: ticket-sig unlock DIR/locked --key DIR/key.safetensors --out BUNDLE
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ticket_sig.cli import options
from ticket_sig.cli.output import ForceFlag, JsonFlag, out, print_json
from ticket_sig.errors import about, bad_input


def run(
    locked: Annotated[Path, typer.Argument(help="The locked bundle.")],
    key: Annotated[Path, typer.Option(help="The key's file.")],
    bundle: options.Bundle,
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Runs the verb."""
    from ticket_sig.claim import Claim
    from ticket_sig.formats import load, save
    from ticket_sig.marks.key_mask.key import Key
    from ticket_sig.marks.key_mask.split import unlock

    loaded = load(locked)
    if loaded.claim is None:
        raise bad_input(locked, "claim", "the claim.json of `ticket-sig split` beside the model", "none")
    sealed = loaded.sealed.read_bytes() if loaded.sealed else None
    with about(locked):
        claim = Claim.read(loaded.claim)
        ticket, earlier = unlock(loaded.ticket, Key.read(key), claim, sealed)
    save(ticket, bundle, claim=earlier, replace=force)
    if as_json:
        print_json({"bundle": bundle, "kept": ticket.mask.kept, "locked": loaded.ticket.mask.kept})
    else:
        out.print(f"unlocked: {loaded.ticket.mask.kept} + key = {ticket.mask.kept} weights\nbundle: {bundle}")
