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
from typing import Annotated

import typer

from ticket_sig.cli import given
from ticket_sig.cli.output import JsonFlag, print_json, print_verdict


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
    from ticket_sig.cli.watermark.inputs import claimed
    from ticket_sig.cli.watermark.rows import watermark_rows
    from ticket_sig.errors import about, bad_input
    from ticket_sig.formats import open_weights
    from ticket_sig.watermarks import Watermark

    options = {"--text": text, "--data-file": data_file, "--length": length, "--share": share}
    options |= {"--scale": scale, "--arch": arch}
    if claim and (doubled := [name for name, value in options.items() if value is not None]):
        raise bad_input("", ", ".join(doubled), "no claim, which says it", "--claim")
    if claim:
        watermark, weights = claimed(claim, Watermark), open_weights(model)
    else:
        data = given.data_of(text, data_file)
        watermark, weights = given.watermark_of(model, data, length, share, scale, arch)
    with about(model):
        verdict = watermark.read(weights).verdict()
    if as_json:
        print_json({**verdict.to_json(), "model": str(model), "claim": claim and str(claim)})
    else:
        print_verdict(verdict, watermark_rows(verdict))
    raise typer.Exit(0 if verdict.verified else 1)
