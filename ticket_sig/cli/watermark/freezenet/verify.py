"""Decide whether a FreezeNet watermark stands in a model: every value at its place.

Exit code 0: verified; 1: not verified; 2: could not be decided. The places follow from the data, and from the
names and shapes of the weights they were drawn from: with --claim those of the claim, without one the
suspect's own. Safetensors files, one or a folder of many, are never loaded whole.

A value may have been rounded to bfloat16 or float16, and back. The p-value is corrected for every data,
length and scale that could have been tried.

Example: ticket-sig watermark freezenet verify SUSPECT --claim MARKED/claim.json
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ticket_sig.cli.output import JsonFlag, out, print_json, table
from ticket_sig.cli.watermark.freezenet import given

if TYPE_CHECKING:
    from ticket_sig.watermarks import Watermark


def run(
    model: given.Model,
    claim: Annotated[Path | None, typer.Option(help="Claim file.", show_default=False)] = None,
    text: given.Text = None,
    data_file: given.DataFile = None,
    length: given.Length = None,
    share: given.Share = None,
    scale: given.Scale = None,
    arch: given.Arch = None,
    as_json: JsonFlag = False,
) -> None:
    """Runs the verb."""
    from ticket_sig.cli.watermark.rows import watermark_rows
    from ticket_sig.errors import about, bad_input
    from ticket_sig.formats import open_weights

    options = {"--text": text, "--data-file": data_file, "--length": length, "--share": share}
    options |= {"--scale": scale, "--arch": arch}
    if claim and (doubled := [name for name, value in options.items() if value is not None]):
        raise bad_input("", ", ".join(doubled), "no claim, which says it", "--claim")
    data = b"" if claim else given.data_of(text, data_file)
    watermark = _claimed(claim) if claim else None
    with about(model):
        weights = open_weights(model)
        if watermark is None:
            watermark = given.watermark_of(weights, data, length, share, scale, arch)
        verdict = watermark.read(weights).verdict()
    if as_json:
        print_json({**verdict.to_json(), "model": str(model), "claim": claim and str(claim)})
    else:
        out.print(verdict.outcome, style=f"bold {'green' if verdict.verified else 'red'}")
        out.print(table("", ("evidence", "value"), watermark_rows(verdict)))
        out.print(f"proves: {verdict.proves if verdict.verified else 'nothing'}")
        out.print(f"does not prove: {verdict.does_not_prove}")
    raise typer.Exit(0 if verdict.verified else 1)


def _claimed(path: Path) -> Watermark:
    from ticket_sig.claim import Claim
    from ticket_sig.errors import bad_input
    from ticket_sig.watermarks import Watermark, mark_of

    claim = Claim.read(path)
    if claim.scheme != Watermark.scheme:
        hint = "ticket-sig verify takes any claim"
        raise bad_input(path, "scheme", repr(Watermark.scheme), repr(claim.scheme), hint=hint)
    mark = mark_of(claim)
    assert isinstance(mark, Watermark)
    return mark
