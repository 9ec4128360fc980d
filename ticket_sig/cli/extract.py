"""Read the message out of a model's mask; prints the message alone.

The claim says where to look: the bundle's own claim.json, or --claim FILE for any other model file.
Leaves with exit code 1 where nothing can be read there.

Example: ticket-sig extract SUSPECT.pth --claim SIGNED/claim.json --png code.png
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ticket_sig.cli import options
from ticket_sig.cli.output import JsonFlag, err, print_json, printable


def run(
    model: options.Model,
    claim: Annotated[
        Path | None, typer.Option(help="Claim file; the bundle's own by default.", show_default=False)
    ] = None,
    png: Annotated[
        Path | None,
        typer.Option(help="Write the code as it was read, function patterns put back.", show_default=False),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Runs the verb."""
    from ticket_sig.claim import Claim
    from ticket_sig.errors import about, bad_input
    from ticket_sig.formats import load
    from ticket_sig.signatures.qr import write_png
    from ticket_sig.statistics import format_p
    from ticket_sig.verification import extract

    loaded = load(model)
    found = claim or loaded.claim
    if found is None:
        raise bad_input(model, "claim", "a claim.json beside the model, or --claim FILE", "neither")
    with about(model):
        reading = extract(loaded.ticket, Claim.read(found))
    if png:
        write_png(reading.light, png)
    if as_json:
        print_json({**reading.to_json(), "png": str(png) if png else None})
    elif reading.message is not None:
        print(printable(reading.message) if sys.stdout.isatty() else reading.message)
    p_value = format_p(reading.log10_p)
    agree = f"{reading.matches} of {reading.modules} data modules agree with the claim, p = {p_value}"
    if reading.message is None:
        err.print(f"no message can be read: {agree}")
        raise typer.Exit(1)
    if not as_json:
        err.print(f"{agree}; {reading.corrected} of {reading.symbols} symbols corrected")
