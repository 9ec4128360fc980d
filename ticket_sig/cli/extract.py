"""Read the message, or the bits, out of a model; prints them alone.

The claim says where to look: the bundle's own claim.json, or --claim FILE for any other model file. Leaves
with exit code 1 where nothing can be read there. A claim may be of several marks: then a verified mark
comes first, then a text before bits, then a later mark before an earlier one. A mark that the claim keeps the
secret of apart is read where it is given: --secret FILE. With --png, a mark that has a picture is read: a
QR code.

Example: ticket-sig extract SUSPECT.pth --claim SIGNED/claim.json --png code.png
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from ticket_sig.cli import options
from ticket_sig.cli.declared import with_options
from ticket_sig.cli.output import JsonFlag, err, print_json, printable

Png = Annotated[Path | None, typer.Option(help="Write the code as it was read, function patterns put back.")]


def run(
    model: options.Model,
    given: dict[str, Path],
    claim: options.OwnClaim = None,
    mask: options.MaskFile = None,
    png: Png = None,
    as_json: JsonFlag = False,
) -> None:
    """Runs the verb."""
    from ticket_sig.claim import Claim
    from ticket_sig.formats.load import claim_beside, contained_in
    from ticket_sig.statistics import format_p
    from ticket_sig.verification.white_box import extract_file

    mark, reading = extract_file(
        model, Claim.read(claim or claim_beside(model)), given, mask, drawn=png is not None
    )
    held = contained_in(model)
    if png:
        mark.draw(reading, png)
    message, statistic = reading.message, reading.verdict().statistic
    if as_json:
        print_json({"mark": mark.name, **reading.to_json(), "png": png, **held.to_json()})
    elif message is not None:
        print(printable(message) if sys.stdout.isatty() else message)
    if str(held):
        err.print(printable(str(held)))
    told = f"{mark.name}: {statistic}, p = {format_p(reading.log10_p)}"
    if message is None:
        err.print(f"no message can be read: {told}")
        raise typer.Exit(1)
    if not as_json:
        err.print(told)


def command() -> Callable[..., None]:
    """The verb with the options of what marks that say something need."""
    return with_options(run, {"marks": options.needed("bits")}, panel="What {} need")
